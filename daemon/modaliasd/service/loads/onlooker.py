"""Stands where the loader stands, and loads nothing: it notes what each module is wanted for, and that it came.

For `modaliasd run --observe`, beside a udevd that does the loading, and for the commands that answer without a
ledger. A module's `module` uevent comes when its insertion begins, before its init runs (kernel/module/main.c); when
that has ended /sys/module/NAME/initstate says `live`, of which nothing tells, so it is looked at until then, or until
a module that needs it comes. One that the kernel requests comes after those it needs: what has come without a reason
and is needed by a later one gets that as its reason, as long as its line has not been written.
"""

from __future__ import annotations

from modaliasd.core.ledger.write import load_fields
from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.demand import demands_of_plan
from modaliasd.core.loading.load import Load, Needs
from modaliasd.core.loading.outcome import OBSERVED, FailureKind, LoadResult, Outcome, failed
from modaliasd.linux.procmodules import read_live_modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from modaliasd.core.kmod.modules_dep import Dependencies
    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.priority import Rank
    from modaliasd.linux.process import Child
    from modaliasd.service.ports.outside import Clock, LiveSysfs, Writer

LOOK_MS = 10  # until a module that has come is looked at for the first time; then twice as long, and so on
LONGEST_LOOK_MS = 1000
HELD_US = 500_000  # a live module without a reason waits so long for one
SLOW_US = 10_000_000  # as in loads/loader.py
_GONE_AGAIN = (
    "it left before its init had ended: it found nothing to drive, or failed; the kernel's log says which"
)


