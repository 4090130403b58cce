"""Decides which module is loaded when: each once, what it needs first, the urgent ones before the others.

The unit of work is a job: one modprobe process that inserts a module and those of its dependencies that
nobody has begun yet. A load whose dependency is being inserted by another job waits for that job, so no
module is ever inserted twice. Pure: no process is started here; `next_job` says what to start, `finished`
takes what came of it.

    requested --> ready --> running --> done(verdict)
                    ^  \\
                    |   waiting for a dependency that another job is inserting
                    +---/

Defined outcomes: a load whose hard dependency failed or was denied fails and names it; a softdep that fails
is only warned of; modules of a dependency cycle load in one job, as modprobe takes them.
"""

from __future__ import annotations

from _heapq import heappop, heappush

from modaliasd.core.lean import Record
from modaliasd.core.outcome import SUCCESSES, Outcome, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from modaliasd.core.admission import Admission


class Cause(Record):
    """Why a module is wanted: by a device (devpath, subsystem, modalias, alias, line), or by a module or a
    name.

    Exactly one of devpath, module, softdep, request is set.
    """

    devpath: str = ""
    subsystem: str = ""
    modalias: str = ""
    alias: str = ""
    line: int = 0
    file: str = ""  # where the alias stands, if not in modules.alias
    module: str = ""  # the module that depends on it
    softdep: str = ""  # the module that names it in a softdep
    request: str = ""  # who asked for it by name

    def by(self, alias: str, line: int, file: str) -> Cause:
        """The same cause, with the alias that the device's modalias, or the name, matched, and the alias's place."""
        return Cause(self.devpath, self.subsystem, self.modalias, alias, line, file, request=self.request)


class Needs(Record):
    """What goes with a module: `before` in the order of insertion, of which `soft` may fail; `after` it."""

    before: tuple[str, ...] = ()
    soft: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()
    alone: bool = False  # it cannot bear another load beside it
    single: bool = False  # it wants a process of its own (options, insmod, an install line)
    prefers: tuple[str, ...] = ()  # of `soft`, its own softdeps, without what these need


class Load:
    """A module's way through the scheduler. Times are microseconds, -1 while unknown."""

    __slots__ = (
        "bare",
        "behind",
        "causes",
        "cost",
        "end_us",
        "left_out",
        "module",
        "needs",
        "queued_us",
        "rank",
        "running",
        "start_us",
        "verdict",
        "waiters",
    )

    def __init__(self, module: str, needs: Needs, rank: int, now_us: int) -> None:
        self.module = module
        self.needs = needs
        self.rank = rank
        self.cost = 0  # bytes of module files to insert, an estimate of how long it takes
        self.causes: list[Cause] = []
        self.behind: set[str] = set()  # modules that are to have their end first, if they are wanted at all
        self.left_out: frozenset[str] = frozenset()  # of `needs.before`, what the gate keeps out
        self.bare = False  # modprobe would bring along what the gate keeps out: to be inserted without it
        self.queued_us = now_us
        self.start_us = -1
        self.end_us = -1
        self.running = False
        self.verdict: Verdict | None = None
        self.waiters: list[str] = []

    @property
    def before(self) -> tuple[str, ...]:
        """What goes in before it, this time."""
        if not self.left_out:
            return self.needs.before
        return tuple(name for name in self.needs.before if name not in self.left_out)

    @property
    def single(self) -> bool:
        """Does it want a process of its own, this time?"""
        return self.needs.single or self.bare

    def __repr__(self) -> str:
        return f"Load({self.module!r}, verdict={self.verdict!r})"


