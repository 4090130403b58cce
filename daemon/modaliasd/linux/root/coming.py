"""What comes after all loads have ended: devices whose bus the kernel searches in its own time.

USB: a hub's ports get power, are debounced (drivers/usb/core/hub.c, HUB_DEBOUNCE_TIMEOUT, 2 s), and a disk is looked
for after usb-storage's delay_use. SD and MMC: a card is asked at four clock rates (drivers/mmc/core/core.c,
mmc_rescan). Others are there when their driver's load has ended: the kernel waits for what the driver has begun
(kernel/module/main.c, async_synchronize_full).
"""

from __future__ import annotations

import posix

from modaliasd.linux.root.blockdev import read_text

USB_S = 2.5  # since the last thing on USB that came
MMC_S = 2.0
_SCAN_S = 5.0  # for a disk on USB to say what it is, after delay_use


def on_its_way(root: str = "") -> float:
    """Return for how many seconds from now a block device may still come; 0: none will."""
    seconds = 0.0
    if _names(f"{root}/sys/bus/usb/devices"):
        seconds = USB_S
        if _storage_without_a_disk(root):
            seconds = _delay_use(root) + _SCAN_S
    if _names(f"{root}/sys/class/mmc_host"):
        seconds = max(seconds, MMC_S)
    return seconds


def signs_of_life(root: str = "") -> frozenset[str]:
    """Return what is there on these buses: whoever finds the same after the time need not wait any more."""
    places = ("bus/usb/devices", "bus/scsi/devices", "class/mmc_host", "bus/mmc/devices")
    return frozenset(f"{place}/{name}" for place in places for name in _names(f"{root}/sys/{place}"))


def _storage_without_a_disk(root: str) -> bool:
    """Tell whether usb-storage or uas has a device whose SCSI target has not been found yet."""
    for driver in ("usb-storage", "uas"):
        place = f"{root}/sys/bus/usb/drivers/{driver}"
        for name in _names(place):
            hosts = [host for host in _names(f"{place}/{name}") if host.startswith("host")]
            found = [
                one for host in hosts for one in _names(f"{place}/{name}/{host}") if one.startswith("target")
            ]
            if ":" in name and not found:
                return True
    return False


def _delay_use(root: str) -> float:
    """Return usb-storage's parameter in seconds; it is 1 unless somebody has set it (newer kernels know `ms`)."""
    text = read_text(f"{root}/sys/module/usb_storage/parameters/delay_use").strip()
    try:
        return min(float(text[:-2]) / 1000 if text.endswith("ms") else float(text), 60.0)
    except ValueError:
        return 1.0


def _names(directory: str) -> list[str]:
    try:
        return sorted(posix.listdir(directory))
    except OSError:
        return []
