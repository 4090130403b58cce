"""Decides which module is loaded when: each once, what it needs first, the urgent ones before the others.

The unit of work is a job: one modprobe process that inserts a module and those of its dependencies that
nobody has begun yet. A load whose dependency is being inserted by another job waits for that job, so no
module is ever inserted twice. Pure: no process is started here; `next_job` says what to start, `finished`
takes what came of it.

    requested --> ready --> running --> done(result)
                    ^  \\
                    |   waiting for the end of one other load
                    +---/

Nobody waits for ever. A load waits for one other load at a time, and before it begins to, the chain of those that
wait is followed from there: it ends with a load that runs or is ready, or it comes back. Then the ring is opened
where it is weakest, at a softdep or at the order of rivals, which are wishes; dependencies have no rings, since
the plan refuses them. What is admitted late (a dependency that wants a process of its own) is judged by the same
rule when it comes to wait, so no order of events can close a ring unseen. Should loads be left over all the same
when nothing runs and nothing is ready, `break_ring` says which, and gives them up.

Defined outcomes: a load whose hard dependency failed or was denied fails and names it; a softdep that fails
is only warned of; modules of a dependency cycle load in one job, as modprobe takes them.
"""

from __future__ import annotations

from _heapq import heappop, heappush

from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.load import Job, Load, Needs
from modaliasd.core.loading.outcome import INSERTED, SUCCESSES, FailureKind, failed, lacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from modaliasd.core.loading.load import Admission
    from modaliasd.core.loading.outcome import LoadResult, Outcome


