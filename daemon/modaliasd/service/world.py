"""What one life of the daemon works on: the command line opens it, tests hand in what they like."""

from __future__ import annotations

from modaliasd.core.device import Phase
from modaliasd.core.errors import UsageError, WorldError
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.ledger.write import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.kmod.resolve import Resolver
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.policy.rules import Policy
    from modaliasd.linux.control import Control
    from modaliasd.linux.indexfile import AliasIndex
    from modaliasd.linux.ledger import Ledger
    from modaliasd.linux.netlink import UeventSocket
    from modaliasd.linux.process import Child
    from modaliasd.linux.sysfs import Sysfs
    from modaliasd.service.loader import Loader


def _nothing_to_freeze() -> str:
    return ""


class World(NamedTuple):
    """The outside, opened."""

    sysfs: Sysfs
    uevents: UeventSocket
    aliases: AliasIndex
    resolver: Resolver
    loader: Loader
    ledger: Ledger
    control: Control | None
    clock: Callable[[], int]  # microseconds of CLOCK_BOOTTIME
    on_settled: Callable[
        [int], Child | None
    ]  # called once, after the first settle, with `status`; what it started
    wanted: tuple[str, ...]  # modules to load by name before anything else
    start: dict[str, Json]  # fields of the `start` line
    policy: Policy | None = None  # None: there is no policy.toml
    phase: Phase = Phase.COLDPLUG  # as the daemon before left it
    on_freeze: Callable[[], str] = _nothing_to_freeze  # makes it last; what could not be done, "" if all
    no_modules: str = ""  # why there are none for this kernel; "" where there are

    @property
    def status(self) -> int:
        """What a boot ends with if nobody gives it another status: whose fault it is that nothing can be loaded."""
        if self.no_modules:
            return WorldError.exit_status
        return UsageError.exit_status if self.policy is not None and self.policy.mistakes else 0

    def write(self, kind: str, fields: dict[str, Json], t_us: int = -1) -> None:
        """Put a line into the ledger; t_us is when what it tells of was learnt, now if not given."""
        self.ledger.append(line(kind, self.clock() if t_us < 0 else t_us, fields))
