"""From a plan (what kmod would do for one lookup) to what is asked of the scheduler.

The daemon and `hostbuild predict` both go this way, so that what is predicted is what is done.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.plan import Denied
from modaliasd.core.loading.load import Needs
from modaliasd.core.loading.outcome import FailureKind, LoadResult, Outcome, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from modaliasd.core.kmod.plan import Match, Plan, Step


_KINDS = {
    Denied.BLACKLIST: FailureKind.BLACKLIST,
    Denied.ALIAS_OFF: FailureKind.ALIAS_OFF,
    Denied.KERNEL: FailureKind.MODULE_BLACKLIST,
    Denied.NEEDS_DENIED: FailureKind.NEEDS_DENIED,
    Denied.POLICY: FailureKind.POLICY,
}


class Demand(NamedTuple):
    """What one match of a plan comes to: a step to be carried out, or a result that needs no job.

    behind: the module of an earlier match, which is to have its end before the step begins; "" for none.
    """

    match: Match
    step: Step | None = None
    result: LoadResult | None = None
    behind: str = ""


def demands_of_plan(plan: Plan) -> list[Demand]:
    """Return what each match of the plan comes to, in order; what is part of the kernel comes to nothing.

    Drivers that claim the same device are tried in the lookup's order, as modprobe would: USB's cdc_subset takes
    what cdc_ether ought to have if it is there first. Modules for features of the CPU drive nothing.
    """
    steps = {step.module: step for step in plan.steps}
    denials = {denial.module: denial for denial in plan.denied}
    broken = {one.module: one for one in plan.broken}
    in_order = not plan.lookup.startswith("cpu:")
    behind = ""
    demands: list[Demand] = []
    for match in plan.matches:
        module = match.module
        if module in denials:
            denial = denials[module]
            place = f"{denial.file}:{denial.line}" if denial.line else denial.file
            message = f"{denial.by.value}: {place}"
            demands.append(Demand(match, result=LoadResult(Outcome.DENIED, message, _KINDS[denial.by])))
        elif module in broken:
            one = broken[module]
            kind = FailureKind.DEPENDENCY_CYCLE if one.cycle else FailureKind.NOT_IN_IMAGE
            demands.append(Demand(match, result=failed(kind, one.message)))
        elif module in steps:
            demands.append(Demand(match, step=steps[module], behind=behind))
            behind = module if in_order else ""
    return demands


def needs_of_plan(plan: Plan, is_single: Callable[[Step], bool], alone: Container[str]) -> dict[str, Needs]:
    """Return what goes with each module of the plan.

    is_single: must the step be carried out by a process of its own (options, insmod, an install line)?
    alone: modules that cannot bear another load beside them.
    """
    position = {step.module: at for at, step in enumerate(plan.steps)}
    before: dict[str, set[str]] = {}
    found: dict[str, Needs] = {}
    for step in plan.steps:
        direct = {name for name in step.needs + step.prefers if name in position}
        all_before = direct.union(*[before[name] for name in direct if name in before])
        all_before.discard(step.module)
        before[step.module] = all_before
        found[step.module] = Needs(
            tuple(sorted(all_before, key=position.__getitem__)),
            frozenset(all_before.difference(step.needs)),
            tuple(name for name in step.follows if name in position),
            step.module in alone,
            is_single(step),
            tuple(name for name in step.prefers if name in position),
        )
    return found
