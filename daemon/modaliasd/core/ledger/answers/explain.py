"""Why a module was loaded, and what became of a device: the answers as values. explain_not.py has the third question.

    why_module(history, "sd_mod")        -> WhyModule, or None where the ledger has never heard of it
    find_devices(history, "vda")         -> the devices that a devpath, a /dev node or an interface names
    why_device(history, device)          -> WhyDevice

text_explain.py turns them into text.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.kmod.plan import Match
    from modaliasd.core.ledger.history import History
    from modaliasd.core.ledger.history_values import Appearance, DeviceHistory, LoadHistory
    from modaliasd.core.loading.cause import Cause


class Asker(NamedTuple):
    """A device whose modalias matched the module."""

    device: DeviceHistory
    match: Match


class WhyModule(NamedTuple):
    """Everything that speaks for a module.

    load: how it was loaded; None if it came by itself (`appearance`) or is only matched so far.
    askers: devices whose modalias it matches, the first to ask first. needed_by: modules that had it loaded
    because they depend on it; softdep_of: because they name it in a softdep; requests: who asked by name.
    causes: all of these as the ledger has them.
    drives: the devices its drivers drive.
    """

    module: str
    load: LoadHistory | None
    appearance: Appearance | None
    askers: tuple[Asker, ...]
    needed_by: tuple[str, ...]
    softdep_of: tuple[str, ...]
    requests: tuple[str, ...]
    causes: tuple[Cause, ...]
    drives: tuple[DeviceHistory, ...]


class Became(Enum):
    """What became of a module that a device asked for."""

    LOADED = "loaded"  # this device asked first
    ALREADY = "in already"  # somebody else had asked, or it was there
    BUILTIN = "built in"
    REFUSED = "refused"  # denied
    FAILED = "failed"
    NO_DEVICE = "no device"
    PENDING = "not ended"


class Chosen(NamedTuple):
    """A match of a device, with what became of its module. drives: is its driver the device's?"""

    match: Match
    became: Became
    load: LoadHistory | None
    drives: bool


class WhyDevice(NamedTuple):
    """A device's way: its matches, what became of each, and its driver's module ("" if built in or none).

    above: its known ancestors, nearest first.
    """

    device: DeviceHistory
    chosen: tuple[Chosen, ...]
    driver_module: str
    above: tuple[DeviceHistory, ...]


def why_module(history: History, module: str) -> WhyModule | None:
    """Return what speaks for the module; None where the ledger does not know its name."""
    name = module.replace("-", "_")
    load, appearance = history.load_of(name), history.appearance_of(name)
    askers = [Asker(device, match) for device, match in history.askers(name)]
    if load is None and appearance is None and not askers:
        return None
    source = load if load is not None else appearance
    causes = source.causes if source is not None else ()
    needed_by = once(cause.module for cause in causes)
    if load is not None and load.outcome == "observed" and not causes:
        needed_by = tuple(history.users_of(name))  # what brought it came too late to be its cause
    first = load.asker if load is not None else ""
    askers.sort(key=lambda asker: (asker.device.devpath != first, asker.device.seen_us))
    return WhyModule(
        load.module if load is not None else name,
        load,
        appearance,
        tuple(askers),
        needed_by,
        once(cause.softdep for cause in causes),
        once(cause.request for cause in causes),
        causes,
        tuple(history.driven_by(name)),
    )


def once(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in the order of its first; none that is empty."""
    return tuple(dict.fromkeys(name for name in names if name))


def find_devices(history: History, name: str) -> list[DeviceHistory]:
    """Return the devices that `name` means: a devpath, with or without /sys, a /dev node, an interface, a last part.

    Devices that are there go before those that went. Empty where nothing is called so.
    """
    path = name.removeprefix("/sys").rstrip("/")
    if path in history.devices:
        return [history.devices[path]]
    node = name.removeprefix("/dev/")
    found = [d for d in history.devices.values() if name == d.ifname or (d.devname and node == d.devname)]
    if not found:
        found = [d for d in history.devices.values() if d.name == name]
    if not found and "/" in name:
        found = [d for d in history.devices.values() if d.devpath.endswith("/" + path.lstrip("/"))]
    present = [device for device in found if device.present]
    return present or found


def why_device(history: History, device: DeviceHistory) -> WhyDevice:
    """Return what the ledger tells of the device."""
    driver_module = device.module
    above: list[DeviceHistory] = []
    parent = history.devices.get(device.parent)
    while parent is not None:
        above.append(parent)
        parent = history.devices.get(parent.parent)
    chosen = tuple(_chosen(history, device, match, driver_module) for match in device.matches)
    return WhyDevice(device, chosen, driver_module, tuple(above))


def _chosen(history: History, device: DeviceHistory, match: Match, driver_module: str) -> Chosen:
    load = history.load_of(match.module)
    drives = driver_module == match.module.replace("-", "_") and bool(driver_module)
    if match.builtin or (load is not None and load.outcome == "builtin"):
        return Chosen(match, Became.BUILTIN, load, drives)
    if load is None:
        here = history.appearance_of(match.module)
        became = Became.ALREADY if here is not None and here.came else Became.PENDING
        return Chosen(match, became, None, drives)
    if not load.succeeded:
        return Chosen(match, _UNSUCCESSFUL.get(load.outcome, Became.FAILED), load, drives)
    first = load.asker == device.devpath and load.outcome in ("inserted", "observed")
    by_dependency = bool(load.causes) and not load.causes[0].devpath
    return Chosen(match, Became.LOADED if first and not by_dependency else Became.ALREADY, load, drives)


_UNSUCCESSFUL = {"denied": Became.REFUSED, "nodevice": Became.NO_DEVICE}
