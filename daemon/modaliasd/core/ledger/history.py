"""The ledger read back: records in, the history of the boot out. Shared by the guest and the host.

    history = history_of(records)                     # records: the ledger's lines as dictionaries, in their order
    history.devices["/devices/pci0000:00/…"]    # -> DeviceHistory: last known state, matches, bindings, parent
    history.loads                               # -> LoadHistory: why, what it needed, what became of it, when
    history.load_of("virtio_blk")               # -> the module's last load, or None
    render_tree(history, color=True)            # -> the tree as text (core/ledger/text_tree.py)
    why_module(history, "virtio_blk")           # -> why and why-not as values (core/ledger/answers/explain.py)

Times are microseconds of CLOCK_BOOTTIME, as in the ledger; UNKNOWN (-1) where the ledger does not tell.
docs/ledger.md describes the records. Whatever a record lacks or has too much is passed over: a ledger of
another version tells what it can.
"""

from __future__ import annotations

from modaliasd.core.kmod.plan import match_of
from modaliasd.core.ledger.history_loads import loads_of
from modaliasd.core.ledger.history_values import (
    SUCCESSFUL,
    UNKNOWN,
    Appearance,
    DeviceHistory,
    LoadHistory,
    Settle,
)
from modaliasd.core.loading.cause import cause_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from modaliasd.core.kmod.plan import Match

    Fields = Mapping[str, Any]

_BESIDE = ("bsg", "hidraw")  # second nodes of devices that have a better one

__all__ = [
    "SUCCESSFUL",
    "UNKNOWN",
    "Appearance",
    "DeviceHistory",
    "History",
    "LoadHistory",
    "Settle",
    "history_of",
]


OBSERVE = "observe"  # the `mode` of a daemon that loads nothing
LIVE = "live"  # the `mode` of a history that comes from no ledger
NO_NUMBERS: dict[str, Any] = {}  # shared by all settles but the first and the last


class History:
    """Everything that a ledger tells, in the order of the ledger. Made by `history_of`."""

    def __init__(self) -> None:
        self.start: Fields = {}  # the first `start` line
        self.boot: Fields = {}  # the `boot` line: what the kernel did before the daemon
        self.lives = 0  # how many times the daemon has started
        self.devices: dict[
            str, DeviceHistory
        ] = {}  # those that went are kept; a new one in their place is new
        self.loads: list[LoadHistory] = []
        self.appearances: list[Appearance] = []
        self.settles: list[Settle] = []
        self.walks: list[Fields] = []  # `walk` and `walked` lines
        self.losses: list[Fields] = []  # `lost` and `dropped` lines
        self.warnings: list[Fields] = []
        self.slow: list[Fields] = []
        self.trimmed: Fields = {}  # the last `trimmed` line: what the ledger has no room for any more
        self.exit_status = UNKNOWN
        self.last_us = UNKNOWN
        self._by_module: dict[str, LoadHistory] = {}
        self._seen: dict[str, Appearance] = {}
        self._askers: dict[str, list[tuple[DeviceHistory, Match]]] = {}
        self._driven: dict[str, list[DeviceHistory]] = {}
        self._users: dict[str, list[str]] = {}

    @property
    def watched(self) -> bool:
        """Is it of a machine whose modules somebody else loads: a daemon that observes, or a look without one?"""
        return self.start.get("mode") in {LIVE, OBSERVE}

    @property
    def timeless(self) -> bool:
        """Is it a look at how things are now (commands/machine.py), which knows no times?"""
        return self.start.get("mode") == LIVE

    @property
    def started_us(self) -> int:
        """When the daemon first started; 0 if the ledger lacks its beginning."""
        return int(self.start.get("t_us", 0))

    @property
    def settled_us(self) -> int:
        """When the boot was settled for the first time."""
        return self.settles[0].t_us if self.settles else UNKNOWN

    def load_of(self, module: str) -> LoadHistory | None:
        """Return the module's last load; None if there was none. `-` and `_` are the same in a module's name."""
        return self._by_module.get(module.replace("-", "_"))

    def appearance_of(self, module: str) -> Appearance | None:
        """Return the last that was heard of a module that came by itself; None if nothing was."""
        return self._seen.get(module.replace("-", "_"))

    def askers(self, module: str) -> Iterator[tuple[DeviceHistory, Match]]:
        """Yield every device whose modalias matched the module, with the alias."""
        yield from self._askers.get(module.replace("-", "_"), ())

    def driven_by(self, module: str) -> list[DeviceHistory]:
        """Return the devices that the module's drivers drive."""
        return list(self._driven.get(module.replace("-", "_"), ()))

    def users_of(self, module: str) -> list[str]:
        """Return the modules in the kernel whose load tells that they need this one, each load once."""
        return list(self._users.get(module.replace("-", "_"), ()))

    def matters(self, device: DeviceHistory) -> bool:
        """Return whether it has something to tell: a match, a module's driver, or a node that came with a module."""
        if any(not match.builtin for match in device.matches) or device.idle_drivers or device.former:
            return True
        if device.driver and device.module:
            return True
        if device.subsystem in _BESIDE or not device.node:
            return False
        return self._grows_from_module(device)

    def _grows_from_module(self, device: DeviceHistory) -> bool:
        """Return whether it is there because a module drives the device above it."""
        above = self.devices.get(device.parent)
        while above is not None:
            if above.driver:
                return bool(above.module)
            above = self.devices.get(above.parent)
        return False

    def roots(self) -> list[DeviceHistory]:
        """Return the devices without a known ancestor, by devpath."""
        return [self.devices[path] for path in sorted(self.devices) if not self.devices[path].parent]


