"""What the parts of the service tell one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.device import Device, Phase
    from modaliasd.core.inventory import Arrivals, Inventory, InventoryEntry
    from modaliasd.core.kmod.modules_load import Listed
    from modaliasd.core.kmod.plan import Plan
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.load import Admission, Load, Needs


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
    def arrivals(self) -> Arrivals:
        """The names of block devices, and of devices that share directories."""

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
