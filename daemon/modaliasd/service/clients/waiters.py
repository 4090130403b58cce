"""The clients that wait: for a settle, for loads to end, for a device to be there."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.write import Json
    from modaliasd.service.ports.loading import StatusLoader
    from modaliasd.service.ports.outside import Clock, Flushable
    from modaliasd.service.ports.parts import AskedRegistry, Waited


class ForSettle(NamedTuple):
    """A client that has waited since `since_us` for a settle, until `deadline_us` (0: for ever)."""

    client: int
    since_us: int
    deadline_us: int


class ForLoads(NamedTuple):
    """A client that waits for the loads of these modules to end."""

    client: int
    modules: tuple[str, ...]


class ForDevice(NamedTuple):
    """A client that waits for `what` to be there (see Registry.find), until `deadline_us` (0: for ever)."""

    client: int
    deadline_us: int
    what: str


class Waiters:
    """Those who wait, each for one thing.

    answer: sends a client its answer. busy: what the daemon is at, for those whose time is up. on_none: called when the
    last that waited for a settle has gone without one.
    """

    def __init__(
        self,
        *,
        registry: AskedRegistry,
        loader: StatusLoader,
        settlement: Waited,
        ledger: Flushable,
        clock: Clock,
        answer: Callable[[int, dict[str, Json]], None],
        busy: Callable[[], dict[str, Json]],
        on_none: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._loader = loader
        self._settlement = settlement
        self._ledger = ledger
        self._clock = clock
        self._answer = answer
        self._busy = busy
        self._on_none = on_none
        self._for_settle: list[ForSettle] = []
        self._for_loads: list[ForLoads] = []
        self._for_device: list[ForDevice] = []

    def add_for_settle(self, client: int, deadline_us: int) -> None:
        """Have the client wait for the next settle, which is not one that has been."""
        self._for_settle.append(ForSettle(client, self._clock(), deadline_us))
        self._settlement.asked()

    def add_for_loads(self, client: int, modules: tuple[str, ...]) -> None:
        """Have the client wait for the loads of these modules to end."""
        self._for_loads.append(ForLoads(client, modules))

    def add_for_device(self, client: int, deadline_us: int, what: str) -> None:
        """Have the client wait for `what` to be there."""
        self._for_device.append(ForDevice(client, deadline_us, what))

    def settled(self, fields: dict[str, Json], as_of_us: int) -> None:
        """Answer those who have waited since `as_of_us` or longer: all that had happened by then is dealt with."""
        waiting, self._for_settle = self._for_settle, []
        for one in waiting:
            if one.since_us <= as_of_us:
                self._answer(one.client, {"ok": True} | fields)
            else:
                self._for_settle.append(one)
        if self._for_settle:
            self._settlement.asked()

    def attend(self) -> None:
        """Answer those for whom the device has come, or whose loads have ended, or whose time is up."""
        self._attend_loads()
        for waiting in list(self._for_device):
            found = self._registry.find(waiting.what)
            if found:
                self._for_device.remove(waiting)
                self._answer(waiting.client, {"ok": True, "found": found})
        now = self._clock()
        for late in [one for one in self._for_device if 0 < one.deadline_us <= now]:
            self._for_device.remove(late)
            error = f"{late.what} did not appear in time"
            self._answer(late.client, self._busy() | {"ok": False, "error": error})
        for unsettled in [one for one in self._for_settle if 0 < one.deadline_us <= now]:
            self._leave(unsettled)
            self._answer(unsettled.client, self._busy() | {"ok": False, "error": "not settled in time"})

    def _attend_loads(self) -> None:
        pending = self._loader.is_pending
        ended = [one for one in self._for_loads if not any(map(pending, one.modules))]
        if not ended:
            return
        self._ledger.flush()  # who has the answer finds the loads' lines
        self._for_loads = [one for one in self._for_loads if one not in ended]
        for one in ended:
            self._answer(one.client, {"ok": True})

    def deadlines_us(self) -> list[int]:
        """Return when the time of those who wait is up."""
        waiting: list[ForSettle | ForDevice] = [*self._for_settle, *self._for_device]
        return [one.deadline_us for one in waiting if one.deadline_us]

    def forget(self, client: int) -> None:
        """Forget a client that has gone."""
        for waiting in [one for one in self._for_settle if one.client == client]:
            self._leave(waiting)
        self._for_device = [one for one in self._for_device if one.client != client]
        self._for_loads = [one for one in self._for_loads if one.client != client]

    def _leave(self, waiting: ForSettle) -> None:
        """Somebody waits no more, and has not been told of a settle."""
        self._for_settle.remove(waiting)
        if not self._for_settle:
            self._on_none()
