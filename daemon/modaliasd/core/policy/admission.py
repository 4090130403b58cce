"""What the policy says of one process: asked for each job at the last moment, over all that it would insert. Pure.

Why not once, when a module is wanted: the phase goes on, other devices ask for the same module, and what a modprobe
brings along is not what somebody asked for. A load is let through if one of those who want it may have it together
with everything that it cannot do without. Softdeps that are denied, or need what is denied, stay out of the job; so
does what only they need. kmod's modprobe would follow them all the same, so there the load is to be carried out
without it: each module by itself, dependencies first.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.plan import Denied
from modaliasd.core.loading.load import Admission
from modaliasd.core.loading.outcome import FailureKind, LoadResult, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.load import Load, Needs
    from modaliasd.core.policy.rules import Facts, Policy, Ruling


class Wanter(NamedTuple):
    """Who wants a load in the end: a device or a name, and the module that it asked for."""

    cause: Cause
    module: str


class Court:
    """Knows whom to ask about what.

    policy: the rules. facts_of: what they ask about, for a device's cause, as it is now. load_of, needs_of: the
    scheduler's loads, and what goes with a module, None if unknown. brings: what modprobe inserts along with a
    module, by modules.dep; along: and by softdeps. follows_softdeps: does modprobe itself?
    """

    def __init__(
        self,
        *,
        policy: Policy,
        facts_of: Callable[[Cause], Facts],
        load_of: Callable[[str], Load | None],
        needs_of: Callable[[str], Needs | None],
        brings: Callable[[str], frozenset[str]],
        along: Callable[[str], frozenset[str]],
        follows_softdeps: bool,
    ) -> None:
        self._policy = policy
        self._facts_of = facts_of
        self._load_of = load_of
        self._needs_of = needs_of
        self._brings = brings
        self._along = along
        self._follows_softdeps = follows_softdeps

    def rule(self, load: Load) -> Admission | None:
        """Return what may be done of the load; None if all of it."""
        denial: LoadResult | None = None
        denied: dict[str, LoadResult] | None = None
        strangers = frozenset(load.needs.before).difference(
            self._along(load.module)
        )  # only in that order if wanted
        for origin in origins(load, self._load_of):
            if origin.cause.request:
                return None  # root asked by name, which no rule is about
            facts = self._facts_of(origin.cause)
            refusal = self._refusal(load, origin, facts)
            if refusal is not None:
                denial = denial or refusal
                continue
            here = self._denied_softdeps(load, facts)
            if not here:
                denied = {}
                break
            # what one of them may have comes in
            denied = here if denied is None else {name: here[name] for name in denied if name in here}
        if denied is None:
            return Admission(denial or _denied(Denied.POLICY.value), frozenset(), {}, False)
        if not denied:
            return Admission(None, strangers, {}, False) if strangers else None
        left_out = frozenset(load.needs.before).difference(self._kept(load, {*denied, *strangers}))
        refused = {name: result for name, result in denied.items() if name in left_out}
        return Admission(None, left_out, refused, self._follows_softdeps)

    def _refusal(self, load: Load, origin: Wanter, facts: Facts) -> LoadResult | None:
        """Why the load may not be carried out for this origin; None if it may."""
        policy = self._policy
        ruling = policy.judge(facts, origin.module)
        if ruling.allow and origin.module != load.module:
            ruling = policy.judge_brought(facts, load.module)
        if not ruling.allow:
            return self._result(ruling, facts)
        for name in self._hard_needs(load.module):
            ruling = policy.judge_brought(facts, name)
            if not ruling.allow:
                return self._result(ruling, facts)
        return None

    def _denied_softdeps(self, load: Load, facts: Facts) -> dict[str, LoadResult]:
        """Return what would come along with the load, by this scheduler's doing or by modprobe's, and must not."""
        along = self._along(load.module)
        names = dict.fromkeys(name for name in load.needs.before if name in along)
        if self._follows_softdeps:
            names |= dict.fromkeys(along)
        rulings = {name: self._policy.judge_brought(facts, name) for name in names if name != load.module}
        return {name: self._result(ruling, facts) for name, ruling in rulings.items() if not ruling.allow}

    def _kept(self, load: Load, denied: set[str]) -> set[str]:
        """Return what goes with the load if these stay out: what it needs, and softdeps that can do without them."""
        kept = {load.module, *self._hard_needs(load.module)}
        waiting = list(kept)
        while waiting:
            needs = self._needs_of(waiting.pop())
            for name in needs.prefers if needs is not None else ():
                wanted = [name, *self._hard_needs(name)]
                if name in kept or not denied.isdisjoint(wanted):
                    continue
                waiting += [one for one in wanted if one not in kept]
                kept.update(wanted)
        return kept

    def _hard_needs(self, module: str) -> set[str]:
        """Return all that cannot be missing: as it was when the module was first wanted, and by modules.dep now."""
        needs = self._needs_of(module)
        before = () if needs is None else (name for name in needs.before if name not in needs.soft)
        return {*before, *self._brings(module)}

    def _result(self, ruling: Ruling, facts: Facts) -> LoadResult:
        where = self._policy.where(ruling, facts.phase)
        place = f"{where}:{ruling.line}" if ruling.line else where
        return _denied(f"{Denied.POLICY.value}: {place}")


def _denied(message: str) -> LoadResult:
    return LoadResult(Outcome.DENIED, message, FailureKind.POLICY)


def origins(load: Load, load_of: Callable[[str], Load | None]) -> list[Wanter]:
    """Return who wants the load: its own causes, and those of whatever it was brought by."""
    found: list[Wanter] = []
    seen = {load.module}
    waiting = [load]
    while waiting:
        one = waiting.pop()
        for cause in one.causes:
            above = cause.module or cause.softdep
            if not above:
                found.append(Wanter(cause, one.module))
            elif above not in seen:
                seen.add(above)
                by = load_of(above)
                if by is not None:
                    waiting.append(by)
    return found
