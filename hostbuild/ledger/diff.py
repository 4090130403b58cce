"""What changed between two boots: devices, their drivers, modules, times. Pure.

The kernel numbers many devices in the order in which they come (virtio0, host3, usb1, eth0, sda), and that
order differs from boot to boot. So a device is known by its path with such numbers taken out, and by its
place among its siblings that then look alike.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from modaliasd.core.ledger.history import DeviceHistory, History

SLOWER = 1.5  # a load counts as slower or quicker from this factor on,
LEAST_US = 20_000  # and only if the difference is at least this long

_NUMBERED = re.compile(
    r"(virtio|host|usb|input|event|mouse|js|eth|usb|wlan|hidraw|card|controlC|hwC|pcmC|nvme|mmc|ata|rtc|ptp|"
    r"vport|sas_host|phy-|end_device-|port-|expander-|hdaudioC|mmcblk|watchdog|event_source)\d+"
)
_SCSI = re.compile(r"(?:target)?\d+:\d+:\d+(?::\d+)?")  # host:channel:id:lun; the host is numbered
_USB = re.compile(r"\d+-[\d.]+(?::\d+\.\d+)?")  # bus-port:configuration.interface; the bus is numbered
_MMC = re.compile(
    r"mmc\d+:[0-9a-f]{4}(:\d+)?"
)  # host:address:function; a card draws its address when it is found
_HID = re.compile(r"([0-9A-F]{4}:[0-9A-F]{4}:[0-9A-F]{4})\.[0-9A-F]{4}")
_DISK = re.compile(r"(sd|vd|sr|hd)[a-z]+|sr\d+")


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs: what it is of, what it was, what it is. Times in microseconds."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class LedgerDiff:
    """What changed from the first boot to the second.

    unbound: devices that had a driver and have none now (before: the driver), or are not there any more: the
    regressions. bound: the other way round. drivers: another driver has the device. gone, come: devices
    without a driver. modules_gone, modules_come: no longer, newly in the kernel. outcomes: loads that ended
    differently. times: loads that became slower or quicker; before, after: milliseconds. settle:
    milliseconds to the first settle, before and after ("" if it never came).
    """

    unbound: tuple[Change, ...]
    bound: tuple[Change, ...]
    drivers: tuple[Change, ...]
    gone: tuple[str, ...]
    come: tuple[str, ...]
    modules_gone: tuple[str, ...]
    modules_come: tuple[str, ...]
    outcomes: tuple[Change, ...]
    times: tuple[Change, ...]
    settle: Change

    @property
    def regression(self) -> bool:
        """Has a device lost its driver?"""
        return bool(self.unbound)


def compare(before: History, after: History) -> LedgerDiff:
    """Return what changed."""
    old, new = keyed(before.devices.values()), keyed(after.devices.values())
    unbound, bound, drivers, gone, come = [], [], [], [], []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        had, has = (was.driver if was else ""), (now.driver if now else "")
        shown = (now or was or DeviceHistory("", 0)).devpath
        if had and not has:
            unbound.append(Change(shown, had, "" if now else "the device is not there"))
        elif has and not had:
            bound.append(Change(shown, "" if was else "the device was not there", has))
        elif had != has:
            drivers.append(Change(shown, had, has))
        elif now is None:
            gone.append(shown)
        elif was is None:
            come.append(shown)
    modules_before, modules_after = _modules(before), _modules(after)
    return LedgerDiff(
        unbound=tuple(unbound),
        bound=tuple(bound),
        drivers=tuple(drivers),
        gone=tuple(gone),
        come=tuple(come),
        modules_gone=tuple(sorted(modules_before - modules_after)),
        modules_come=tuple(sorted(modules_after - modules_before)),
        outcomes=_outcomes(before, after),
        times=_times(before, after),
        settle=Change("settled", _settle_ms(before), _settle_ms(after)),
    )


def keyed(devices: Iterable[DeviceHistory]) -> dict[str, DeviceHistory]:
    """Return the devices that are there, by what they are known by in every boot."""
    found: dict[str, DeviceHistory] = {}
    seen: dict[str, int] = {}
    for device in sorted(devices, key=lambda device: _natural(device.devpath)):
        if not device.present:
            continue
        key = "/".join(_without_numbers(part) for part in device.devpath.split("/"))
        seen[key] = seen.get(key, 0) + 1
        found[f"{key} {seen[key]}"] = device
    return found


def _without_numbers(part: str) -> str:
    if _SCSI.fullmatch(part):
        return "scsi" + part[part.index(":") :]
    if _USB.fullmatch(part):
        return "usb" + part[part.index("-") :]
    if mmc := _MMC.fullmatch(part):
        return f"mmc{mmc[1] or ''}"
    if hid := _HID.fullmatch(part):
        return hid[1]
    if disk := _DISK.fullmatch(part):
        return disk[1] or "sr"
    return _NUMBERED.sub(r"\1#", part)


def _natural(path: str) -> list[tuple[int, str]]:
    """Return a sort key that puts usb2 before usb10."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", path)]


def _modules(history: History) -> set[str]:
    loaded = {load.module for load in history.loads if load.succeeded}
    return loaded | {one.module for one in history.appearances if one.came}


def _outcomes(before: History, after: History) -> tuple[Change, ...]:
    changes = []
    for load in before.loads:
        now = after.load_of(load.module)
        if now is not None and now.outcome != load.outcome and (not now.succeeded or not load.succeeded):
            message = f": {now.message}" if now.message else ""
            changes.append(Change(load.module, load.outcome, now.outcome + message))
    return tuple(sorted(changes, key=lambda change: change.what))


def _times(before: History, after: History) -> tuple[Change, ...]:
    """Return loads whose own time changed much, the largest difference first."""
    found: list[tuple[int, Change]] = []
    for load in before.loads:
        now = after.load_of(load.module)
        if now is None or now.own_us < 0 or load.own_us < 0:
            continue
        difference = now.own_us - load.own_us
        if abs(difference) < LEAST_US or max(now.own_us, load.own_us) < SLOWER * min(now.own_us, load.own_us):
            continue
        found.append((-abs(difference), Change(load.module, _ms(load.own_us), _ms(now.own_us))))
    return tuple(change for _, change in sorted(found, key=lambda item: (item[0], item[1].what)))


def _settle_ms(history: History) -> str:
    return _ms(history.settled_us - history.started_us) if history.settled_us >= 0 else ""


def _ms(us: int) -> str:
    return f"{us / 1000:.1f}"
