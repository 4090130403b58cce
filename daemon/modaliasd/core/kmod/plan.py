"""The answer to a lookup as a value: what was found, what to insert in which order, what is refused, why."""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


ALIAS_FILE = "modules.alias"  # where a pattern stands if nothing else is said


class Stage(Enum):
    """Which table answered a lookup."""

    NONE = "none"
    CONFIG_ALIAS = "modprobe.d alias"
    NAME = "modules.dep"
    SYMBOL = "modules.symbols"
    COMMAND = "modprobe.d command"
    ALIAS = "modules.alias"
    BUILTIN = "modules.builtin"
    BUILTIN_ALIAS = "modules.builtin.modinfo"


class Why(Enum):
    """Why a module is part of a plan."""

    MATCH = "match"
    DEPENDENCY = "dependency"
    SOFTDEP = "softdep"


class Denied(Enum):
    """Who forbids a module."""

    BLACKLIST = "blacklist"
    ALIAS_OFF = "alias to off"
    KERNEL = "module_blacklist"
    NEEDS_DENIED = "needs a denied module"
    POLICY = "policy"


class Match(NamedTuple):
    """One module that a lookup found, with the line that said so.

    alias: the pattern, as its file has it; "" if the lookup was the module's name. line: 0 if unknown.
    via: the text besides its name by which options reach it: the modprobe.d pattern, or the modalias itself.
    command: the command of the install line that was found by its exact word. builtin: it is part of the kernel.
    """

    module: str
    alias: str = ""
    file: str = ""
    line: int = 0
    via: str = ""
    command: str = ""
    builtin: bool = False

    @property
    def place(self) -> str:
        """Where the pattern stands: "line 605 of modules.alias"; "" if unknown."""
        return place_of(self.line, self.file)

    def fields(self) -> dict[str, Any]:
        """As a `device` line of the ledger has it."""
        fields: dict[str, Any] = {"alias": self.alias, "line": self.line, "module": self.module}
        if self.file != ALIAS_FILE:
            fields["file"] = self.file
        if self.builtin:
            fields["builtin"] = True
        return fields


def match_of(fields: Mapping[str, Any]) -> Match:
    """Return the match that `fields()` has written, as far as it was."""
    get = fields.get
    file = get("file", ALIAS_FILE)
    return Match(get("module", ""), get("alias", ""), file, get("line", 0), builtin=bool(get("builtin")))


class Denial(NamedTuple):
    """A module that must not be inserted, and the line that says so. `module` would have been inserted."""

    module: str
    by: Denied
    file: str
    line: int


class Step(NamedTuple):
    """One module to insert, or one command to run in its place.

    path: as in modules.dep, "" where there is no such file (then there is a command).
    options: all its options in order; plain_options: those that modprobe finds for the module's bare name.
    command: what an install line wants run instead, "" where modprobe is to insert.
    why, of: MATCH of the lookup, DEPENDENCY of that module, SOFTDEP of that module.
    needs: what must have been inserted before (dependencies). prefers: what comes before if it works (softdeps).
    follows: softdeps to insert once it is in. required: its failure makes the module asked for fail; False for
    softdeps and what only they need. blacklisted: a blacklist names it and does not count here. shadowed: a modprobe.d
    alias matches its name, so modprobe would take the bare name for something else. beside_command: another step runs
    a command. has_softdeps: it has softdeps, or one of its needs has, and kmod's modprobe would follow them by itself.
    """

    module: str
    path: str = ""
    options: str = ""
    plain_options: str = ""
    command: str = ""
    why: Why = Why.MATCH
    of: str = ""
    needs: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    required: bool = True
    blacklisted: bool = False
    shadowed: bool = False
    beside_command: bool = False
    has_softdeps: bool = False


class Broken(NamedTuple):
    """A module that cannot be inserted, because of what modules.dep says.

    missing: the needed modules (or the module itself) that have no file. cycle: the dependency cycle it is in
    or leads to, first and last name the same.
    """

    module: str
    missing: tuple[str, ...] = ()
    cycle: tuple[str, ...] = ()
    required: bool = True

    @property
    def message(self) -> str:
        """The reason as a sentence."""
        if self.cycle:
            return f"{self.module} cannot be inserted: dependency cycle {' -> '.join(self.cycle)}"
        if self.missing == (self.module,):
            return f"{self.module} cannot be inserted: there is no such module in modules.dep"
        return f"{self.module} cannot be inserted: it needs {', '.join(self.missing)}, not in modules.dep"


class Plan(NamedTuple):
    """The answer to one lookup.

    matches: what the lookup found, denied or not, in order; () and stage NONE where nothing matched.
    steps: what to do, in order. builtin: modules that need nothing, being part of the kernel.
    broken: modules that would have a step, were it not for missing dependencies or a cycle.
    """

    lookup: str
    stage: Stage
    matches: tuple[Match, ...] = ()
    steps: tuple[Step, ...] = ()
    denied: tuple[Denial, ...] = ()
    builtin: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()


def merged(lookup: str, plans: list[Plan]) -> Plan:
    """Return the plans of several lookups as one: of each module what the first of them says that names it."""
    stages = [plan.stage for plan in plans if plan.stage is not Stage.NONE]
    loadable = [stage for stage in stages if stage not in (Stage.BUILTIN, Stage.BUILTIN_ALIAS)]
    matches: dict[str, Match] = {}
    steps: dict[str, Step] = {}
    denied: dict[str, Denial] = {}
    broken: dict[str, Broken] = {}
    for plan in plans:
        for match in plan.matches:
            matches.setdefault(match.module, match)
        for step in plan.steps:
            steps.setdefault(step.module, step)
        for denial in plan.denied:
            denied.setdefault(denial.module, denial)
        for one in plan.broken:
            broken.setdefault(one.module, one)
    return Plan(
        lookup,
        (loadable or stages or [Stage.NONE])[0],
        tuple(matches.values()),
        tuple(steps.values()),
        tuple(denied.values()),
        tuple(dict.fromkeys(module for plan in plans for module in plan.builtin)),
        tuple(broken.values()),
    )


def place_of(line: int, file: str) -> str:
    """Return where a pattern stands: "line 605 of modules.alias"; "" for line 0, unknown. file: "" for that one."""
    return f"line {line} of {file or ALIAS_FILE}" if line else ""
