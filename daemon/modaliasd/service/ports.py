"""What each part of the service asks of the others and of the outside: narrow protocols, for the type checker only.

Nothing imports this module at run time. A part names the protocols in its constructor's keywords; boot.py hands the
real things in, tests/support/fakeworld.py stand-ins, and mypy holds both against what stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from modaliasd.core.device import Device, Phase
    from modaliasd.core.errors import Problem
    from modaliasd.core.inventory import Inventory, InventoryEntry
    from modaliasd.core.kmod.modules_load import Listed
    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.load import Admission, Load, Needs
    from modaliasd.core.loading.outcome import Outcome
    from modaliasd.core.loading.priority import Rank
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


class Flushable(LineSink, Protocol):
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
    """The unloader's."""

    def is_live(self, module: str) -> bool:
        """Return whether the module has been inserted and initialised."""


class DeviceSysfs(LiveSysfs, Protocol):
    """The registry's."""

    def exists(self, devpath: str) -> bool:
        """Return whether the device is there."""


class LoadSysfs(LiveSysfs, Protocol):
    """The loader's."""

    def deferred(self) -> list[tuple[str, str]]:
        """(device, reason) of the probes that wait for a supplier."""


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


class AnySysfs(WalkableSysfs, EventSysfs, DeviceSysfs, LoadSysfs, PolicySysfs, DriverSysfs, Protocol):
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
    """The kernel's log."""

    def lines(self) -> list[str]:
        """Return the texts of the records since the start, the newest last."""

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

    def report_waiting(self) -> None:
        """Write down what keeps drivers from their devices."""


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


# What the parts tell one another.


class Listener(Protocol):
    """Hears of what a settle is worth being told for."""

    def happened(self) -> None:
        """Something did."""


class Waited(Protocol):
    """The settlement, as the clients know it."""

    @property
    def settled(self) -> bool:
        """Has nothing happened since all was dealt with?"""

    def asked(self) -> None:
        """Somebody waits for the next settle."""

    def unasked(self) -> None:
        """Nobody waits any more."""


class WalkRequests(Protocol):
    """The walker, as the intake and the clients know it."""

    @property
    def walking(self) -> bool:
        """Is a walk under way?"""

    def request(self, reason: str, *, in_background: bool = False) -> None:
        """Begin a walk that sees everything that is there from now on."""


class DoorGate(Protocol):
    """The gate, as the registry knows it."""

    @property
    def phase(self) -> Phase:
        """Where the boot is."""

    def unloads(self, subsystem: str) -> bool:
        """Return whether modules go with the last device of this subsystem."""

    def judge(self, plan: Plan, device: Device, t_us: int = -1) -> Plan:
        """Return what the policy leaves of the plan."""

    def may_load(self, plan: Plan) -> bool:
        """Return whether the kernel may have what it asks for."""


class LastGate(Protocol):
    """The gate, as the loader knows it."""

    def court(
        self, load_of: Callable[[str], Load | None], needs_of: Callable[[str], Needs | None]
    ) -> Callable[[Load], Admission | None]:
        """Return who is to be asked about each load just before its process is started."""


class FreezingGate(Protocol):
    """The gate, as the clients know it."""

    def freeze(self) -> None:
        """From now on only what the policy names is loaded for new devices."""


class WalkedRegistry(Protocol):
    """The registry, as the walker knows it."""

    @property
    def found(self) -> int:
        """How often walks met, or missed, what events had not told of."""

    def see(self, device: Device, action: str, extra: dict[str, Json], t_us: int = -1) -> InventoryEntry:
        """Handle a device that is there."""

    def forget_gone(self, seen: set[str], walk: int) -> None:
        """End a walk that met these devpaths."""


class EventRegistry(Protocol):
    """The registry, as the intake knows it."""

    @property
    def devices(self) -> Inventory:
        """The devices that are there."""

    def see(self, device: Device, action: str, extra: dict[str, Json], t_us: int = -1) -> InventoryEntry:
        """Handle a device that is there."""

    def bind(self, device: Device, action: str, driver: str, extra: dict[str, Json], t_us: int) -> None:
        """Handle a driver that has taken the device or left it."""

    def remove(self, device: Device, extra: dict[str, Json], t_us: int = -1) -> None:
        """Handle a device that has gone."""

    def module_left(self, module: str) -> None:
        """Handle a module that was removed."""


class AskedRegistry(Protocol):
    """The registry, as the clients know it."""

    @property
    def arrived(self) -> list[str]:
        """Return the names of block devices, and of devices that share directories, in the order of their news."""

    @property
    def devices(self) -> Inventory:
        """The devices that are there."""

    def find(self, what: str) -> str:
        """Return the devpath (or module) that is meant, once it is there; "" until then."""

    def want_by_name(self, name: str, who: str, *, first: bool = False) -> tuple[str, ...]:
        """Load what the name stands for; the modules that go in."""

    def may_load(self, word: str) -> bool:
        """Return whether the kernel may have what it asks for by this word."""


class ListedRegistry(Protocol):
    """The registry, as the chores know it."""

    def want_listed(self, entry: Listed) -> list[str]:
        """Load what a file names; gives what is wrong with that."""


class CountingIntake(Protocol):
    """The intake, as the clients know it."""

    @property
    def unsent(self) -> int:
        """How many uevents could not be sent on."""

    @property
    def busiest_turn(self) -> int:
        """How many uevents at most were handled while clients had to wait."""

    def counts(self) -> dict[str, Json]:
        """Return the last uevent's number, and how many were lost, recovered and dropped."""


class Orphans(Protocol):
    """The registry, as the unloader knows it."""

    def take_orphans(self) -> dict[str, str]:
        """Modules whose last device may have gone -> that device; each once."""

    def has_orphans(self) -> bool:
        """Return whether there are any."""

    def is_wanted(self, module: str) -> bool:
        """Return whether a device asks for the module."""

    def module_left(self, module: str) -> None:
        """Handle a module that was removed."""

    def want_again(self, module: str) -> None:
        """Devices that ask for the module have it loaded again."""
