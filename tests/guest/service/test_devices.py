"""What is known of the devices, and when it is told."""

from modaliasd.core.device import Device
from modaliasd.service.devices import Registry
from modaliasd.service.settle_report import SettleReport
from tests.support.fakeworld import Fakes, NoLog

CARD = Device("/devices/pci0000:00/0000:00:03.0", "pci", "e1000")


def report(fakes: Fakes, registry: Registry) -> SettleReport:
    """What tells of the registry's devices at a settle."""
    return SettleReport(
        devices=registry.devices,
        loader=fakes.loader,
        sysfs=fakes.sysfs,
        kernel_log=NoLog(),
        writer=fakes.writer(),
        clock=lambda: 0,
        born_us=0,
    )


def told_unbound(fakes: Fakes) -> list[list[str]]:
    """The drivers of each `unbound` line so far."""
    return [record["drivers"] for record in fakes.records() if record["type"] == "unbound"]


def test_an_unbound_device_is_told_once() -> None:
    """A device that no driver takes is told at the first settle, not at each of them again."""
    fakes = Fakes()
    fakes.sysfs.drivers = {"e1000": [("pci", "e1000")]}
    registry = fakes.registry()
    settles = report(fakes, registry)
    registry.see(CARD, "coldplug", {"walk": 1})
    for _ in range(3):
        settles.write_unbound()
    assert told_unbound(fakes) == [["e1000"]]


def test_an_unbound_device_is_told_again_when_things_changed() -> None:
    """Bound and let go, or other drivers there: that is news, and told."""
    fakes = Fakes()
    fakes.sysfs.drivers = {"e1000": [("pci", "e1000")]}
    registry = fakes.registry()
    settles = report(fakes, registry)
    registry.see(CARD, "coldplug", {"walk": 1})
    settles.write_unbound()
    registry.bind(CARD, "bind", "e1000", {"seqnum": 1}, 1)
    settles.write_unbound()
    registry.bind(CARD, "unbind", "e1000", {"seqnum": 2}, 2)
    settles.write_unbound()
    fakes.sysfs.drivers["e1000"].append(("pci", "e1000e"))
    settles.write_unbound()
    assert told_unbound(fakes) == [["e1000"], ["e1000"], ["e1000", "e1000e"]]


def test_a_driver_of_another_bus_leaves_no_device_unbound() -> None:
    """Only drivers for the device's own bus could have taken it."""
    fakes = Fakes()
    fakes.sysfs.drivers = {"e1000": [("usb", "e1000")]}
    registry = fakes.registry()
    settles = report(fakes, registry)
    registry.see(CARD, "coldplug", {"walk": 1})
    settles.write_unbound()
    assert told_unbound(fakes) == []
