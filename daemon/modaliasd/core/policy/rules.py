"""Who may have which module loaded: rules over devices, the last that matches decides (docs/policy.md).

A rule says `allow` or `deny` and names conditions, all of which must hold; each is a pattern or a list of
patterns, of which one must match the whole text. Where no rule matches, the phase's default decides: that is
`allow`, and after `modaliasd freeze` `deny`. A policy that cannot be read in full denies everything: a slip
of the pen must not open what was to be shut. In modaliases and modules' names `-` and `_` are the same, as
they are to whoever looks them up. Pure.
"""

from __future__ import annotations

from modaliasd.core.device import Phase
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.glob import matches
from modaliasd.core.kmod.names import underscored
from modaliasd.core.kmod.plan import Denial, Denied
from modaliasd.core.policy.parse import TextError, parse_tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.policy.parse import Table, Value


DEFAULTS = {Phase.COLDPLUG: True, Phase.HOTPLUG: True, Phase.FROZEN: False}
ACTIONS = {"allow": True, "deny": False}
CONDITIONS = ("phase", "subsystem", "modalias", "devpath", "removable", "port", "module")
UNDERSCORED = ("modalias", "module")  # where `-` and `_` are the same


class Facts(NamedTuple):
    """What rules ask about: a device, or a module that the kernel itself asks for (subsystem "kernel").

    removable: the `removable` attribute of the device or of its nearest ancestor that has one; "" for none.
    """

    phase: Phase
    subsystem: str = ""
    modalias: str = ""
    devpath: str = ""
    removable: str = ""


class Ruling(NamedTuple):
    """What was decided, and the line that decided it: 0 where no rule matched."""

    allow: bool
    line: int = 0


DEFAULT_RULINGS = {phase: Ruling(allow) for phase, allow in DEFAULTS.items()}


class Rule(NamedTuple):
    """One [[rule]]: condition -> patterns, one of which must match."""

    allow: bool
    line: int
    conditions: dict[str, tuple[str, ...]]

    def holds(self, facts: Facts, module: str) -> bool:
        """Do all its conditions hold for this device and module?

        A device with several modaliases is denied by any of them, and allowed by all.
        """
        if "\n" in facts.modalias:
            each = [facts._replace(modalias=line) for line in facts.modalias.split("\n")]
            return (all if self.allow else any)(self.holds(one, module) for one in each)
        return all(_holds(name, patterns, facts, module) for name, patterns in self.conditions.items())


class Mistake(NamedTuple):
    """Something wrong with the policy's text."""

    line: int
    message: str


class Policy(NamedTuple):
    """A policy: the rules in their order, the defaults, what is unloaded when its device has gone."""

    path: str = ""
    rules: tuple[Rule, ...] = ()
    defaults: dict[Phase, Ruling] = DEFAULT_RULINGS
    unload: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()

    @property
    def asks_removable(self) -> bool:
        """Does any rule ask for the `removable` attribute?"""
        return any("removable" in rule.conditions for rule in self.rules)

    def judge(self, facts: Facts, module: str) -> Ruling:
        """Rule whether the module may be loaded for what the facts tell of."""
        if self.mistakes:
            return Ruling(False, self.mistakes[0].line)
        for rule in reversed(self.rules):
            if rule.holds(facts, module):
                return Ruling(rule.allow, rule.line)
        return self.defaults[facts.phase]

    def judge_brought(self, facts: Facts, module: str) -> Ruling:
        """Rule whether the module may come along as what another needs; only rules that name modules count."""
        for rule in reversed(self.rules):
            if "module" in rule.conditions and rule.holds(facts, module):
                return Ruling(rule.allow, rule.line)
        return Ruling(True)

    def where(self, ruling: Ruling, phase: Phase) -> str:
        """Return the file that decided, or why it was decided without one."""
        return self.path if ruling.line else f"no rule allows it while {phase.value}"


def apply(policy: Policy, plan: Plan, facts: Facts) -> tuple[Plan, dict[str, Ruling]]:
    """Return the plan with what the policy denies denied, and the ruling for each module that the lookup found.

    What would come along against a rule that names it takes what needs it with it. Of softdeps nothing is decided
    here: they are kept out when the load is carried out (core/policy/admission.py).
    """
    rulings: dict[str, Ruling] = {}
    denied: list[Denial] = []
    for match in plan.matches:
        ruling = policy.judge(facts, match.module)
        for need in _all_needs(match.module, plan) if ruling.allow else ():
            brought = policy.judge_brought(facts, need)
            if not brought.allow:
                ruling = brought
        rulings[match.module] = ruling
        if not ruling.allow:
            file = policy.where(ruling, facts.phase)
            denied.append(Denial(match.module, Denied.POLICY, file, ruling.line))
    return plan._replace(denied=(*denied, *plan.denied)), rulings


