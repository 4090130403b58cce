"""The jobs that run: a process each, which of them gets the processors first, and which take long."""

from __future__ import annotations

import posix

from modaliasd.core.loading.priority import Rank, niceness
from modaliasd.linux.process import reap, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.loading.load import Job
    from modaliasd.linux.process import Child, Ended
    from modaliasd.service.loads.tools import Program
    from modaliasd.service.ports.outside import Clock

LEAST = 19  # nice(2): gets the processor when nobody else wants it


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


class Jobs:
    """Those that run, by their processes' pidfds. cpus: how many processors they share."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._running: dict[int, Running] = {}
        self._yielding = False

    def start(self, job: Job, program: Program, clock: Clock) -> int:
        """Start the job's process; gives its pidfd, to be polled. OSError where it cannot be run."""
        child = start(*program)
        self._running[child.pidfd] = Running(job, child, clock())
        self._share_out()
        return child.pidfd

    def has(self, descriptor: int) -> bool:
        """Return whether this is the pidfd of a running job."""
        return descriptor in self._running

    def reap(self, pidfd: int) -> tuple[Running, Ended]:
        """Take out the job whose process has ended, with how it did so."""
        running = self._running.pop(pidfd)
        self._share_out()
        return running, reap(running.child)

    def give_way(self, *, yielding: bool) -> None:
        """Have all that runs, but jobs of the rank FIRST, leave the processors to whoever wants them; or no longer."""
        self._yielding = yielding
        self._share_out()

    def _share_out(self) -> None:
        """Tell the kernel who of the running jobs gets the processors first."""
        jobs = ((running.job.rank, running.job.cost, number) for number, running in self._running.items())
        for number, nice in niceness(jobs, self._cpus).items():
            running = self._running[number]
            if self._yielding and running.job.rank > Rank.FIRST.value:
                nice = LEAST
            if running.nice != nice:
                running.nice = nice
                posix.setpriority(posix.PRIO_PROCESS, running.child.pid, nice)

    def with_module(self, module: str) -> Iterable[Running]:
        """Return the jobs that insert the module."""
        return [running for running in self._running.values() if module in running.job.modules]

    def all_slow(self) -> list[Running]:
        """Return the jobs that run, if each was reported as slow; else none."""
        jobs = list(self._running.values())
        return jobs if all(running.reported for running in jobs) else []

    def overdue(self, limit_us: int, now_us: int) -> tuple[list[Running], int]:
        """Return the jobs that have by now run longer than the limit, each once; and the ms until the next could.

        The milliseconds are -1 where no other runs.
        """
        found: list[Running] = []
        next_us = -1
        for running in self._running.values():
            if running.reported:
                continue
            left = running.start_us + limit_us - now_us
            if left > 0:
                next_us = left if next_us < 0 else min(next_us, left)
                continue
            running.reported = True
            found.append(running)
        return found, -1 if next_us < 0 else next_us // 1000 + 1
