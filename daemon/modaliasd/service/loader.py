"""Turns wanted modules into modprobe processes and their ends into ledger lines.

Between the scheduler, which decides, and modprobe, which inserts. Belongs to the service layer.
"""

from __future__ import annotations

import posix

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.invocation import Invocation, Tool, invocation, removal
from modaliasd.core.ledger.text_load import because, load_text
from modaliasd.core.ledger.write import cause_fields, line, load_fields
from modaliasd.core.loading.demand import demands_of_plan, needs_of_plan
from modaliasd.core.loading.outcome import (
    SUCCESSES,
    Outcome,
    Verdict,
    explain_failure,
    kernel_lines_about,
    lines_about,
)
from modaliasd.core.loading.priority import Rank, niceness, rank_of
from modaliasd.core.loading.scheduler import Cause, Needs, Scheduler
from modaliasd.linux.process import is_safe_name, reap, start
from modaliasd.linux.procmodules import file_size, read_live_modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modaliasd.core.kmod.invocation import Flavour
    from modaliasd.core.kmod.plan import Plan, Step
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.scheduler import Job, Load
    from modaliasd.linux.kmsg import KernelLog
    from modaliasd.linux.ledger import Ledger
    from modaliasd.linux.process import Child, Ended
    from modaliasd.linux.sysfs import Sysfs

SLOW_US = 10_000_000  # a load that takes longer is reported, and goes on


class Running:
    """A job, its process, how far it is, and whether it was reported as slow."""

    __slots__ = ("child", "inserting", "job", "nice", "reported", "start_us")

    def __init__(self, job: Job, child: Child, start_us: int) -> None:
        self.job = job
        self.child = child
        self.start_us = start_us
        self.nice = 0
        self.inserting = ""  # the module whose insertion the kernel told of last
        self.reported = False


class Tools(NamedTuple):
    """What inserts modules here: the programs' paths, whose modprobe it is, and where modules.dep lies."""

    modprobe: str
    insmod: str
    shell: str
    flavour: Flavour
    modules_dir: str
    cpus: int = 1


