"""From a lookup (a modalias or a name) to the modules to insert, by the rules of kmod's modprobe.

A lookup goes through stages, and the first one with a result wins:
    CONFIG_ALIAS   modprobe.d aliases; their targets are names, not lookups (aliases are not chained)
    NAME           modules.dep
    SYMBOL         modules.symbols, only for "symbol:..."
    COMMAND        install and remove lines, by their exact word
    ALIAS          modules.alias
    BUILTIN        modules.builtin
    BUILTIN_ALIAS  the aliases of what is built in

Each module found is inserted with what it needs: for every dependency, then for the module itself, first its
softdeps before (`pre`), each with all that it needs in turn, then it, then its softdeps after. A module met
again on this way is left out, which is how softdep cycles end. Blacklists count for what the lookup found and
never for dependencies and softdeps. A module with softdeps ignores its install line. The names in softdeps
are lookups. Source: kmod's libkmod-module.c (kmod_module_new_from_lookup, kmod_module_probe_insert_module,
__kmod_module_get_probe_list), checked against its modprobe in tests/guest/core/kmod/test_resolve_kmod.py.

Unlike kmod (its issue 33), which takes the first softdep line of a module only, all of them count.
"""

from __future__ import annotations

from modaliasd.core.kmod.glob import is_wildcard, matches
from modaliasd.core.kmod.names import underscored
from modaliasd.core.kmod.plan import Broken, Denial, Denied, Match, Plan, Stage, Step, Why, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modaliasd.core.kmod.modprobe_d import Blacklist, Configuration
    from modaliasd.core.kmod.modules_dep import Dependencies, Softdep

    Way = Iterator[
        "Way"
    ]  # what goes with a module, where each further way is gone to its end before the next step

    # (module, alias, line, builtin) for every pattern in the module tree's own tables that matches a modalias
    IndexLookup = Callable[[str], Sequence[tuple[str, str, int, bool]]]

REMEMBERED = 1024  # answers; a machine's devices have fewer modaliases