def history_of(records: Iterable[Fields]) -> History:
    """Make the history of a ledger's records.

    It ends with the `exit` line: a guest that switches itself off has its drivers let go of their devices.
    """
    history = History()
    loads: list[Fields] = []
    for record in records:
        t_us = record.get("t_us", UNKNOWN)
        history.last_us = max(history.last_us, t_us)
        kind = record.get("type")
        if kind == "device":
            _hear_device(history, record, t_us)
        elif kind == "load":
            loads.append(record)
        elif kind == "unbound":
            device = history.devices.get(record.get("devpath", ""))
            if device is not None:
                device.idle_drivers = tuple(record.get("drivers", ()))
        elif kind == "exit":
            history.exit_status = record.get("status", UNKNOWN)
            break
        else:
            _hear_other(history, kind, record, t_us)
    history.loads = loads_of(loads)
    history._by_module = _by_module(history)
    history._seen = {one.module.replace("-", "_"): one for one in history.appearances}
    _index(history)
    _adopt(history.devices)
    return history


def _index(history: History) -> None:
    """Fill what is looked up by module."""
    for load in history.loads:
        for need in load.deps if load.succeeded else ():
            history._users.setdefault(need.replace("-", "_"), []).append(load.module)
    for device in history.devices.values():
        if device.driver and not device.module and device.bound_us >= 0:
            device.module = _guess_module(history, device)
        if device.module:
            history._driven.setdefault(device.module, []).append(device)
        for match in device.matches:
            history._askers.setdefault(match.module.replace("-", "_"), []).append((device, match))


def _guess_module(history: History, device: DeviceHistory) -> str:
    """Return the module of a driver whose `bind` line names none; "" if it seems to be part of the kernel.

    The kernel links a driver to its module only after the driver has taken its first devices (module_add_driver,
    drivers/base/module.c), and some never (acpi, hdaudio). Then it is the module that is called like the driver, or
    the one among the device's matches that was wanted by then, if there is but one.
    """
    called = device.driver.replace("-", "_")
    load = history.load_of(called)
    if (load is not None and load.succeeded) or history.appearance_of(called) is not None:
        return called
    wanted = {
        match.module
        for match in device.matches
        if (load := history.load_of(match.module)) and load.succeeded and load.queued_us <= device.bound_us
    }
    return wanted.pop().replace("-", "_") if len(wanted) == 1 else ""


