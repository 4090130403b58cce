"""What kind of hardware a device is, for the colour of its bars: by its subsystem and its modalias.

Sources: the PCI class codes (include/linux/pci_ids.h), virtio's device numbers (uapi/linux/virtio_ids.h), the
USB interface classes (uapi/linux/usb/ch9.h).
"""

from enum import Enum

from modaliasd.core.ledger.history import DeviceHistory, History, LoadHistory


class Kind(Enum):
    """A kind of hardware."""

    STORAGE = "storage"
    NETWORK = "network"
    USB = "usb"
    INPUT = "input"
    SOUND = "sound"
    GRAPHICS = "graphics"
    CPU = "cpu"
    OTHER = "other"


_SUBSYSTEMS = {
    "scsi": Kind.STORAGE,
    "block": Kind.STORAGE,
    "nvme": Kind.STORAGE,
    "mmc": Kind.STORAGE,
    "ata_port": Kind.STORAGE,
    "net": Kind.NETWORK,
    "mdio_bus": Kind.NETWORK,
    "input": Kind.INPUT,
    "hid": Kind.INPUT,
    "serio": Kind.INPUT,
    "sound": Kind.SOUND,
    "hdaudio": Kind.SOUND,
    "ac97": Kind.SOUND,
    "drm": Kind.GRAPHICS,
    "graphics": Kind.GRAPHICS,
    "cpu": Kind.CPU,
    "usb": Kind.USB,
}
_PCI_CLASSES = {  # base class, or base class and subclass
    "01": Kind.STORAGE,
    "02": Kind.NETWORK,
    "03": Kind.GRAPHICS,
    "04": Kind.SOUND,
    "09": Kind.INPUT,
    "0C03": Kind.USB,
    "0805": Kind.STORAGE,  # SD host controller
}
_VIRTIO_DEVICES = {
    "00000001": Kind.NETWORK,
    "00000002": Kind.STORAGE,
    "00000008": Kind.STORAGE,
    "00000010": Kind.GRAPHICS,
    "00000012": Kind.INPUT,
    "00000019": Kind.SOUND,
    "0000001A": Kind.STORAGE,
}
_USB_CLASSES = {
    "01": Kind.SOUND,
    "02": Kind.NETWORK,
    "03": Kind.INPUT,
    "08": Kind.STORAGE,
}


_CHAIN = 64  # modules that need one another, from a device's to the last: real chains have some ten


def kind_of(subsystem: str, modalias: str) -> Kind:
    """Return the kind that a device's subsystem and modalias tell."""
    bus, _, rest = modalias.partition(":")
    if bus == "cpu":
        return Kind.CPU
    if bus == "pci":
        base, sub = _field(rest, "bc", 2), _field(rest, "sc", 2)
        return _PCI_CLASSES.get(base + sub, _PCI_CLASSES.get(base, Kind.OTHER))
    if bus == "virtio":
        return _VIRTIO_DEVICES.get(_field(rest, "d", 8), Kind.OTHER)
    if bus == "usb":
        return _USB_CLASSES.get(_field(rest, "ic", 2), Kind.USB)
    return _SUBSYSTEMS.get(subsystem, Kind.OTHER)


def _field(text: str, name: str, width: int) -> str:
    """Return the value behind the last place of `name`; keys are small letters, values are not."""
    at = text.rfind(name)
    return text[at + len(name) :][:width] if at >= 0 else ""


def kind_of_device(device: DeviceHistory) -> Kind:
    """Return the kind of a device."""
    return kind_of(device.subsystem, device.modalias)


def kind_of_load(history: History, load: LoadHistory) -> Kind:
    """Return the kind of what asked for the module, directly or through modules that need it."""
    seen: set[str] = set()
    current: LoadHistory | None = load
    while current is not None and current.module not in seen and len(seen) < _CHAIN:
        seen.add(current.module)
        cause = next((cause for cause in current.causes if cause.devpath), None)
        first = current.causes[0] if current.causes else None
        needer = (first.module or first.softdep) if first is not None else ""
        if cause is not None and not needer:
            return kind_of(cause.subsystem, cause.modalias)
        current = history.load_of(needer) if needer else None
    return Kind.OTHER
