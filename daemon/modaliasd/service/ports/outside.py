"""What the service asks of the outside, a protocol for each part: the ledger, /sys, uevents, tables, clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modaliasd.core.device import Device
    from modaliasd.core.errors import Problem
    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.ledger.write import Json
    from modaliasd.linux.netlink import Datagram, Oddity
    from modaliasd.linux.process import Child

    Clock = Callable[[], int]  # microseconds of CLOCK_BOOTTIME
    Hook = Callable[
        [int], Child | None
    ]  # called after the first settle, with a status; the process that it started


# The ledger.


class LineSink(Protocol):
    """Takes the ledger's lines."""

    def append(self, text: str) -> None:
        """Take a whole line."""

    def say(self, short: str, priority: int = 6) -> None:
        """Take a short line for the kernel's log, of this priority."""


class Flushable(Protocol):
    """What the loop does with the ledger besides."""

    problem: str

    @property
    def torn_bytes(self) -> int:
        """What was cut off behind the last newline at the start."""

    @property
    def failed_writes(self) -> int:
        """How often something could not be written."""

    def take_mishaps(self) -> list[str]:
        """Return what has befallen the ledger since this was last asked."""

    def is_due(self, now_us: int) -> bool:
        """Is it time to flush, although there is something else to do?"""

    def trim(self, now_us: int) -> None:
        """Keep it within its limit."""

    def flush(self) -> None:
        """Write what was taken."""

    def drain(self) -> None:
        """Write and send everything, waiting for the channel."""

    def end(self) -> None:
        """Have the host get everything, and nothing after it."""

    def channel_fileno(self) -> int:
        """Return the channel's descriptor while there is something to send on it; else -1."""


class Writer(Protocol):
    """Writes lines with their times."""

    def write(self, kind: str, fields: dict[str, Json], t_us: int = -1) -> None:
        """Write a line of this kind; t_us is when what it tells of was learnt, -1 for now."""

    def append(self, text: str) -> None:
        """Write a line that has been made already."""

    def say(self, text: str, priority: int = 6) -> None:
        """Write a short line to the kernel's log, of this priority."""


# /sys, as far as each part looks at it.


class NumberedSysfs(Protocol):
    """The loop's."""

    def uevent_seqnum(self) -> int:
        """Return the number of the last uevent that the kernel made."""


class WalkableSysfs(Protocol):
    """The walker's."""

    def walk(self) -> Iterator[list[Device]]:
        """Yield every device, in strides."""

    def driver_module(self, devpath: str) -> str:
        """Return the module of the driver bound to the device, or ""."""


class EventSysfs(NumberedSysfs, Protocol):
    """The intake's."""

    def exists(self, devpath: str) -> bool:
        """Return whether the device is there."""

    def driver(self, devpath: str) -> str:
        """Return the driver bound to the device, or ""."""

    def driver_module(self, devpath: str) -> str:
        """Return the module of the driver bound to the device, or ""."""


class LiveSysfs(Protocol):
    """The loader's and the unloader's."""

    def is_live(self, module: str) -> bool:
        """Return whether the module has been inserted and initialised."""


class DeviceSysfs(LiveSysfs, Protocol):
    """The registry's."""

    def exists(self, devpath: str) -> bool:
        """Return whether the device is there."""


class PolicySysfs(Protocol):
    """The gate's."""

    def removable(self, devpath: str) -> str:
        """Return the `removable` attribute of the device or of its nearest ancestor that has one, or ""."""


class DriverSysfs(Protocol):
    """The settle report's."""

    def driver(self, devpath: str) -> str:
        """Return the driver bound to the device, or ""."""

    def drivers_of(self, module: str) -> list[tuple[str, str]]:
        """(bus, driver) of every driver that the live module has registered."""

    def deferred(self) -> list[tuple[str, str]]:
        """(device, reason) of the probes that wait for a supplier."""


class AnySysfs(WalkableSysfs, EventSysfs, DeviceSysfs, PolicySysfs, DriverSysfs, Protocol):
    """All of it, for who puts the service together."""


# The rest of the outside.


class UeventSource(Protocol):
    """The uevent socket."""

    def fileno(self) -> int:
        """Return the descriptor, for poll."""

    def receive(self) -> Datagram | Oddity:
        """One datagram, or why there is none."""

    def drops(self) -> int:
        """How many datagrams the kernel has dropped for want of room."""

    def has_listeners(self) -> bool:
        """Return whether anybody listens to what user space sends on."""

    def send(self, message: bytes) -> bool:
        """Send a message on; False if it did not go out."""


class Told(Protocol):
    """Whoever started the daemon, and wants to know how it does."""

    def catch_end(self) -> None:
        """Have the request to end make `fileno()` readable."""

    def fileno(self) -> int:
        """Return a descriptor that is readable once the daemon is to end."""

    def ready(self, status: str) -> None:
        """Say that the daemon serves."""

    def status(self, text: str) -> None:
        """Say in a line what it does now."""

    def stopping(self) -> None:
        """Say that it is about to end."""


class AliasTable(Protocol):
    """The alias index, as far as the ledger tells of it and it can be damaged."""

    generation: int
    message: str

    @property
    def warnings(self) -> Sequence[Problem]:
        """Lines of modules.alias that are not in it."""

    def check(self) -> bool:
        """Sum the whole index up: is it good?"""


class Lookup(Protocol):
    """The resolver, as the registry asks it."""

    def resolve(self, lookup: str) -> Plan:
        """Return the plan for a modalias or a name."""


class RemoveCommands(Protocol):
    """The resolver, as the unloader asks it."""

    def remove_command(self, module: str) -> str:
        """Return the command of the module's `remove` line, or ""."""


class Brings(Protocol):
    """The resolver, as the gate asks it."""

    def brings(self, module: str, *, softdeps: bool = False) -> frozenset[str]:
        """Return all that modprobe inserts along with the module."""


class AnyResolver(Lookup, RemoveCommands, Protocol):
    """All of it, for who puts the service together."""


class MessageLog(Protocol):
    """The kernel's log, as far as the loader knows it."""

    def lines(self) -> list[str]:
        """Return the texts of the records since the start, the newest last."""


class FirmwareLog(MessageLog, Protocol):
    """The kernel's log."""

    def take_missing_firmware(self) -> list[tuple[str, str]]:
        """(file, who asked) of the firmware that was not found since the last call."""


class ClientListener(Protocol):
    """The control socket."""

    problem: str

    @property
    def adopted(self) -> list[int]:
        """Return the descriptors of clients that were there from the start."""

    def listen(self) -> bool:
        """Make the socket if there is none yet; can clients connect?"""

    def fileno(self) -> int:
        """Return the listening descriptor; -1 while there is none."""

    def accept(self) -> tuple[list[int], list[int]]:
        """Take waiting connections: fresh descriptors, and those closed to make room."""

    def request(self, descriptor: int) -> list[str] | None:
        """Return the words of a client's request once it is whole."""

    def answer(self, descriptor: int, line: str) -> None:
        """Answer a client."""

    def wants_to_send(self, descriptor: int) -> bool:
        """Return whether a part of the answer is still to be sent."""

    def send(self, descriptor: int) -> None:
        """Go on sending."""

    def is_open(self, descriptor: int) -> bool:
        """Return whether it is a client's."""