def _hear_other(history: History, kind: object, record: Fields, t_us: int) -> None:
    if kind == "start":
        history.start = history.start or record
        history.lives += 1
    elif kind == "module":
        came = record.get("action") != "remove"
        causes = tuple(cause_of(fields) for fields in record.get("causes", ()))
        history.appearances.append(Appearance(record.get("module", ""), t_us, came, causes))
    elif kind == "settled":
        if len(history.settles) > 1:  # a long life has very many
            history.settles[-1] = history.settles[-1]._replace(fields=NO_NUMBERS)
        history.settles.append(Settle(t_us, {k: v for k, v in record.items() if k not in {"type", "t_us"}}))
    elif kind in {"walk", "walked"}:
        history.walks.append(record)
    elif kind in {"lost", "dropped"}:
        history.losses.append(record)
    elif kind == "warning":
        history.warnings.append(record)
    elif kind == "slow":
        history.slow.append(record)
    elif kind == "boot":
        history.boot = record
    elif kind == "trimmed":
        history.trimmed = record


def _hear_device(history: History, record: Fields, t_us: int) -> None:
    devpath, action = record.get("devpath", ""), record.get("action")
    if action == "move":
        _move(history.devices, record.get("from", ""), devpath)
    device = history.devices.get(devpath)
    if action == "remove":
        if device is not None:
            device.gone_us = t_us
        return
    if device is None or not device.present:
        device = history.devices[devpath] = DeviceHistory(devpath, t_us)
        device.hotplugged = action == "add" and bool(history.settles)
    device.subsystem = record.get("subsystem", "") or device.subsystem
    device.modalias = record.get("modalias", "") or device.modalias
    device.devtype = record.get("devtype", "") or device.devtype
    device.devname = record.get("devname", "") or device.devname
    device.ifname = record.get("ifname", "") or device.ifname
    device.of_node = record.get("of_node", "") or device.of_node
    if "matches" in record:
        device.matches = tuple(match_of(fields) for fields in record["matches"])
    driver = record.get("driver", "")
    if action == "unbind":
        device.former = device.driver or driver
        device.driver = device.module = ""
        device.bound_us = UNKNOWN
    elif driver or action == "bind":
        device.driver = driver or device.driver
        device.former = ""
        device.idle_drivers = ()
    if action in {"bind", "coldplug"}:
        device.module = record.get("module", "").replace("-", "_")
    if action == "bind":
        device.bound_us = t_us


def _move(devices: dict[str, DeviceHistory], old: str, new: str) -> None:
    """Move the device at `old`, and all below it, to `new`."""
    if not old:
        return
    below = old + "/"
    for path in [path for path in devices if path == old or path.startswith(below)]:
        device = devices.pop(path)
        device.devpath = new + path[len(old) :]
        devices[device.devpath] = device


def _by_module(history: History) -> dict[str, LoadHistory]:
    """Return each module's last load.

    One that is denied by its alias is yet in the kernel if a module needed it; and one that a daemon before this one
    inserted is still there by that load, although the next one found it `live`.
    """
    removed = {a.module.replace("-", "_"): a.t_us for a in history.appearances if not a.came}
    found: dict[str, LoadHistory] = {}
    for load in history.loads:
        name = load.module.replace("-", "_")
        known = found.get(name)
        if (
            known is None
            or not known.succeeded
            or known.end_us < removed.get(name, UNKNOWN) <= load.end_us
            or (load.succeeded and load.outcome != "live")
        ):
            found[name] = load
    return found


def _adopt(devices: dict[str, DeviceHistory]) -> None:
    """Give every device its parent, the nearest known ancestor, and the parent its children."""
    above: list[str] = []  # the known devices from a root down to the last one looked at
    for path in sorted(devices, key=_parts_first):
        while above and not path.startswith(f"{above[-1]}/"):
            above.pop()
        if above:
            devices[path].parent = above[-1]
            devices[above[-1]].children.append(path)
        above.append(path)
    for device in devices.values():
        device.children.sort()


def _parts_first(path: str) -> str:
    """Return a sort key that puts all that is below a path behind it, before its siblings: `/a`, `/a/b`, `/a-b`."""
    return path.replace("/", "\0")