def parse_policy(text: str, path: str) -> Policy:
    """Read a policy. What is wrong with it stands in `mistakes`, and then it denies everything."""
    try:
        top, *tables = parse_tables(text)
    except TextError as e:
        return Policy(path, mistakes=(Mistake(e.line, e.reason),))
    mistakes: list[Mistake] = []
    defaults = dict(DEFAULT_RULINGS)
    unload: tuple[str, ...] = ()
    for key, (value, line) in top.entries.items():
        phase = next((phase for phase in DEFAULTS if phase.value == key), None)
        if phase is not None and isinstance(value, str) and value in ACTIONS:
            defaults[phase] = Ruling(ACTIONS[value], line)
        elif phase is not None:
            mistakes.append(Mistake(line, f'{key} must be "allow" or "deny"'))
        elif key == "unload" and isinstance(value, tuple):
            unload = value
        else:
            mistakes.append(
                Mistake(line, f"unknown key {key}: the file's keys are coldplug, hotplug, frozen, unload")
            )
    rules = tuple(_rule(table, mistakes) for table in tables)
    mistakes.sort(key=lambda mistake: mistake.line)
    return Policy(path, rules, defaults, unload, tuple(mistakes))


def _rule(table: Table, mistakes: list[Mistake]) -> Rule:
    """Make the rule that a table describes; what is wrong with it is added to `mistakes`."""
    conditions: dict[str, tuple[str, ...]] = {}
    action: bool | None = None
    for key, (value, line) in table.entries.items():
        if key == "action":
            action = ACTIONS.get(value) if isinstance(value, str) else None
            if action is None:
                mistakes.append(Mistake(line, 'action must be "allow" or "deny"'))
        elif key not in CONDITIONS:
            mistakes.append(
                Mistake(line, f"unknown key {key}: a rule's keys are action, {', '.join(CONDITIONS)}")
            )
        else:
            conditions[key] = _patterns(key, value, line, mistakes)
    if "action" not in table.entries:
        mistakes.append(Mistake(table.line, 'the rule has no action = "allow" or "deny"'))
    return Rule(bool(action), table.line, conditions)


def _patterns(key: str, value: Value, line: int, mistakes: list[Mistake]) -> tuple[str, ...]:
    if isinstance(value, bool):
        if key != "removable":
            mistakes.append(Mistake(line, f"{key} must be a pattern or an array of patterns"))
        # USB and PCI write words, block devices digits (Documentation/ABI/testing/sysfs-devices-removable).
        return ("removable", "1") if value else ("fixed", "0")
    patterns = (value,) if isinstance(value, str) else value
    if not patterns:
        mistakes.append(Mistake(line, f"{key}: no pattern, so the rule never applies"))
    if key == "phase" and not {phase.value for phase in DEFAULTS}.issuperset(patterns):
        mistakes.append(Mistake(line, "phase must be coldplug, hotplug, frozen, or an array of these"))
    if key not in UNDERSCORED:
        return patterns
    normal = [underscored(pattern) for pattern in patterns]
    if None in normal:
        mistakes.append(Mistake(line, f"{key}: a [ without its ] in {patterns[normal.index(None)]!r}"))
    return tuple(pattern for pattern in normal if pattern is not None)


def _holds(name: str, patterns: tuple[str, ...], facts: Facts, module: str) -> bool:
    if name == "phase":
        return facts.phase.value in patterns
    if name == "port":
        parts = facts.devpath.split("/")
        return any(matches(pattern, part) for pattern in patterns for part in parts if part)
    text = module if name == "module" else str(getattr(facts, name))
    if name in UNDERSCORED:
        text = text.replace("-", "_")
    return any(matches(pattern, text) for pattern in patterns)


def _all_needs(module: str, plan: Plan) -> list[str]:
    """Return all that must be inserted before the module, as far as the plan inserts it."""
    steps = {step.module: step for step in plan.steps}
    found: dict[str, None] = {}
    waiting = [module]
    while waiting:
        step = steps.get(waiting.pop())
        for name in step.needs if step is not None else ():
            if name not in found:
                found[name] = None
                waiting.append(name)
    return list(found)