class Onlooker:
    """`live` holds the modules known to be in the kernel.

    dependencies: called for the module tree's modules.dep as it is now.
    """

    def __init__(
        self,
        *,
        sysfs: LiveSysfs,
        writer: Writer,
        dependencies: Callable[[], Dependencies],
        clock: Clock,
        live: Iterable[str],
    ) -> None:
        self.live = set(live)
        self._sysfs = sysfs
        self._writer = writer
        self._dependencies = dependencies
        self._clock = clock
        self._loads: dict[str, Load] = {}  # by module: what is wanted, has come, or was refused
        self._untold: list[Load] = []  # those that have ended, and whose lines have not been written
        self._coming: dict[str, Load] = {}  # those whose init has not ended
        self._slow: set[str] = set()
        self._look_ms = LOOK_MS

    # What is wanted.

    def hold(self, worst: Rank | None) -> None:
        """Have nothing wait: nothing is loaded here."""

    @property
    def running(self) -> int:
        """How many jobs run: none ever does."""
        return 0

    def want(self, plan: Plan, cause: Cause, modalias: str, *, first: bool = False) -> None:  # noqa: ARG002 - the loader's protocol
        """Note for whom each module of the plan would be loaded."""
        for match, step, result, _behind in demands_of_plan(plan):
            because = cause.by(match)
            if result is not None:
                self._refuse(match.module, because, result)
            elif step is not None:
                self._note(match.module, because)
        for step in plan.steps:
            for name in step.needs:
                self._note(name, Cause(module=step.module))
            for name in (*step.prefers, *step.follows):
                self._note(name, Cause(softdep=step.module))

    def _note(self, module: str, cause: Cause) -> None:
        load = self._loads.get(module)
        if load is None:
            load = self._loads[module] = Load(module, Needs(), 0, self._clock())
        elif cause in load.causes:
            return
        load.add_cause(cause)
        if load.result is None and module in self.live and module not in self._coming:
            self._end(load, LoadResult(Outcome.LIVE))

    def _refuse(self, module: str, cause: Cause, result: LoadResult) -> None:
        """Note what whoever loads will refuse as well, by the same lines of the same files, unless it came anyway."""
        self._note(module, cause)
        load = self._loads[module]
        if load.result is None and module not in self._coming:
            self._end(load, result)

    def _end(self, load: Load, result: LoadResult) -> None:
        load.result = result
        if load.end_us < 0:
            load.end_us = self._clock()
        self._untold.append(load)

    # What comes and goes.

    def appeared(self, module: str, at_us: int) -> bool:
        """Handle a module's uevent, read at `at_us`. False: its line is written here."""
        self.live.add(module)
        known = self._loads.get(module)
        load = Load(module, self._needs_of(module), 0, at_us)
        if known is not None:
            load.causes, load.more_causes = known.causes, known.more_causes
            load.queued_us = min(known.queued_us, at_us)
        load.start_us = at_us
        self._loads[module] = self._coming[module] = load
        for other in self._coming.values():
            if other.module in load.needs.before:
                if other.end_us < 0:
                    other.end_us = at_us  # no module goes in before what it needs is up
                if not other.causes:
                    other.add_cause(Cause(module=module))
        self._look_ms = LOOK_MS
        return False

    def _needs_of(self, module: str) -> Needs:
        return Needs(self._dependencies().load_order(module).modules[:-1])

    def left(self, module: str) -> None:
        """Handle a module that has been removed; also one whose init has failed."""
        self.live.discard(module)
        load = self._coming.pop(module, None)
        if load is not None:
            self._end(load, failed(FailureKind.UNKNOWN, _GONE_AGAIN))
        known = self._loads.get(module)
        if known is not None and known.result is not None:
            again = Load(
                module, Needs(), 0, self._clock()
            )  # the next insertion is another load, for the same reasons
            again.causes, again.more_causes = list(known.causes), known.more_causes
            self._loads[module] = again

    def recheck_live(self) -> None:
        """Uevents may have been lost: ask the kernel again which modules it has."""
        now = set(read_live_modules())
        for module in self.live - now:
            self.left(module)
        for module in now - self.live:
            self.appeared(module, self._clock())

    def start_jobs(self, *, coldplug: bool = False) -> list[int]:
        """Look which modules' inits have ended; starts nothing.

        coldplug: the first walk is under way, and may come to the device that a module is for.
        """
        now = self._clock()
        for module, load in list(self._coming.items()):
            if load.end_us < 0 and self._sysfs.is_live(module):
                load.end_us = now
            held = not load.causes and (coldplug or now - load.start_us < HELD_US)
            if held or load.end_us < 0:
                continue
            del self._coming[module]
            self._slow.discard(module)
            self._end(load, OBSERVED)
        return []

    def write_ended(self) -> bool:
        """Write the lines of loads that have ended; were there any?"""
        untold, self._untold = self._untold, []
        for load in untold:
            before = [name for name in self._needs_of(load.module).before if name in self.live]
            self._writer.write("load", load_fields(load, before))
            load.told = True
        return bool(untold)

    def report_slow(self) -> int:
        """Name inits that take long; gives the milliseconds until the modules that are coming are looked at again."""
        if not self._coming:
            return -1
        now = self._clock()
        for module, load in self._coming.items():
            if now - load.start_us >= SLOW_US and module not in self._slow:
                self._slow.add(module)
                causes: list[Json] = [cause.fields() for cause in load.causes]
                fields: dict[str, Json] = {"module": module, "causes": causes}
                self._writer.write("slow", fields | {"running_ms": (now - load.start_us) // 1000}, now)
        wait, self._look_ms = self._look_ms, min(self._look_ms * 2, LONGEST_LOOK_MS)
        return wait

    def stuck(self) -> list[str]:
        """Return the modules that are coming, if all of them were named as slow; else none."""
        return list(self._coming) if self._slow.issuperset(self._coming) else []

    # What others ask.

    @property
    def idle(self) -> bool:
        """Is no module on its way in?"""
        return not self._coming

    def is_pending(self, module: str) -> bool:
        """Return whether the module is on its way in."""
        return module in self._coming

    def is_known(self, module: str) -> bool:
        """Is the module in the kernel, or asked for?"""
        return module in self.live or module in self._loads

    def has_inserted(self, module: str) -> bool:  # noqa: ARG002 - the loader's protocol
        """Return False: this daemon inserts none."""
        return False

    def unfinished(self) -> list[str]:
        """Return the modules that are on their way in."""
        return list(self._coming)

    def causes(self) -> list[Cause]:
        """Why each module that is or was wanted is."""
        return [cause for load in self._loads.values() for cause in load.causes]

    def outcomes(self) -> list[Outcome]:
        """Return what became of each module."""
        return [load.result.outcome for load in self._loads.values() if load.result is not None]

    def forget_failures(self, modules: Iterable[str]) -> None:
        """Do nothing: who loads decides what is tried again."""

    def is_job(self, descriptor: int) -> bool:  # noqa: ARG002 - the loader's protocol
        """Return False: there are no jobs."""
        return False

    def finish(self, pidfd: int) -> NoReturn:
        """Never called, as there are no jobs."""
        raise AssertionError(pidfd)

    def start_removal(self, module: str, command: str) -> Child:
        """Never called, as no policy counts here."""
        raise AssertionError(module, command)