class Scheduler:
    """See the module's docstring.

    needs_of: what goes with a module. size_of: its file's size, in bytes. limit: how many jobs run at once.
    live: the modules that are in the kernel. gate: what may be done of a load, asked just before its job; None if all.
    """

    def __init__(
        self,
        needs_of: Callable[[str], Needs],
        size_of: Callable[[str], int],
        limit: int,
        live: Container[str],
        gate: Callable[[Load], Admission | None] | None = None,
    ) -> None:
        self._needs_of = needs_of
        self._size_of = size_of
        self._live = live
        self._gate = gate
        self._limit = limit
        self._loads: dict[str, Load] = {}
        self._ready: list[tuple[int, int, int, str]] = []  # a heap of (rank, cost, order of asking, module)
        self._order = 0
        self._running_jobs = 0
        self._alone = False
        self._pending = 0  # loads without a result
        self._told: list[Load] = []  # loads whose end has not been taken yet
        self._settled: dict[tuple[str, Outcome], Load] = {}  # what never needed a job

    @property
    def idle(self) -> bool:
        """Nothing queued, nothing running."""
        return self._pending == 0

    @property
    def running(self) -> int:
        """How many jobs run."""
        return self._running_jobs

    def load_of(self, module: str) -> Load | None:
        """Return the module's load, ended or not; None if nobody asked for it."""
        return self._loads.get(module)

    def loads(self) -> Iterable[Load]:
        """Return all loads in the order in which they were asked for, those that needed no job last."""
        return [*self._loads.values(), *self._settled.values()]

    def conclude(self, module: str, cause: Cause, result: LoadResult, now_us: int) -> None:
        """Record an outcome that needs no job: live, denied, impossible. Told once a module and outcome.

        A module that is denied for its alias can still come in as a dependency, so it stays free to be
        wanted.
        """
        known = self._settled.get((module, result.outcome)) or self._loads.get(module)
        if known is not None and known.result is not None and known.result.outcome is result.outcome:
            known.add_cause(cause)
            return
        load = Load(module, Needs(), 0, now_us)
        load.add_cause(cause)
        load.result = result
        load.end_us = now_us
        self._settled[module, result.outcome] = load
        self._told.append(load)

    def request(self, module: str, cause: Cause, rank: int, now_us: int, behind: str = "") -> Load:
        """Want `module` in; a second request only adds its cause, and its rank where that is more urgent.

        behind: a module that goes first if it is wanted too, whatever becomes of it; dependencies go before that.
        """
        load = self._loads.get(module)
        if load is None:
            load = self._admit(module, cause, rank, now_us)
            load.behind.update((behind,) if behind else ())
            self._push(load)
            return load
        load.add_cause(cause)
        load.behind.update((behind,) if behind else ())
        if load.result is None and not load.running and rank < load.rank:
            for one in self._chain(load):  # those that it waits for become as urgent
                if not one.running and rank < one.rank:
                    one.rank = rank
                    if not one.waits_for:
                        self._push(one)
        return load

    def forget(self, module: str) -> None:
        """Forget a module that has left the kernel: the next request loads it again."""
        self._settled = {key: load for key, load in self._settled.items() if key[0] != module}
        load = self._loads.get(module)
        if load is not None and load.result is not None:
            del self._loads[module]

    def _admit(self, module: str, cause: Cause, rank: int, now_us: int) -> Load:
        load = Load(module, self._needs_of(module), rank, now_us)
        load.add_cause(cause)
        load.cost = self._size_of(module)
        for name in load.needs.before:
            if name not in self._live and name not in self._loads:
                load.cost += self._size_of(name)
        self._loads[module] = load
        self._pending += 1
        return load

    def _push(self, load: Load) -> None:
        self._order += 1
        heappush(self._ready, (load.rank, load.cost, self._order, load.module))

    def next_job(self, now_us: int, worst: int | None = None) -> Job | None:
        """Return the job to start now; None while the limit is reached or everything that is left has to wait.

        worst: the last rank whose jobs may start, for as long as more urgent ones may still be asked for.
        """
        while self._ready and self._running_jobs < self._limit and not self._alone:
            if worst is not None and self._ready[0][0] > worst:
                return None
            entry = heappop(self._ready)
            if not self._is_current(entry):
                continue
            load = self._loads[entry[3]]
            if load.needs.alone and self._running_jobs:
                heappush(self._ready, entry)
                return None
            if self._gate is not None and not self._passes(self._gate(load), load, now_us):
                continue
            if self._blocked(load, now_us):
                continue
            return self._begin(load, now_us)
        return None

    def _is_current(self, entry: tuple[int, int, int, str]) -> bool:
        """Return whether the heap's entry is not stale: a load may go along with another job, wait, or rank better."""
        load = self._loads.get(entry[3])
        waits = load is None or load.running or load.result is not None or bool(load.waits_for)
        return load is not None and not waits and entry[0] == load.rank

    def _passes(self, admission: Admission | None, load: Load, now_us: int) -> bool:
        """Take the gate's answer. A load that it denies ends here, and can be wanted anew by others."""
        if admission is None:
            load.left_out, load.bare = frozenset(), False
            return True
        told, load.left_out, load.bare = load.left_out, admission.left_out, admission.bare
        for name, result in admission.refused.items():
            if name not in told:
                self.conclude(name, self._because_of(load, name), result, now_us)
        if admission.denial is None:
            return True
        del self._loads[load.module]
        self._settled[load.module, admission.denial.outcome] = load
        self._end(load, admission.denial, now_us)
        return False

    def _blocked(self, load: Load, now_us: int) -> bool:
        """Return whether the load must wait for another, or can never run; then it is dealt with here."""
        load.waits_for = ""
        for name in load.before:
            if name in load.waived:
                continue
            soft = name in load.needs.soft
            dependency = self._loads.get(name)
            if dependency is None:
                if name in self._live or not self._apart(load, self._needs_of(name)):
                    continue  # it is there, or it comes along in this job
                dependency = self._admit(name, self._because_of(load, name), load.rank, now_us)
                self._push(dependency)
            result = dependency.result
            if result is None:
                must_wait = dependency.running or dependency.bare or self._apart(load, dependency.needs)
                if must_wait and self._wait(load, dependency, wish=soft):
                    return True
            elif result.outcome not in SUCCESSES and not soft:
                self._end(load, lacking(name, result), now_us)
                return True
        return self._stands_behind(load)

    def _stands_behind(self, load: Load) -> bool:
        """Return whether the load must wait for a rival that is to go first."""
        for name in load.behind:
            first = self._loads.get(name)
            if first is None or first.result is not None or name in load.waived:
                continue
            if self._wait(load, first, wish=True):
                return True
        return False

    def _wait(self, load: Load, other: Load, *, wish: bool) -> bool:
        """Have the load wait for the other's end; False if it must not, since that would close a ring.

        wish: it may go on without, so it is the one that gives way. A dependency may not: then the first wish in the
        ring is waived. Those that are waited for get the rank of whoever waits for them, if it is more urgent.
        """
        ring = self._chain(other)
        if ring[-1] is load:
            if wish:
                load.waived.add(other.module)
                return False
            weakest = next((one for one in ring[:-1] if self._wishes(one, one.waits_for)), None)
            if weakest is not None:
                self._waive(weakest)
        load.waits_for = other.module
        other.waiters.append(load.module)
        for one in ring:
            if not one.running and load.rank < one.rank:
                one.rank = load.rank
                if not one.waits_for:
                    self._push(one)
        return True

    def _chain(self, load: Load) -> list[Load]:
        """Return the load, the one that it waits for, and so on: to one that waits for none, or round a ring once."""
        chain = [load]
        seen = {load.module}
        while chain[-1].waits_for:
            following = self._loads.get(chain[-1].waits_for)
            if following is None or following.module in seen:
                break
            chain.append(following)
            seen.add(following.module)
        return chain

    @staticmethod
    def _wishes(load: Load, name: str) -> bool:
        """Return whether the order of the two is a wish (a softdep, a rival), and not a dependency."""
        return name in load.needs.soft or name not in load.needs.before

    def _waive(self, load: Load) -> None:
        """Have a load that waits for a wish go on without it."""
        load.waived.add(load.waits_for)
        load.waits_for = ""
        self._push(load)

    def break_ring(self, now_us: int) -> list[str]:
        """Give up loads that wait for one another when nothing runs and nothing is ready.

        The modules of the ring, the first of them waiting for the second and so on; [] where nobody is stuck, which
        is always so as long as the rule above holds: this is the last resort, that a boot goes on.
        """
        if self._running_jobs or not self._pending or any(map(self._is_current, self._ready)):
            return []
        stuck = next(load for load in self._loads.values() if load.result is None)
        chain = self._chain(stuck)
        end = chain[-1].waits_for
        ring = chain[next((at for at, one in enumerate(chain) if one.module == end), 0) :]
        names = [one.module for one in ring]
        message = f"it waits for itself: {' -> '.join([*names, names[0]])}"
        for one in ring:
            self._end(one, failed(FailureKind.RING, message), now_us)
        return names

    @staticmethod
    def _apart(load: Load, of_dependency: Needs) -> bool:
        """Return whether a load and its dependency need processes of their own."""
        return load.single or of_dependency.single or of_dependency.alone

    @staticmethod
    def _because_of(load: Load, name: str) -> Cause:
        """Why the load brings `name` with it."""
        return Cause(softdep=load.module) if name in load.needs.soft else Cause(module=load.module)

    def _begin(self, load: Load, now_us: int) -> Job:
        claimed: list[Load] = []
        targets: list[str] = []
        for name in load.before:
            dependency = self._loads.get(name)
            if dependency is None:
                if name in self._live:
                    continue
                dependency = self._admit(name, self._because_of(load, name), load.rank, now_us)
            elif dependency.result is not None or name in load.waived:
                continue
            claimed.append(dependency)
            if name in load.needs.soft:
                targets.append(name)  # busybox modprobe knows no softdeps: it is told
        claimed.append(load)
        targets.append(load.module)
        for one in claimed:
            one.running = True
            one.waits_for = ""
            one.start_us = now_us
        self._running_jobs += 1
        self._alone = load.needs.alone
        return Job(tuple(targets), tuple(one.module for one in claimed), load.rank, load.cost, load.bare)

    def inserted(self, module: str, now_us: int) -> None:
        """Take note that a running job has inserted this one of its modules: who waits for it may go on."""
        load = self._loads[module]
        if load.result is None:
            self._end(load, INSERTED, now_us)

    def finished(self, results: Mapping[str, LoadResult], now_us: int) -> None:
        """End a job, whose process has ended; `results` has one for each of its modules that had none before."""
        self._running_jobs -= 1
        self._alone = False
        for name, result in results.items():
            self._end(self._loads[name], result, now_us)

    def take_told(self) -> list[Load]:
        """Return the loads that have got their result since the last call, in the order in which they did."""
        told, self._told = self._told, []
        for load in told:
            load.told = True
        return told

    def _end(self, load: Load, result: LoadResult, now_us: int) -> None:
        load.result = result
        load.running = False
        if load.end_us < 0:
            load.end_us = now_us
        self._pending -= 1
        self._told.append(load)
        if result.outcome in SUCCESSES:
            for name in load.needs.after:
                self.request(name, Cause(softdep=load.module), load.rank, now_us)
        waiters, load.waiters = load.waiters, []
        for name in waiters:
            waiter = self._loads.get(name)
            if waiter is not None and waiter.waits_for == load.module and waiter.result is None:
                waiter.waits_for = ""
                self._push(waiter)
