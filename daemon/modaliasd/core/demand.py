"""From a plan (what kmod would do for one lookup) to what is asked of the scheduler.

The daemon and `hostbuild predict` both go this way, so that what is foretold is what is done.
"""

from __future__ import annotations

from modaliasd.core.lean import Record
from modaliasd.core.outcome import Outcome, Verdict
from modaliasd.core.plan import Match, Step, Why
from modaliasd.core.scheduler import Needs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from modaliasd.core.plan import Plan


class Demand(Record):
    """What one match of a plan comes to: a step to be carried out, or a verdict that needs no job."""

    match: Match
    step: Step | None = None
    verdict: Verdict | None = None


def demands_of_plan(plan: Plan) -> list[Demand]:
    """What each match of the plan comes to, in order; what is part of the kernel comes to nothing."""
    steps = {step.module: step for step in plan.steps}
    denials = {denial.module: denial for denial in plan.denied}
    broken = {one.module: one for one in plan.broken}
    demands: list[Demand] = []
    for match in plan.matches:
        module = match.module
        if module in denials:
            denial = denials[module]
            place = f"{denial.file}:{denial.line}" if denial.line else denial.file
            demands.append(Demand(match, verdict=Verdict(Outcome.DENIED, f"{denial.by.value}: {place}")))
        elif module in broken:
            demands.append(Demand(match, verdict=Verdict(Outcome.FAILED, broken[module].message)))
        elif module in steps:
            demands.append(Demand(match, step=steps[module]))
    return demands


def needs_of_plan(plan: Plan, is_single: Callable[[Step], bool], alone: Container[str]) -> dict[str, Needs]:
    """What goes with each module of the plan.

    is_single: must the step be carried out by a process of its own (options, insmod, an install line)?
    alone: modules that cannot bear another load beside them.
    """
    position = {step.module: at for at, step in enumerate(plan.steps)}
    before: dict[str, set[str]] = {}
    found: dict[str, Needs] = {}
    for step in plan.steps:
        direct = {name for name in (*step.needs, *step.prefers) if name in position}
        all_before = direct.union(*(before.get(name, set()) for name in direct))
        all_before.discard(step.module)
        before[step.module] = all_before
        found[step.module] = Needs(
            before=tuple(sorted(all_before, key=position.__getitem__)),
            soft=frozenset(all_before.difference(step.needs)),
            after=_after(plan, step),
            alone=step.module in alone,
            single=is_single(step),
        )
    return found


def _after(plan: Plan, step: Step) -> tuple[str, ...]:
    """The softdeps that follow the module."""
    behind = plan.steps[plan.steps.index(step) + 1 :]
    return tuple(other.module for other in behind if other.why is Why.SOFTDEP and other.of == step.module)