class Job(Record):
    """One modprobe process: `targets` are its arguments, `modules` all that it will insert, in order.

    bare: modprobe would insert others, too, so this one module is to go in without it.
    """

    targets: tuple[str, ...]
    modules: tuple[str, ...]
    rank: int
    cost: int
    bare: bool = False


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
        self._pending = 0  # loads without a verdict
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

    @property
    def pending(self) -> int:
        """How many loads have no verdict yet."""
        return self._pending

    def load_of(self, module: str) -> Load | None:
        """The module's load, ended or not; None if nobody asked for it."""
        return self._loads.get(module)

    def loads(self) -> Iterable[Load]:
        """All loads in the order in which they were asked for, those that needed no job last."""
        return [*self._loads.values(), *self._settled.values()]

    def settle(self, module: str, cause: Cause, verdict: Verdict, now_us: int) -> None:
        """Record an outcome that needs no job: live, denied, impossible. Told once a module and outcome.

        A module that is denied for its alias can still come in as a dependency, so it stays free to be
        wanted.
        """
        known = self._settled.get((module, verdict.outcome)) or self._loads.get(module)
        if known is not None and known.verdict is not None and known.verdict.outcome is verdict.outcome:
            known.causes.append(cause)
            return
        load = Load(module, Needs(), 0, now_us)
        load.causes.append(cause)
        load.verdict = verdict
        load.end_us = now_us
        self._settled[module, verdict.outcome] = load
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
        load.causes.append(cause)
        load.behind.update((behind,) if behind else ())
        if load.verdict is None and not load.running and rank < load.rank:
            load.rank = rank
            self._push(load)
        return load

    def forget(self, module: str) -> None:
        """The module has left the kernel: the next request loads it again."""
        self._settled = {key: load for key, load in self._settled.items() if key[0] != module}
        load = self._loads.get(module)
        if load is not None and load.verdict is not None:
            del self._loads[module]

    def _admit(self, module: str, cause: Cause, rank: int, now_us: int) -> Load:
        load = Load(module, self._needs_of(module), rank, now_us)
        load.causes.append(cause)
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
        """The job to start now; None while the limit is reached or everything that is left has to wait.

        worst: the last rank whose jobs may start, for as long as more urgent ones may still be asked for.
        """
        while self._ready and self._running_jobs < self._limit and not self._alone:
            if worst is not None and self._ready[0][0] > worst:
                return None
            entry = heappop(self._ready)
            load = self._loads.get(entry[3])
            if load is None or load.running or load.verdict is not None or entry[0] != load.rank:
                continue  # a stale entry: the load went along with another job, or got a better rank
            if load.needs.alone and self._running_jobs:
                heappush(self._ready, entry)
                return None
            if self._gate is not None and not self._passes(self._gate(load), load, now_us):
                continue
            if self._blocked(load, now_us):
                continue
            return self._begin(load, now_us)
        return None

    def _passes(self, admission: Admission | None, load: Load, now_us: int) -> bool:
        """Take the gate's answer. A load that it denies ends here, and can be wanted anew by others."""
        if admission is None:
            load.left_out, load.bare = frozenset(), False
            return True
        told, load.left_out, load.bare = load.left_out, admission.left_out, admission.bare
        for name, verdict in admission.refused.items():
            if name not in told:
                self.settle(name, self._because_of(load, name), verdict, now_us)
        if admission.denial is None:
            return True
        del self._loads[load.module]
        self._settled[load.module, admission.denial.outcome] = load
        self._end(load, admission.denial, now_us)
        return False

    def _blocked(self, load: Load, now_us: int) -> bool:
        """Must the load wait for a running dependency, or can it never run? Then it is dealt with here."""
        for name in load.before:
            dependency = self._loads.get(name)
            if dependency is None:
                if name in self._live:
                    continue
                if not load.single and not self._needs_of(name).single:
                    continue  # it comes along in this job
                dependency = self._admit(name, self._because_of(load, name), load.rank, now_us)
                self._push(dependency)
            if dependency.running or (dependency.verdict is None and self._apart(load, dependency)):
                dependency.waiters.append(load.module)
                return True
            verdict = dependency.verdict
            if verdict is None or verdict.outcome in SUCCESSES or name in load.needs.soft:
                continue
            why = verdict.message or verdict.outcome.value
            self._end(
                load,
                Verdict(Outcome.FAILED, f"it needs {name}, which is {verdict.outcome.value}: {why}"),
                now_us,
            )
            return True
        return self._stands_behind(load)

    def _stands_behind(self, load: Load) -> bool:
        """Must the load wait for one that is to go first? That one gets the load's rank, if it is more urgent."""
        for name in load.behind:
            first = self._loads.get(name)
            if first is None or first.verdict is not None or self._awaits(first, load.module, set()):
                continue
            first.waiters.append(load.module)
            if not first.running and load.rank < first.rank:
                first.rank = load.rank
                self._push(first)
            return True
        return False

    def _awaits(self, load: Load, module: str, seen: set[str]) -> bool:
        """Does the load, or one that it has to wait for, wait for the module? Then the two would wait for ever."""
        seen.add(load.module)
        for name in (*load.needs.before, *load.behind):
            if name == module:
                return True
            other = self._loads.get(name)
            if (
                name not in seen
                and other is not None
                and other.verdict is None
                and self._awaits(other, module, seen)
            ):
                return True
        return False

    @staticmethod
    def _apart(load: Load, dependency: Load) -> bool:
        """Do the two need processes of their own?"""
        return load.single or dependency.single

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
            elif dependency.verdict is not None:
                continue
            claimed.append(dependency)
            if name in load.needs.soft:
                targets.append(name)  # busybox modprobe knows no softdeps: it is told
        claimed.append(load)
        targets.append(load.module)
        for one in claimed:
            one.running = True
            one.start_us = now_us
        self._running_jobs += 1
        self._alone = load.needs.alone
        return Job(tuple(targets), tuple(one.module for one in claimed), load.rank, load.cost, load.bare)

    def inserted(self, module: str, now_us: int) -> None:
        """A running job has inserted this one of its modules and is at the next: who waits for it may go on."""
        load = self._loads[module]
        if load.verdict is None:
            self._end(load, Verdict(Outcome.INSERTED), now_us)

    def finished(self, verdicts: Mapping[str, Verdict], now_us: int) -> None:
        """A job's process has ended; `verdicts` has one for each of its modules that had none before."""
        self._running_jobs -= 1
        self._alone = False
        for name, verdict in verdicts.items():
            self._end(self._loads[name], verdict, now_us)

    def take_told(self) -> list[Load]:
        """The loads that have got their verdict since the last call, in the order in which they did."""
        told, self._told = self._told, []
        return told

    def _end(self, load: Load, verdict: Verdict, now_us: int) -> None:
        load.verdict = verdict
        load.running = False
        if load.end_us < 0:
            load.end_us = now_us
        self._pending -= 1
        self._told.append(load)
        if verdict.outcome in SUCCESSES:
            for name in load.needs.after:
                self.request(name, Cause(softdep=load.module), load.rank, now_us)
        waiters, load.waiters = load.waiters, []
        for name in waiters:
            waiter = self._loads.get(name)  # one that the gate has denied meanwhile waits no more
            if waiter is not None and waiter.verdict is None and not waiter.running:
                self._push(waiter)
