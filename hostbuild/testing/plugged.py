"""A device that a test plugged in: which of the guest's devices are it, told from the ledger's records. Pure.

A plug shows as a tree below one devpath: /devices/pci0000:00/0000:00:1c.0/0000:01:00.0 for a card behind a root port,
.../usb1/1-1 for a USB device. Of a PCI card QEMU says where it stands. Elsewhere the root is the first device of the
right subsystem that is added after the plug and is not below something else that a test has plugged in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hostbuild.qemu.device import Bus

# What a device on a bus shows as first. Others show as they like: memory, processors.
_SUBSYSTEM_OF: Mapping[Bus, str] = {
    Bus.PCI: "pci",
    Bus.USB: "usb",
    Bus.SCSI: "scsi",
    Bus.SD: "mmc",
    Bus.VIRTIO_SERIAL: "virtio-ports",
}


@dataclass(slots=True)
class Plugged:
    """A device that is plugged in, as `Guest.plug` gives it.

    id: QEMU's. driver: QEMU's name of the device ("nvme"). root: the devpath of the first device that it showed as in
    the guest, "" while it has not shown. since: how many records the ledger had before.
    """

    id: str
    driver: str
    bus: Bus
    since: int
    root: str = ""

    def __str__(self) -> str:
        return f"{self.driver} ({self.id})"

    def owns(self, devpath: str) -> bool:
        """Return whether a device of the guest is this one, or below it."""
        return bool(self.root) and f"{devpath}/".startswith(f"{self.root}/")


def root_among(
    records: Iterable[Mapping[str, Any]], plugged: Plugged, others: Iterable[Plugged], name: str = ""
) -> str:
    """Return the devpath that a device shows as in `records`, the ledger's from its plug on; "" if it has not yet.

    name: what it is called in /sys, where that is known; "" where only the order of the records tells.
    """
    wanted = _SUBSYSTEM_OF.get(plugged.bus, "")
    known = [other for other in others if other is not plugged]
    for record in records:
        if record.get("type") != "device" or record.get("action") not in ("add", "coldplug"):
            continue
        devpath = str(record.get("devpath", ""))
        if name:
            if devpath.endswith(f"/{name}"):
                return devpath
            continue
        if wanted and record.get("subsystem") != wanted:
            continue
        if devpath.startswith("/devices/virtual/") or any(other.owns(devpath) for other in known):
            continue
        return devpath
    return ""