class Resolver:
    """The configuration and the module tree's tables, ready for lookups.

    index_lookup: (module, alias, line, builtin) of every pattern of modules.alias (builtin False) and of the
    built-in modules' aliases (builtin True) that matches, in modules.order's order.
    tree_softdeps: modules.softdep; they count after those of modprobe.d. symbols: modules.symbols.
    """

    def __init__(
        self,
        configuration: Configuration,
        dependencies: Dependencies,
        index_lookup: IndexLookup,
        tree_softdeps: tuple[Softdep, ...] = (),
        symbols: dict[str, str] | None = None,
    ) -> None:
        self.configuration = configuration
        self._index_lookup = index_lookup
        self._symbols = symbols or {}
        self._blacklist: dict[str, Blacklist] = {}
        for entry in configuration.blacklists:
            self._blacklist.setdefault(entry.module, entry)
        self.kernel_blacklist = {entry.module: entry for entry in configuration.kernel_blacklist}
        self._plain = not (configuration.options or configuration.installs or configuration.aliases)
        self._resolved: dict[tuple[str, bool], Plan] = {}
        self.renew(dependencies, tree_softdeps)

    def find(self, lookup: str) -> tuple[Stage, tuple[Match, ...]]:
        """Return which modules the lookup means, denied or not (`modprobe -R`); NONE and () if it means nothing."""
        name = underscored(lookup)
        if name is None:
            return Stage.NONE, ()
        aliases = [entry for entry in self.configuration.aliases if matches(entry.pattern, name)]
        if aliases:
            found = [Match(a.module, a.pattern, a.file, a.line, a.pattern) for a in aliases]
            return Stage.CONFIG_ALIAS, tuple(found)
        if ":" not in name and self.dependencies.find(name) is not None:
            return Stage.NAME, (Match(name, file="modules.dep"),)
        if name in self._symbols:
            return Stage.SYMBOL, (Match(self._symbols[name], name, "modules.symbols", via=name),)
        for command in self.configuration.installs:
            if command.module == name:
                match = Match(name, file=command.file, line=command.line, command=command.text)
                return Stage.COMMAND, (match,)
        for command in self.configuration.removes:
            if command.module == name:
                return Stage.COMMAND, (Match(name, file=command.file, line=command.line),)
        return self._find_in_tree(lookup, name)

    def _find_in_tree(self, lookup: str, name: str) -> tuple[Stage, tuple[Match, ...]]:
        answers = self._index_lookup(lookup)
        loadable = [
            Match(m, alias, "modules.alias", at, name) for m, alias, at, inside in answers if not inside
        ]
        if loadable:
            return Stage.ALIAS, _once(loadable)
        if name in self.dependencies.builtin:
            return Stage.BUILTIN, (Match(name, file="modules.builtin", builtin=True),)
        file = "modules.builtin.modinfo"
        inside_kernel = [
            Match(m, alias, file, line, name, builtin=True) for m, alias, line, inside in answers if inside
        ]
        return (Stage.BUILTIN_ALIAS, _once(inside_kernel)) if inside_kernel else (Stage.NONE, ())

    def resolve(self, lookup: str, use_blacklist: bool = True) -> Plan:
        """Return the plan for a lookup; for several, one a line, all that they come to.

        use_blacklist: whether blacklists count for a module's own name, too (`modprobe -b`); for aliases they
        always do. Machines have many devices of a kind: answers are remembered. That nothing was found is not,
        since a package may bring the module meanwhile.
        """
        plan = self._resolved.get((lookup, use_blacklist))
        if plan is None:
            if len(self._resolved) >= REMEMBERED:
                self._resolved.clear()
            plan = self._resolve_each(lookup, use_blacklist)
            if plan.stage is not Stage.NONE:
                self._resolved[lookup, use_blacklist] = plan
        return plan

    def renew(self, dependencies: Dependencies, tree_softdeps: tuple[Softdep, ...]) -> None:
        """Go on with another modules.dep and modules.softdep; what was answered by the old ones is forgotten."""
        self.dependencies = dependencies
        self._softdeps: dict[str, list[tuple[int, Softdep]]] = {}  # by module, each with its place among all
        self._wild_softdeps: list[tuple[int, Softdep]] = []
        for place, entry in enumerate(self.configuration.softdeps + tree_softdeps):
            wild = is_wildcard(entry.module)
            into = self._wild_softdeps if wild else self._softdeps.setdefault(entry.module, [])
            into.append((place, entry))
        self._resolved.clear()

    def _resolve_each(self, lookup: str, use_blacklist: bool) -> Plan:
        if "\n" not in lookup:
            return self._resolve(lookup, use_blacklist)
        plans = [self._resolve(line, use_blacklist) for line in lookup.split("\n") if line]
        return merged(lookup, plans)

    def _resolve(self, lookup: str, use_blacklist: bool) -> Plan:
        stage, found = self.find(lookup)
        work = _Work(self, stage is Stage.BUILTIN_ALIAS)
        for match in found:
            denial = self._denial(match, use_blacklist)
            if denial:
                work.denied.append(denial)
                continue
            work.add(match)
        return work.plan(lookup, stage, found)

    def _denial(self, match: Match, use_blacklist: bool) -> Denial | None:
        entry = self._blacklist.get(match.module)
        if entry and (match.via or use_blacklist):
            return Denial(match.module, Denied.BLACKLIST, entry.file, entry.line)
        off = match.module == "off" and match.via and self.dependencies.find("off") is None
        return Denial("off", Denied.ALIAS_OFF, match.file, match.line) if off else None

    def has_softdeps(self, module: str) -> bool:
        """Return whether a softdep line speaks of the module, which need not be there."""
        return bool(self._softdep_lines(module))

    def softdeps(self, module: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the lookups to insert before and after the module, of all its softdep lines, each once."""
        lines = self._softdep_lines(module)
        pre = tuple(dict.fromkeys(name for line in lines for name in line.pre))
        return pre, tuple(dict.fromkeys(name for line in lines for name in line.post))

    def _softdep_lines(self, module: str) -> list[Softdep]:
        placed = self._softdeps.get(module, [])
        if self._wild_softdeps:
            wild = [(place, entry) for place, entry in self._wild_softdeps if matches(entry.module, module)]
            placed = sorted(placed + wild, key=_place)
        return [entry for _, entry in placed]

    def brings(self, module: str, *, softdeps: bool = False) -> frozenset[str]:
        """Find all that modprobe inserts along with the module, as far as it is not built in.

        softdeps: for a modprobe that follows them, before and after, those of what is needed as well.
        """
        found: set[str] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            file = self.dependencies.find(name)
            names = list(file.needs) if file else []
            if softdeps:
                lookups = [lookup for side in self.softdeps(name) for lookup in side]
                names += [match.module for lookup in lookups for match in self.find(lookup)[1]]
            fresh = [n for n in names if n not in found and n not in self.dependencies.builtin]
            found.update(fresh)
            waiting += fresh
        found.discard(module)
        return frozenset(found)

    def install_command(self, module: str) -> str:
        """Return the command of the first install line whose pattern matches the module, "" if none does."""
        found = (entry.text for entry in self.configuration.installs if matches(entry.module, module))
        return next(found, "")

    def remove_command(self, module: str) -> str:
        """Return the command of the first remove line whose pattern matches the module, "" if none does."""
        found = (entry.text for entry in self.configuration.removes if matches(entry.module, module))
        return next(found, "")

    def options(self, module: str, via: str = "") -> str:
        """Return all options for the module, and for the alias by which it was reached, in order."""
        names = (module, via) if via else (module,)
        texts = (entry.text for entry in self.configuration.options if entry.module in names)
        return " ".join(text for text in texts if text)

    def step(self, match: Match, why: Why, of: str, ignore_command: bool) -> Step:
        """Return what is to be done about one module, not yet knowing what surrounds it."""
        module = match.module
        file = self.dependencies.find(module)
        if self._plain and file:  # no line of the configuration can touch it
            return Step(
                module, file.path, "", "", "", why, of, file.needs, blacklisted=module in self._blacklist
            )
        command = "" if ignore_command else match.command or self.install_command(module)
        return Step(
            module,
            file.path if file else "",
            self.options(module, match.via),
            self.options(module),
            command,
            why,
            of,
            file.needs if file else (),
            blacklisted=module in self._blacklist,
            shadowed=any(matches(alias.pattern, module) for alias in self.configuration.aliases),
        )


class _Work:
    """One plan in the making. `_seen` is kmod's `visited` mark, which it clears for every match."""

    def __init__(self, resolver: Resolver, inside_kernel: bool) -> None:
        self.denied: list[Denial] = []
        self._resolver = resolver
        self._inside_kernel = inside_kernel
        self._steps: dict[str, Step] = {}
        self._places: dict[str, int] = {}  # of each step in their order
        self._builtin: dict[str, None] = {}
        self._broken: dict[str, Broken] = {}
        self._blocked: dict[str, Denial] = {}
        self._required: set[str] = set()
        self._seen: set[tuple[str, str]] = set()

    def add(self, match: Match) -> None:
        """Take in one module that the lookup found, and all that goes with it."""
        if self._inside_kernel:
            self._builtin[match.module] = None
            return
        self._seen.clear()
        self._required.update(self._needs(match.module), (match.module,))
        # a chain of softdeps is as long as its author likes: the way down is a list, not the interpreter's stack
        ways = [self._with_dependencies(match, Why.MATCH, "")]
        while ways:
            further = next(ways[-1], None)
            if further is None:
                ways.pop()
            else:
                ways.append(further)

    def plan(self, lookup: str, stage: Stage, found: tuple[Match, ...]) -> Plan:
        """Return what has come together."""
        for name in self._steps.keys() - self._required:
            self._steps[name] = self._steps[name]._replace(required=False)
        for name in self._broken.keys() - self._required:
            self._broken[name] = self._broken[name]._replace(required=False)
        if any(step.command for step in self._steps.values()):
            for name, step in self._steps.items():
                self._steps[name] = step._replace(beside_command=not step.command)
        denied = (*self.denied, *self._blocked.values())
        steps, broken = tuple(self._steps.values()), tuple(self._broken.values())
        return Plan(lookup, stage, found, steps, denied, tuple(self._builtin), broken)

    def _needs(self, module: str) -> tuple[str, ...]:
        file = self._resolver.dependencies.find(module)
        return file.needs if file else ()

    def _with_dependencies(self, match: Match, why: Why, of: str) -> Way:
        if (match.module, match.via) in self._seen:
            return
        self._seen.add((match.module, match.via))
        for need in self._needs(match.module):
            yield self._with_softdeps(Match(need), Why.DEPENDENCY, match.module)
        yield self._with_softdeps(match, why, of)

    def _with_softdeps(self, match: Match, why: Why, of: str) -> Way:
        lookups_before, lookups_after = self._resolver.softdeps(match.module)
        before = [found for lookup in lookups_before for found in self._resolver.find(lookup)[1]]
        after = [found for lookup in lookups_after for found in self._resolver.find(lookup)[1]]
        for other in before:
            yield self._with_dependencies(other, Why.SOFTDEP, match.module)
        self._append(match, why, of, before, ignore_command=bool(before or after))
        if after and match.module in self._steps:
            names = dict.fromkeys(other.module for other in after)
            self._steps[match.module] = self._steps[match.module]._replace(follows=tuple(names))
        for other in after:
            yield self._with_dependencies(other, Why.SOFTDEP, match.module)
            self._prefer(other.module, match.module)

    def _append(self, match: Match, why: Why, of: str, before: list[Match], ignore_command: bool) -> None:
        name = match.module
        if name in self._steps:
            if why is Why.MATCH:
                self._steps[name] = self._steps[name]._replace(why=why, of=of)
            return
        if name in self._resolver.dependencies.builtin:
            self._builtin[name] = None
            return
        step = self._resolver.step(match, why, of, ignore_command)
        if any(map(self._resolver.has_softdeps, (name, *step.needs))):
            step = step._replace(has_softdeps=True)
        if self._is_blocked(step) or self._is_broken(step):
            return
        if before:
            prefers = tuple(dict.fromkeys(other.module for other in before if other.module in self._steps))
            step = step._replace(prefers=prefers)
        self._places[name] = len(self._steps)
        self._steps[name] = step

    def _prefer(self, later: str, earlier: str) -> None:
        """Note that `later` comes after `earlier`, unless the order is already the other way round."""
        if self._places.get(earlier, len(self._steps)) < self._places.get(later, 0):
            step = self._steps[later]
            if earlier not in step.prefers + step.needs:
                self._steps[later] = step._replace(prefers=(*step.prefers, earlier))

    def _is_blocked(self, step: Step) -> bool:
        if not self._resolver.kernel_blacklist:
            return False
        entry = self._resolver.kernel_blacklist.get(step.module)
        if entry and not step.command:
            self._blocked[step.module] = Denial(step.module, Denied.KERNEL, entry.file, entry.line)
        for need in step.needs:
            above = self._blocked.get(need)
            if above:
                self._blocked[step.module] = Denial(step.module, Denied.NEEDS_DENIED, above.file, above.line)
        return step.module in self._blocked

    def _is_broken(self, step: Step) -> bool:
        if step.command:
            return False
        order = self._resolver.dependencies.load_order(step.module)
        if order.missing or order.cycle:
            self._broken[step.module] = Broken(step.module, order.missing, order.cycle)
        return step.module in self._broken


def _place(placed: tuple[int, Softdep]) -> int:
    return placed[0]


def _once(found: list[Match]) -> tuple[Match, ...]:
    """Return the first match of every module."""
    first: dict[str, Match] = {}
    for match in found:
        first.setdefault(match.module, match)
    return tuple(first.values())
