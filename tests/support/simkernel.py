"""A kernel in simulated time: devices come and go, uevents are numbered and sent, or are not; the daemon runs on it.

A sequence number can be given to an event that comes at once, that comes late, that finds no room in the socket (which
is told by ENOBUFS, once, and counted), that nobody ever hears of, or that is another network namespace's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modaliasd.core.device import Device
from modaliasd.linux.netlink import Datagram, Oddity
from tests.support.fakeworld import FakeLedger, Fakes, FakeSysfs, FakeUevents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURN_US = 50  # what one turn of the loop takes
STRIDES = 8  # a walk's


class SimUevents(FakeUevents):
    """The socket, which holds `room` datagrams.

    net/netlink/af_netlink.c: netlink_broadcast_deliver, netlink_overrun, netlink_rcv_wake.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.between_reads: dict[int, Callable[[], None]] = {}  # what happens before so many reads from now
        self._congested = False
        self._error = False

    @property
    def readable(self) -> bool:
        """Would poll say so?"""
        return bool(self.script) or self._error

    def deliver(self, datagram: Datagram) -> None:
        """The kernel sends; without room it drops, until all has been read."""
        if not self._congested and len(self.script) < self.room:
            self.script.append(datagram)
            return
        self.dropped += 1
        self._error = self._error or not self._congested
        self._congested = True

    def receive(self) -> Datagram | Oddity:
        """An error comes before what was there."""
        self.between_reads = {left - 1: happens for left, happens in self.between_reads.items()}
        self.between_reads.pop(0, lambda: None)()
        if self._error:
            self._error = False
            return Oddity.OVERRUN
        got = self.script.popleft() if self.script else Oddity.EMPTY
        if not self.script:
            self._congested = False
        return got


