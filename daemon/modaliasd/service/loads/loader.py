"""Turns wanted modules into jobs and their ends into ledger lines.

Between the scheduler, which decides, and the jobs' modprobe, which inserts.
"""

from __future__ import annotations

from modaliasd.core.ledger.write import load_fields, load_text
from modaliasd.core.loading.demand import demands_of_plan, needs_of_plan
from modaliasd.core.loading.outcome import (
    INSERTED,
    SUCCESSES,
    FailureKind,
    LoadResult,
    Outcome,
    explain_failure,
    failed,
    is_not_permitted,
    kernel_lines_about,
    lacking,
    lines_about,
)
from modaliasd.core.loading.priority import Rank, rank_of
from modaliasd.core.loading.scheduler import Scheduler
from modaliasd.linux.process import is_safe_name, start
from modaliasd.linux.procmodules import are_modules_disabled, file_size, read_live_modules
from modaliasd.service.loads.jobs import Jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.kmod.plan import Plan, Step
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.load import Load, Needs
    from modaliasd.linux.process import Child, Ended
    from modaliasd.service.loads.jobs import Running
    from modaliasd.service.loads.tools import Tools
    from modaliasd.service.ports.outside import Clock, LiveSysfs, MessageLog, Writer
    from modaliasd.service.ports.parts import LastGate

TRIED_AGAIN = (Outcome.FAILED, Outcome.NODEVICE)
SLOW_US = 10_000_000  # a load that takes longer is reported, and goes on


