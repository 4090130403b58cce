"""What each part of the service knows of the loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.outcome import Outcome
    from modaliasd.core.loading.priority import Rank
    from modaliasd.linux.process import Child


# The loader, as far as each part knows it.


class WantingLoader(Protocol):
    """The registry's."""

    def want(self, plan: Plan, cause: Cause, modalias: str, *, first: bool = False) -> None:
        """Have done what the plan says."""

    def left(self, module: str) -> None:
        """Handle a module that has been removed."""

    def forget_failures(self, modules: Iterable[str]) -> None:
        """Allow loads that did not succeed to be tried again."""

    def is_known(self, module: str) -> bool:
        """Is the module in the kernel, or asked for?"""


class CheckingLoader(Protocol):
    """The walker's."""

    def recheck_live(self) -> None:
        """Ask the kernel again which modules it has."""


class EventLoader(Protocol):
    """The intake's."""

    def appeared(self, module: str, at_us: int) -> bool:
        """Return whether somebody else inserts the module that is being inserted."""

    def is_pending(self, module: str) -> bool:
        """Return whether the module is wanted, and its load not at its end."""


class RemovingLoader(Protocol):
    """The unloader's."""

    def start_removal(self, module: str, command: str) -> Child:
        """Have a module removed."""

    def has_inserted(self, module: str) -> bool:
        """Did this daemon insert it?"""


class ReportingLoader(Protocol):
    """The settle report's."""

    def outcomes(self) -> list[Outcome]:
        """Return how each load that has ended did so."""


class StatusLoader(Protocol):
    """The clients'."""

    def unfinished(self) -> list[str]:
        """Return the modules that are wanted and whose loads have not ended."""

    def is_pending(self, module: str) -> bool:
        """Is the module wanted, and its load not at its end?"""

    def stuck(self) -> list[str]:
        """Return the modules that everything waits for, if nothing runs but jobs that were named as slow; else none."""

    def hold(self, worst: Rank | None) -> None:
        """Have loads of later ranks wait."""


class LoopLoader(Protocol):
    """The loop's."""

    @property
    def running(self) -> int:
        """How many jobs run."""

    @property
    def idle(self) -> bool:
        """Nothing queued, nothing running."""

    def start_jobs(self, *, coldplug: bool = False) -> list[int]:
        """Start what may run now; the new pidfds."""

    def write_ended(self) -> bool:
        """Put the loads that ended into the ledger; were there any?"""

    def report_slow(self) -> int:
        """Name slow jobs; milliseconds until the next could be one, -1 for none."""

    def stuck(self) -> list[str]:
        """Return the modules that everything waits for, if nothing runs but jobs that were named as slow.

        Else none.
        """

    def causes(self) -> list[Cause]:
        """Why each module that is or was wanted is."""

    def is_job(self, descriptor: int) -> bool:
        """Return whether it is a job's pidfd."""

    def finish(self, pidfd: int) -> None:
        """Handle the end of a job."""

    def outcomes(self) -> list[Outcome]:
        """Return how each load that has ended did so."""


class AnyLoader(
    WantingLoader,
    CheckingLoader,
    EventLoader,
    RemovingLoader,
    ReportingLoader,
    StatusLoader,
    LoopLoader,
    Protocol,
):
    """All of it, for who puts the service together."""