class Loader:
    """Carries plans out. `live` holds the modules known to be in the kernel.

    limit: how many modprobes run at once. alone: modules that cannot bear another load beside them.
    ranks: modules whose rank is configured, and does not depend on who asks.
    """

    def __init__(
        self,
        tools: Tools,
        sysfs: Sysfs,
        ledger: Ledger,
        kernel_log: KernelLog,
        clock: Callable[[], int],
        live: Iterable[str],
        limit: int,
        alone: frozenset[str] = frozenset(),
        ranks: dict[str, Rank] | None = None,
    ) -> None:
        self.live = set(live)
        self.scheduler = Scheduler(self._needs_of, self._size_of, limit, self.live)
        self._tools = tools
        self._sysfs = sysfs
        self._ledger = ledger
        self._kernel_log = kernel_log
        self._clock = clock
        self._alone = alone
        self._ranks = ranks or {}
        self._sizes: dict[str, int] = {}
        self._needs: dict[str, Needs] = {}
        self._steps: dict[str, Step] = {}
        self._running: dict[int, Running] = {}
        self._warned: set[tuple[str, str]] = set()
        self._announced: set[str] = set()  # modules whose uevent has come

    def want(self, plan: Plan, cause: Cause, modalias: str) -> None:
        """Have done what the plan says; `cause` lacks only the alias and its line, which differ by match."""
        now = self._clock()
        if any(one.module not in self._needs for one in plan.steps):
            for module, needs in needs_of_plan(plan, self._is_single, self._alone).items():
                self._needs.setdefault(module, needs)
            for one in plan.steps:
                self._steps.setdefault(one.module, one)
        for match, step, verdict, behind in demands_of_plan(plan):
            in_tree = not match.alias or match.file == "modules.alias"
            because = cause.by(match.alias, match.line, "" if in_tree else match.file)
            if verdict is not None:
                self.scheduler.conclude(match.module, because, verdict, now)
            elif step is not None:
                rank = self._ranks.get(match.module) or rank_of(modalias, step.path)
                self._want_step(step, because, rank.value, behind)
        if cause.request:
            for module in plan.builtin:
                self.scheduler.conclude(module, cause, Verdict(Outcome.BUILTIN), now)

    def _want_step(self, step: Step, cause: Cause, rank: int, behind: str) -> None:
        module = step.module
        known = self.scheduler.load_of(module)
        if not is_safe_name(module):
            message = "the name is no module's: it would not reach modprobe as a name"
            self.scheduler.conclude(module, cause, Verdict(Outcome.FAILED, message), self._clock())
        elif known is None and module in self.live:
            self.scheduler.conclude(module, cause, Verdict(Outcome.LIVE), self._clock())
        else:
            self.scheduler.request(module, cause, rank, self._clock(), behind)

    def _needs_of(self, module: str) -> Needs:
        return self._needs[module]

    def _size_of(self, module: str) -> int:
        size = self._sizes.get(module)
        if size is None:
            size = self._sizes[module] = file_size(self._tools.modules_dir, self._steps[module].path)
        return size

    def _invocation(self, step: Step) -> Invocation:
        return invocation(step, self._tools.flavour, self._tools.modules_dir)

    def _is_single(self, step: Step) -> bool:
        return not self._invocation(step).batch

    def start_jobs(self, *, coldplug: bool = False) -> list[int]:
        """Start what may run now; gives the new pidfds, to be polled.

        coldplug: disks may still be found, so what nobody waits for is not to take the processor from their drivers.
        """
        worst = Rank.OTHER.value if coldplug else None
        started: list[int] = []
        while job := self.scheduler.next_job(self._clock(), worst):
            path, arguments, environment = self._command(job)
            try:
                child = start(path, arguments, environment)
            except OSError as e:
                verdict = Verdict(Outcome.FAILED, f"cannot run {path}: {e.strerror}")
                self.scheduler.finished(dict.fromkeys(job.modules, verdict), self._clock())
                continue
            self._running[child.pidfd] = Running(job, child, self._clock())
            started.append(child.pidfd)
            self._share_out()
        ring = self.scheduler.break_ring(self._clock())
        if ring:
            message = f"{' -> '.join([*ring, ring[0]])}: each waited for the next; they are given up, the rest goes on"
            self._ledger.append(line("warning", self._clock(), {"what": "ring of loads", "message": message}))
            self._ledger.say(f"ring of loads: {message}")
        return started

    def _share_out(self) -> None:
        """Tell the kernel who of the running jobs gets the processors first."""
        jobs = ((running.job.rank, running.job.cost, number) for number, running in self._running.items())
        for number, nice in niceness(jobs, self._tools.cpus).items():
            running = self._running[number]
            if running.nice != nice:
                running.nice = nice
                posix.setpriority(posix.PRIO_PROCESS, running.child.pid, nice)

    def _command(self, job: Job) -> tuple[str, list[str], tuple[tuple[str, str], ...]]:
        """The program that carries the job out, its arguments, and what it finds in its environment."""
        last = job.modules[-1]
        if not self._needs[last].single:
            return self._tools.modprobe, ["-b", "-a", "--", *job.targets], ()
        return self._program(self._invocation(self._steps[last]))

    def _program(self, how: Invocation) -> tuple[str, list[str], tuple[tuple[str, str], ...]]:
        program = {
            Tool.MODPROBE: self._tools.modprobe,
            Tool.INSMOD: self._tools.insmod,
            Tool.SHELL: self._tools.shell,
        }
        return program[how.tool], list(how.arguments), how.environment

    def start_removal(self, module: str, command: str) -> Child:
        """Have a module removed that nothing needs. command: its `remove` line's. OSError where it cannot be run."""
        return start(*self._program(removal(module, command, self._tools.flavour)))

    def is_job(self, descriptor: int) -> bool:
        """Is this the pidfd of a running job?"""
        return descriptor in self._running

    def finish(self, pidfd: int) -> None:
        """The process behind `pidfd` has ended: find out what became of each of its modules."""
        running = self._running.pop(pidfd)
        ended = reap(running.child)
        verdicts: dict[str, Verdict] = {}
        for module in running.job.modules:
            load = self.scheduler.load_of(module)
            if load is not None and load.verdict is None:
                verdicts[module] = self._verdict(module, running.child.pid, ended)
        self._blame_dependencies(verdicts)
        self.live.update(m for m, v in verdicts.items() if v.outcome is Outcome.INSERTED)
        self.scheduler.finished(verdicts, self._clock())
        self._share_out()

    def _verdict(self, module: str, pid: int, ended: Ended) -> Verdict:
        status, words = ended
        if self._sysfs.is_live(module):
            return Verdict(Outcome.INSERTED)
        if status == 0 and self._steps[module].command:
            return Verdict(Outcome.COMMAND, f"ran: {self._steps[module].command}")
        kernel_words = kernel_lines_about(module, pid, self._kernel_log.lines()[-50:], words)
        return explain_failure(module, status, lines_about(module, words) or words.strip(), kernel_words)

    def _blame_dependencies(self, verdicts: dict[str, Verdict]) -> None:
        """A module whose dependency did not come in failed for that reason, whatever modprobe said of it."""
        for module, own in verdicts.items():
            load = self.scheduler.load_of(module)
            if load is None or own.outcome in SUCCESSES:
                continue
            for name in load.needs.before:
                verdict = verdicts.get(name)
                if verdict is None or verdict.outcome in SUCCESSES or name in load.needs.soft:
                    continue
                message = f"it needs {name}, which is {verdict.outcome.value}: {verdict.message}"
                verdicts[module] = Verdict(Outcome.FAILED, message)
                break

    def appeared(self, module: str, at_us: int) -> bool:
        """A `module` uevent, which came at `at_us`, says that it is being inserted; was that somebody else's doing?

        In a job modules go in one after the other, so the one before it has ended now. While events queue up,
        one can come after its job's end: the first of a module that a job has inserted is that job's.
        """
        self.live.add(module)
        load = self.scheduler.load_of(module)
        if load is None or module in self._announced:
            return True
        self._announced.add(module)
        if not load.running:
            return load.verdict is None or load.verdict.outcome is not Outcome.INSERTED
        load.start_us = at_us
        for running in self._running.values():
            if module in running.job.modules:
                if running.inserting and self._sysfs.is_live(running.inserting):
                    self.scheduler.inserted(running.inserting, load.start_us)
                running.inserting = module
        return False

    def left(self, module: str) -> None:
        """A `module` uevent says that it has been removed."""
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

    def write_ended(self) -> list[Load]:
        """Put the loads that ended into the ledger; gives them."""
        ended = self.scheduler.take_told()
        for load in ended:
            before = [name for name in load.needs.before if name in self.live]
            self._ledger.append(line("load", self._clock(), load_fields(load, before)))
            self._ledger.say(load_text(load))
        return ended

    def report_slow(self, limit_us: int = SLOW_US) -> int:
        """Name the jobs that run longer than the limit.

        Gives the milliseconds until the next could (-1: none).
        """
        now = self._clock()
        next_us = -1
        for running in self._running.values():
            if running.reported:
                continue
            left = running.start_us + limit_us - now
            if left > 0:
                next_us = left if next_us < 0 else min(next_us, left)
                continue
            running.reported = True
            self._write_slow(running, now)
        return -1 if next_us < 0 else next_us // 1000 + 1

    def report_waiting(self) -> None:
        """Write down what keeps drivers from their devices though the modules are in: once each.

        Firmware that was not found, and probes that the kernel has put off until a supplier is there.
        """
        found = [
            ("firmware", f"{file} is missing: {who} asked for it")
            for file, who in self._kernel_log.take_missing_firmware()
        ]
        found += [
            ("deferred probe", f"{device} waits: {reason or 'the kernel does not say what for'}")
            for device, reason in self._sysfs.deferred()
        ]
        for warning in found:
            if warning in self._warned:
                continue
            self._warned.add(warning)
            what, message = warning
            self._ledger.append(line("warning", self._clock(), {"what": what, "message": message}))
            self._ledger.say(f"{what}: {message}")

    def _write_slow(self, running: Running, now: int) -> None:
        for module in running.job.modules:
            load = self.scheduler.load_of(module)
            if load is None or self._sysfs.is_live(module):
                continue
            ms = (now - running.start_us) // 1000
            causes: list[Json] = [cause_fields(cause) for cause in load.causes]
            self._ledger.append(line("slow", now, {"module": module, "causes": causes, "running_ms": ms}))
            self._ledger.say(f"{module} is slow: {ms} ms and still loading, {because(load)}")