class SimSysfs(FakeSysfs):
    """/sys, whose walk takes `walk_us`."""

    def __init__(self, kernel: SimKernel, walk_us: int) -> None:
        super().__init__()
        self._kernel = kernel
        self.walk_us = walk_us
        self.walks = 0

    def uevent_seqnum(self) -> int:
        """The kernel's."""
        return self._kernel.number

    def walk(self) -> Iterator[list[Device]]:
        """Each stride sees a part of what is there when its turn comes."""
        self.walks += 1
        seen: set[str] = set()
        for stride in range(STRIDES):
            self._kernel.pass_time(self.walk_us // STRIDES)
            part = [
                d
                for d in self.devices
                if sum(d.devpath.encode()) % STRIDES == stride and d.devpath not in seen
            ]
            seen.update(device.devpath for device in part)
            yield part


class SimLedger(FakeLedger):
    """Has the kernel check what the daemon says when it says that it has settled."""

    def __init__(self, kernel: SimKernel) -> None:
        super().__init__()
        self._kernel = kernel

    def append(self, text: str) -> None:
        """Keep the line."""
        super().append(text)
        if text.startswith('{"type":"settled"'):
            self._kernel.settles += 1
            self._kernel.check()


class SimKernel:
    """See the module's docstring. `number` is the last uevent's; `settles` counts what the ledger tells of."""

    def __init__(self, *, room: int = 64, walk_us: int = 20_000) -> None:
        self.now_us = 0
        self.number = 0
        self.settles = 0
        self.uevents = SimUevents(room)
        self.sysfs = SimSysfs(self, walk_us)
        self._under_way: list[tuple[int, Datagram]] = []  # (when it comes, what)
        self._told: dict[
            str, tuple[int, bool]
        ] = {}  # devpath -> the last number about it, and whether it comes
        self._eating = (0, 0, 0)  # every so many microseconds, so many numbers, the next time
        fakes = Fakes(
            uevents=self.uevents, sysfs=self.sysfs, ledger=SimLedger(self), clock=lambda: self.now_us
        )
        self.service = fakes.service()
        self.records = fakes.records
        self.inventory = self.service._registry.devices
        self.doubt = self.service._intake.doubt

    def pass_time(self, us: int) -> None:
        """What happens in that time, happens."""
        self.now_us += us
        every, count, when = self._eating
        if every and when <= self.now_us:
            meals = (self.now_us - when) // every + 1
            self.number += count * meals
            self._eating = (every, count, when + every * meals)
        for one in sorted(one for one in self._under_way if one[0] <= self.now_us):
            self._under_way.remove(one)
            self.uevents.deliver(one[1])

    def eat(self, count: int) -> None:
        """Another namespace's events take numbers."""
        self.number += count

    def keep_eating(self, every_us: int, count: int) -> None:
        """Go on doing that; 0: stop."""
        self._eating = (every_us, count, self.now_us)

    def plug(self, name: str, *, late_us: int = 0, comes: bool = True) -> None:
        """A device is there. comes: is its event sent at all? late_us: so long after it has got its number."""
        device = Device(f"/devices/{name}", "pci", f"pci:{name}")
        if not self.sysfs.exists(device.devpath):
            self.sysfs.devices.append(device)
            self._tell(device.devpath, "add", late_us, comes)

    def unplug(self, name: str, *, late_us: int = 0, comes: bool = True) -> None:
        """It goes."""
        devpath = f"/devices/{name}"
        if self.sysfs.exists(devpath):
            self.sysfs.devices = [device for device in self.sysfs.devices if device.devpath != devpath]
            self._tell(devpath, "remove", late_us, comes)

    def _tell(self, devpath: str, action: str, late_us: int, comes: bool) -> None:
        self.number += 1
        self._told[devpath] = (self.number, comes)
        name = devpath.rpartition("/")[2]
        pairs = (f"ACTION={action}", f"DEVPATH={devpath}", "SUBSYSTEM=pci", f"MODALIAS=pci:{name}")
        lines = (f"{action}@{devpath}", *pairs, f"SEQNUM={self.number}")
        datagram = Datagram("\0".join(lines).encode() + b"\0")
        if comes and late_us:
            self._under_way.append((self.now_us + late_us, datagram))
        elif comes:
            self.uevents.deliver(datagram)

    def run(self, us: int) -> None:
        """The daemon runs for so long."""
        end = self.now_us + us
        while self.now_us < end:
            self.service._turn()
            self.pass_time(TURN_US)
            timeout_ms = self.service._timeout()
            left = end - self.now_us if timeout_ms < 0 else min(timeout_ms * 1000, end - self.now_us)
            self._sleep(left)
            if self.uevents.readable:
                self.service._serve(self.uevents.fileno())

    def _sleep(self, us: int) -> None:
        """Until the time is up or the socket holds something."""
        end = self.now_us + us
        while self.now_us < end and not self.uevents.readable:
            comes = [when for when, _ in self._under_way]
            self.pass_time(max(0, min([end, *comes]) - self.now_us))

    def settle(self, limit_us: int) -> int:
        """Somebody asks and waits; how long that took. Raises AssertionError if it is longer than the limit."""
        since, settles = self.now_us, self.settles
        self.service._settlement.asked()
        while self.settles == settles or self.service._settlement.as_of_us < since:
            if self.settles != settles:
                settles = self.settles
                self.service._settlement.asked()
            assert self.now_us - since <= limit_us, "it does not settle"
            self.run(TURN_US + 1)
        return self.now_us - since

    def unknown(self, number: int | None = None, *, uncounted: bool = True) -> set[str]:
        """Devices of which the daemon does not know what is so.

        number: up to which event. uncounted: those, too, whose events nobody could know of.
        """
        known = {entry.device.devpath for entry in self.inventory}
        there = {device.devpath for device in self.sysfs.devices}
        wrong = known ^ there
        under_way = {datagram.payload.split(b"\0")[2].decode()[8:] for _, datagram in self._under_way}
        return {
            path
            for path in wrong
            if (number is None or self._told[path][0] <= number)
            and (uncounted or (self._told[path][1] and path not in under_way))
        }

    def check(self) -> None:
        """The daemon says that it has settled: whatever came, or was dropped and counted, is known."""
        assert not self.unknown(self.service._settlement.target, uncounted=False)