class Loader:
    """Carries plans out. `live` holds the modules known to be in the kernel.

    limit: how many modprobes run at once. alone: modules that cannot bear another load beside them.
    ranks: modules whose rank is configured, and does not depend on who asks. hold: later ranks than this wait (`hold`).
    """

    def __init__(
        self,
        *,
        tools: Tools,
        sysfs: LiveSysfs,
        writer: Writer,
        kernel_log: MessageLog,
        gate: LastGate,
        clock: Clock,
        live: Iterable[str],
        limit: int,
        alone: frozenset[str] = frozenset(),
        ranks: dict[str, Rank] | None = None,
        hold: Rank | None = None,
    ) -> None:
        self._hold = hold
        self.live = set(live)
        self._needs: dict[str, Needs] = {}
        court = gate.court(self._load_of, self._needs.get)
        self.scheduler = Scheduler(self._needs_of, self._size_of, limit, self.live, court)
        self._tools = tools
        self._sysfs = sysfs
        self._writer = writer
        self._kernel_log = kernel_log
        self._clock = clock
        self._alone = alone
        self._ranks = ranks or {}
        self._sizes: dict[str, int] = {}
        self._steps: dict[str, Step] = {}
        self._jobs = Jobs(tools.cpus)
        self._announced: set[str] = set()  # modules whose uevent has come

    def want(self, plan: Plan, cause: Cause, modalias: str, *, first: bool = False) -> None:
        """Have done what the plan says; `cause` lacks only the alias and its line, which differ by match.

        first: before anything else, whatever it is.
        """
        now = self._clock()
        if any(one.module not in self._needs for one in plan.steps):
            for module, needs in needs_of_plan(plan, self._tools.is_single, self._alone).items():
                self._needs.setdefault(module, needs)
            for one in plan.steps:
                self._steps.setdefault(one.module, one)
        for match, step, result, behind in demands_of_plan(plan):
            because = cause.by(match)
            if result is not None:
                self.scheduler.conclude(match.module, because, result, now)
            elif step is not None:
                rank = Rank.FIRST if first else self._ranks.get(match.module) or rank_of(modalias, step.path)
                self._want_step(step, because, rank.value, behind)
        if cause.request:
            for module in plan.builtin:
                self.scheduler.conclude(module, cause, LoadResult(Outcome.BUILTIN), now)

    def _want_step(self, step: Step, cause: Cause, rank: int, behind: str) -> None:
        module = step.module
        known = self.scheduler.load_of(module)
        if not is_safe_name(module):
            result = failed(
                FailureKind.UNSAFE_NAME, "not a module's name: modprobe would not take it for one"
            )
            self.scheduler.conclude(module, cause, result, self._clock())
        elif known is None and module in self.live:
            self.scheduler.conclude(module, cause, LoadResult(Outcome.LIVE), self._clock())
        else:
            self.scheduler.request(module, cause, rank, self._clock(), behind)

    @property
    def idle(self) -> bool:
        """Nothing queued, nothing running."""
        return self.scheduler.idle

    @property
    def running(self) -> int:
        """How many jobs run."""
        return self.scheduler.running

    def is_pending(self, module: str) -> bool:
        """Return whether the module is wanted, and its load not at its end."""
        load = self.scheduler.load_of(module)
        return load is not None and load.result is None

    def is_known(self, module: str) -> bool:
        """Is the module in the kernel, or asked for?"""
        return module in self.live or self.scheduler.load_of(module) is not None

    def has_inserted(self, module: str) -> bool:
        """Return whether the module is in the kernel by this daemon's doing."""
        load = self.scheduler.load_of(module)
        return load is not None and load.result is not None and load.result.outcome is Outcome.INSERTED

    def command_of(self, module: str) -> str:
        """Return the command that runs in place of the insertion of a module that is wanted; "" for none."""
        return self._steps[module].command

    def unfinished(self) -> list[str]:
        """Return the modules that are wanted and whose loads have not ended."""
        return [load.module for load in self.scheduler.loads() if load.result is None]

    def causes(self) -> list[Cause]:
        """Why each module that is or was wanted is."""
        return [cause for load in self.scheduler.loads() for cause in load.causes]

    def stuck(self) -> list[str]:
        """Return the modules that everything waits for, if nothing runs but jobs that were named as slow; else none.

        To be asked after `start_jobs`: whatever may start has.
        """
        jobs = self._jobs.all_slow()
        return [module for running in jobs for module in running.job.modules if self.is_pending(module)]

    def outcomes(self) -> list[Outcome]:
        """Return how each load that has ended did so."""
        return [load.result.outcome for load in self.scheduler.loads() if load.result is not None]

    def forget_failures(self, modules: Iterable[str]) -> None:
        """Allow loads that failed, or found no device to drive, to be tried again."""
        for module in modules:
            load = self.scheduler.load_of(module)
            if load is not None and load.result is not None and load.result.outcome in TRIED_AGAIN:
                self.scheduler.forget(module)

    def _needs_of(self, module: str) -> Needs:
        return self._needs[module]

    def _load_of(self, module: str) -> Load | None:
        return self.scheduler.load_of(module)

    def _size_of(self, module: str) -> int:
        size = self._sizes.get(module)
        if size is None:
            size = self._sizes[module] = file_size(self._tools.modules_dir, self._steps[module].path)
        return size

    def start_jobs(self, *, coldplug: bool = False) -> list[int]:
        """Start what may run now; gives the new pidfds, to be polled.

        coldplug: disks may still be found, so what nobody waits for is not to take the processor from their drivers.
        """
        worst = self._hold or (Rank.OTHER if coldplug else None)
        started = self._start_up_to(None if worst is None else worst.value)
        if self._hold is Rank.BUS and not (started or coldplug or self.running or self.idle):
            self._hold = None
            started = self._start_up_to(None)
        ring = self.scheduler.break_ring(self._clock())
        if ring:
            message = f"{' -> '.join([*ring, ring[0]])}: each waited for the next; they are given up, the rest goes on"
            self._writer.write("warning", {"what": "ring of loads", "message": message})
            self._writer.say(f"ring of loads: {message}")
        return started

    def hold(self, worst: Rank | None) -> None:
        """Have loads of later ranks wait; those beyond BUS until nothing else is left to do. None: no longer.

        FIRST: those that run already give way, too.
        """
        self._hold = worst
        self._jobs.give_way(yielding=worst is Rank.FIRST)

    def _start_up_to(self, worst: int | None) -> list[int]:
        """Start what may run now and has no later rank; gives the new pidfds."""
        started: list[int] = []
        while job := self.scheduler.next_job(self._clock(), worst):
            program = self._tools.program(job, self._steps, self._needs)
            try:
                started.append(self._jobs.start(job, program, self._clock))
            except OSError as e:
                result = failed(FailureKind.CANNOT_START, f"cannot run {program[0]}: {e.strerror}")
                self.scheduler.finished(dict.fromkeys(job.modules, result), self._clock())
        return started

    def start_removal(self, module: str, command: str) -> Child:
        """Have a module removed that nothing needs. command: its `remove` line's. OSError where it cannot be run."""
        return start(*self._tools.remover(module, command))

    def is_job(self, descriptor: int) -> bool:
        """Return whether this is the pidfd of a running job."""
        return self._jobs.has(descriptor)

    def finish(self, pidfd: int) -> None:
        """Find out what became of each module of the process behind `pidfd`, which has ended."""
        running, ended = self._jobs.reap(pidfd)
        results: dict[str, LoadResult] = {}
        for module in running.job.modules:
            load = self.scheduler.load_of(module)
            if load is not None and load.result is None:
                results[module] = self._result(module, running.child.pid, ended)
        self._blame_dependencies(results)
        self.live.update(m for m, r in results.items() if r.outcome is Outcome.INSERTED)
        self.scheduler.finished(results, self._clock())

    def _result(self, module: str, pid: int, ended: Ended) -> LoadResult:
        status, words = ended
        if self._sysfs.is_live(module):
            return INSERTED
        if status == 0 and self._steps[module].command:
            return LoadResult(Outcome.COMMAND, f"ran: {self._steps[module].command}")
        kernel_words = kernel_lines_about(module, pid, self._kernel_log.lines()[-50:], words)
        disabled = is_not_permitted(words) and are_modules_disabled()
        own_words = lines_about(module, words) or words.strip()
        return explain_failure(module, status, own_words, kernel_words, modules_disabled=disabled)

    def _blame_dependencies(self, results: dict[str, LoadResult]) -> None:
        """Blame the dependency that did not come in for a module's failure, whatever modprobe said of it."""
        for module, own in results.items():
            load = self.scheduler.load_of(module)
            if load is None or own.outcome in SUCCESSES:
                continue
            for name in load.needs.before:
                result = results.get(name)
                if result is None or result.outcome in SUCCESSES or name in load.needs.soft:
                    continue
                results[module] = lacking(name, result)
                break

    def appeared(self, module: str, at_us: int) -> bool:
        """Return whether somebody else inserts a module, of which a `module` uevent told at `at_us`.

        In a job modules go in one after the other, so the one before it has ended now. While events queue up,
        one can come after its job's end: the first of a module that a job has inserted is that job's.
        """
        self.live.add(module)
        load = self.scheduler.load_of(module)
        if load is None or module in self._announced:
            return True
        self._announced.add(module)
        if not load.running:
            return load.result is None or load.result.outcome is not Outcome.INSERTED
        load.start_us = at_us
        for running in self._jobs.with_module(module):
            if running.inserting and self._sysfs.is_live(running.inserting):
                self.scheduler.inserted(running.inserting, load.start_us)
            running.inserting = module
        return False

    def left(self, module: str) -> None:
        """Handle a `module` uevent that says that it has been removed."""
        self.live.discard(module)
        self._announced.discard(module)
        self.scheduler.forget(module)

    def recheck_live(self) -> None:
        """Uevents may have been lost: ask the kernel again which modules it has."""
        now = set(read_live_modules())
        for module in self.live - now:
            load = self.scheduler.load_of(module)
            if load is None or not load.running:
                self.left(module)
        self.live |= now

    def write_ended(self) -> bool:
        """Put the loads that ended into the ledger; were there any?"""
        ended = self.scheduler.take_told()
        for load in ended:
            before = [name for name in load.needs.before if name in self.live]
            self._writer.write("load", load_fields(load, before))
            self._writer.say(load_text(load))
        return bool(ended)

    def report_slow(self, limit_us: int = SLOW_US) -> int:
        """Name the jobs that run longer than the limit.

        Gives the milliseconds until the next could (-1: none).
        """
        now = self._clock()
        overdue, next_ms = self._jobs.overdue(limit_us, now)
        for running in overdue:
            self._write_slow(running, now)
        return next_ms

    def _write_slow(self, running: Running, now: int) -> None:
        for module in running.job.modules:
            load = self.scheduler.load_of(module)
            if load is None or self._sysfs.is_live(module):
                continue
            ms = (now - running.start_us) // 1000
            causes: list[Json] = [cause.fields() for cause in load.causes]
            self._writer.write("slow", {"module": module, "causes": causes, "running_ms": ms}, now)
            self._writer.say(f"{module} is slow: {ms} ms and still loading, {load.causes[0].in_full()}")
