"""What the process that looks for the root file system (modaliasd/rootfs) asks of the daemon; imported when it does.

- blocks SEEN settled: a block device, or a shared directory, more than the first SEEN; or that nothing is on its way
- blocks SEEN SECONDS: the same, or the time is over
- blocks SEEN ever: the same, whatever happens
- root-details TEXT...: a line of details each, for the next `root`; blanks and the like are %20
- root KEY=VALUE...: a line of the ledger; with then=leave, start nothing more, and end when what runs has ended
- need MODULE...: as `load`, before all others (serve.py)
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.loading.priority import Rank
from modaliasd.core.root.wire import unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.write import Json
    from modaliasd.service.ports.loading import StatusLoader
    from modaliasd.service.ports.outside import Clock, Flushable, Writer
    from modaliasd.service.ports.parts import AskedRegistry, Waited

LONGEST_S = 1e6
CONSIDERATION_US = 100_000  # a disk is read in less; who takes longer does so beside the loads
LEAVE = "then=leave"
FIELDS = ("outcome", "root", "device", "fstype", "init", "fsck", "reason", "message", "fix")


class Watcher(NamedTuple):
    """A client that waits for more than the first `seen`; deadline_us: 0 for none; settled: a settle is news, too."""

    client: int
    seen: int
    since_us: int
    deadline_us: int
    settled: bool


class RootRequests:
    """The requests, and those who wait. answer: sends a client its answer."""

    def __init__(
        self,
        *,
        registry: AskedRegistry,
        loader: StatusLoader,
        settlement: Waited,
        ledger: Flushable,
        writer: Writer,
        clock: Clock,
        answer: Callable[[int, dict[str, Json]], None],
    ) -> None:
        self._registry = registry
        self._loader = loader
        self._settlement = settlement
        self._ledger = ledger
        self._writer = writer
        self._clock = clock
        self._answer = answer
        self._watchers: list[Watcher] = []
        self._told_stuck: tuple[str, ...] = ()
        self._details: list[Json] = []
        self._considered_us = 0  # until then somebody looks at a device that has come
        self.leaving = False

    def blocks(self, client: int, arguments: list[str]) -> str | None:
        """Have the client wait."""
        seen, until = (*arguments, "", "")[:2]
        if not (seen.isascii() and seen.isdigit() and until):
            return "blocks: expected how many are known, and until when to wait"
        deadline = 0
        if until not in ("settled", "ever"):
            try:
                seconds = float(until)
            except ValueError:
                return f"blocks: invalid number of seconds: {until[:80]}"
            if not 0 < seconds < LONGEST_S:
                return f"blocks: invalid number of seconds: {until[:80]}"
            deadline = self._clock() + int(seconds * 1e6)
        self._considered_us = 0
        self._loader.hold(Rank.BUS)
        watcher = Watcher(client, int(seen), self._clock(), deadline, until == "settled")
        self._watchers.append(watcher)
        if watcher.settled:
            self._settlement.asked()
        return None

    def need(self) -> None:
        """Let nothing come between the root file system's own modules and its mount."""
        self._considered_us = 0
        self._loader.hold(Rank.FIRST)

    def considering(self) -> bool:
        """Tell whether somebody looks at a device just now: what is started may be in the way of the next step.

        A module's load waits for all probes that have been begun asynchronously (async_synchronize_full).
        """
        return self._considered_us > 0 and self._clock() < self._considered_us

    def root(self, client: int, arguments: list[str]) -> str | None:
        """Write what has become of the root file system."""
        fields: dict[str, Json] = {}
        leaving = False
        for word in arguments:
            key, equals, value = word.partition("=")
            if word == LEAVE:
                leaving = True
                continue
            if not equals or key not in FIELDS:
                return f"root: unknown field: {word[:80]}"
            if value:
                fields[key] = unquoted(value)
        if "outcome" not in fields:
            return "root: the outcome is missing"
        self.leaving = leaving
        if not leaving:  # else what still runs leaves the processor to the new system
            self._loader.hold(None)
        details, self._details = self._details, []
        self._writer.write("root", fields | ({"details": details} if details else {}))
        self._ledger.flush()
        self._answer(client, {"ok": True})
        return None

    def details(self, client: int, arguments: list[str]) -> None:
        """Take lines for the next `root`."""
        self._details += map(unquoted, arguments)
        self._answer(client, {"ok": True})

    def attend(self) -> None:
        """Answer those for whom something has come, or whose time is up, or for whom only slow loads are left."""
        if not self._watchers:
            return
        arrivals, now = self._registry.arrivals, self._clock()
        stuck = tuple(self._loader.stuck()) if any(one.settled for one in self._watchers) else ()
        news = bool(stuck) and stuck != self._told_stuck
        self._told_stuck = stuck or self._told_stuck
        for one in list(self._watchers):
            if names := arrivals.since(one.seen):
                self._considered_us = now + CONSIDERATION_US
                self._loader.hold(Rank.FIRST)
                self._tell(one, {"devices": [*names]})
            elif one.settled and news:
                self._tell(one, {"stuck": list(stuck)})
            elif 0 < one.deadline_us <= now:
                self._tell(one, {"late": True})

    def settled(self, as_of_us: int) -> None:
        """Tell those who wait that nothing is on its way; what came in this turn is told first, and no end then."""
        self.attend()
        for one in [one for one in self._watchers if one.settled and one.since_us <= as_of_us]:
            self._tell(one, {"settled": True})
        if any(one.settled for one in self._watchers):
            self._settlement.asked()

    def times_us(self) -> list[int]:
        """Return when the time of those who wait is up."""
        times = [one.deadline_us for one in self._watchers if one.deadline_us]
        return [*times, self._considered_us] if self.considering() else times

    def forget(self, client: int) -> None:
        """Forget a client that has gone."""
        self._watchers = [one for one in self._watchers if one.client != client]

    @property
    def waits(self) -> bool:
        """Does anybody wait for a settle?"""
        return any(one.settled for one in self._watchers)

    def _tell(self, watcher: Watcher, fields: dict[str, Json]) -> None:
        self._watchers.remove(watcher)
        self._ledger.flush()  # who is told reads the ledger
        answer: dict[str, Json] = {"ok": True, "seen": self._registry.arrivals.count, "devices": []}
        self._answer(watcher.client, answer | fields)
