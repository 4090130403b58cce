"""hostbuild.testing.plugged: which devices of the guest a plugged one is, told from records in any mixture."""

from hostbuild.qemu.device import Bus
from hostbuild.testing.plugged import Plugged, root_among

HUB = "/devices/pci0000:00/0000:00:01.0/usb1"
VIRTUAL = "/devices/virtual/bdi/8:0"


def record(devpath: str, subsystem: str = "", action: str = "add") -> dict[str, object]:
    return {"type": "device", "action": action, "devpath": devpath, "subsystem": subsystem}


def plugged(bus: Bus, root: str = "") -> Plugged:
    return Plugged("hot1", "device", bus, 0, root)


def test_the_first_of_its_subsystem() -> None:
    """Of the records after a USB plug, the USB device is it: not what a driver made meanwhile, nor what went."""
    records: list[dict[str, object]] = [
        record("/devices/platform/x", "platform"),
        record(f"{HUB}/1-2", "usb", "remove"),
        {"type": "load", "module": "usb_storage"},
        record(f"{HUB}/1-1", "usb"),
        record(f"{HUB}/1-1/1-1:1.0", "usb"),
    ]
    assert root_among(records, plugged(Bus.USB), []) == f"{HUB}/1-1"
    assert root_among(records[:3], plugged(Bus.USB), []) == ""


def test_not_what_belongs_to_another() -> None:
    """Children of a device that was plugged in before, which come late, are that device's."""
    first = plugged(Bus.USB, f"{HUB}/1-1")
    records = [record(f"{HUB}/1-1/1-1:1.0", "usb"), record(f"{HUB}/1-10", "usb")]
    assert root_among(records, plugged(Bus.USB), [first]) == f"{HUB}/1-10"
    assert first.owns(f"{HUB}/1-1/1-1:1.0")
    assert not first.owns(f"{HUB}/1-10")


def test_a_card_is_known_by_its_place() -> None:
    """A name that QEMU gives counts alone, whatever else comes first; a walk's record counts as an event's."""
    one, other = (
        "/devices/pci0000:00/0000:00:1c.0/0000:01:00.0",
        "/devices/pci0000:00/0000:00:1c.1/0000:02:00.0",
    )
    records = [record(one, "pci"), record(other, "pci", "coldplug")]
    assert root_among(records, plugged(Bus.PCI), [], "0000:02:00.0") == other
    assert root_among(records, plugged(Bus.PCI), [], "0000:03:00.0") == ""


def test_of_other_kinds_anything_that_is_hardware() -> None:
    """Memory has no bus; what the kernel makes for itself is no hardware."""
    records = [record(VIRTUAL, "bdi"), record("/devices/system/memory/memory32", "memory")]
    assert root_among(records, plugged(Bus.OTHER), []) == "/devices/system/memory/memory32"


def test_a_device_that_has_not_shown_owns_nothing() -> None:
    """An empty root is no prefix of every devpath."""
    assert not plugged(Bus.PCI).owns("/devices/x")
