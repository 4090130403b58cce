"""The devices that are there now, as far as the walk and the uevents have told, and what each of them matched."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from modaliasd.core.device import Device


class Counts(NamedTuple):
    """How many devices there are; of them with a modalias, with a match, and bound to a driver."""

    devices: int
    with_modalias: int
    matched: int
    bound: int


class InventoryEntry:
    """A device and the modules that its modalias matched, built-in ones left out."""

    __slots__ = ("device", "modules")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.modules: tuple[str, ...] = ()


class Arrivals:
    """What has come, or has news, in that order; of what has gone nothing is kept. count: how often something had."""

    __slots__ = ("_last", "count")

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[str, int] = {}  # name -> its latest news' number, in their order

    def note(self, name: str) -> None:
        """Have something be the latest."""
        self._last.pop(name, None)
        self.count += 1
        self._last[name] = self.count

    def forget(self, name: str) -> None:
        """Have something be gone; nothing happens if it never came."""
        self._last.pop(name, None)

    def since(self, seen: int) -> list[str]:
        """Return what had news after the first `seen`, each name once."""
        return [name for name, number in self._last.items() if number > seen] if seen < self.count else []


class Inventory:
    """Devices by devpath."""

    def __init__(self) -> None:
        self._entries: dict[str, InventoryEntry] = {}

    def __iter__(self) -> Iterator[InventoryEntry]:
        return iter(self._entries.values())

    def clear(self) -> None:
        """Know no devices any more."""
        self._entries.clear()

    def find(self, devpath: str) -> InventoryEntry | None:
        """Return the device at devpath, None if there is none."""
        return self._entries.get(devpath)

    def see(self, device: Device) -> tuple[InventoryEntry, bool]:
        """Take the device as it is now.

        The entry, and whether its modalias is news that has to be matched.
        """
        entry = self._entries.get(device.devpath)
        if entry is None:
            entry = self._entries[device.devpath] = InventoryEntry(device)
            return entry, bool(device.modalias)
        news = device.modalias != entry.device.modalias
        entry.device = device
        return entry, news and bool(device.modalias)

    def bind(self, devpath: str, driver: str) -> None:
        """Note that a driver was bound to the device, or that none is any more ("")."""
        entry = self._entries.get(devpath)
        if entry is not None:
            entry.device = entry.device._replace(driver=driver)

    def remove(self, devpath: str) -> InventoryEntry | None:
        """Handle a device that has gone."""
        return self._entries.pop(devpath, None)

    def move(self, old: str, device: Device) -> None:
        """Move the device, and all below it, to another path."""
        below = old + "/"
        moved = [path for path in self._entries if path == old or path.startswith(below)]
        for path in moved:
            entry = self._entries.pop(path)
            entry.device = entry.device._replace(devpath=device.devpath + path[len(old) :])
            self._entries[entry.device.devpath] = entry

    def counts(self) -> Counts:
        """Return what stands there now, in numbers."""
        with_modalias = matched = bound = 0
        for entry in self._entries.values():
            with_modalias += bool(entry.device.modalias)
            matched += bool(entry.modules)
            bound += bool(entry.device.driver)
        return Counts(len(self._entries), with_modalias, matched, bound)
