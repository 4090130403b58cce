"""Devices that come and go while the machine runs, and a daemon that is killed; on machines that begin bare."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from hostbuild.image.build import BuiltImage
from hostbuild.ledger.stream import Record
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.schema import check_records

pytestmark = pytest.mark.vm


@dataclass(frozen=True, slots=True)
class Plugged:
    """A device to plug in, and what has to come of it: the module that is loaded for it, the last driver."""

    device: str
    module: str
    driver: str
    node: str
    properties: tuple[tuple[str, str], ...] = ()


# The SCSI disk comes before the USB disk, which finds sd_mod loaded.
PLUGS = {
    "virtio NIC": Plugged("virtio-net-pci", "virtio_net", "virtio_net", "/sys/class/net/eth0"),
    "virtio-scsi disk": Plugged("scsi-hd", "sd_mod", "sd", "/dev/sda"),
    "USB disk": Plugged("usb-storage", "usb_storage", "sd", "/dev/sdb"),
    "NVMe disk": Plugged("nvme", "nvme", "nvme", "/dev/nvme0n1", (("serial", "hot"),)),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a plugged device: its id, the path that was bound last, the records since the plug."""

    id: str
    devpath: str
    records: list[Record]


@pytest.fixture(scope="module")
def vm(image: BuiltImage) -> Iterator[VM]:
    """A q35 with a USB and a SCSI controller that have nothing on them, and free ports."""
    controllers = ("qemu-xhci,id=xhci", "virtio-scsi-pci,id=scsi0")
    machine = replace(read_machine("empty"), root_ports=8).plus(map(parse_device, controllers))
    with vm_of(image, machine, limit_s=400) as running:
        running.settled(timeout=200)
        yield running


@pytest.fixture(scope="module")
def plugged(vm: VM) -> dict[str, Told]:
    """Everything in PLUGS, plugged in one after the other."""
    told = {}
    for name, plug in PLUGS.items():
        since = len(vm.ledger)
        device_id = vm.device_add(plug.device, **dict(plug.properties))
        bound = vm.wait_for(_bound_to(plug.driver), timeout=60, since=since)
        vm.settled(timeout=60, since=vm.ledger.index(bound))
        told[name] = Told(device_id, bound["devpath"], vm.ledger[since:])
    return told


def _bound_to(driver: str) -> Callable[[Record], bool]:
    return lambda record: record.get("action") == "bind" and record.get("driver") == driver


@pytest.mark.parametrize("name", PLUGS)
def test_a_plugged_device_is_loaded_for_and_bound(name: str, vm: VM, plugged: dict[str, Told]) -> None:
    """The load names the device that was plugged or one below it; /sys links it to the driver; its node is there."""
    plug, told = PLUGS[name], plugged[name]
    load = next(r for r in told.records if r["type"] == "load" and r["module"] == plug.module)
    assert load["outcome"] == "inserted"
    added = {r["devpath"] for r in told.records if r.get("action") == "add" and r["type"] == "device"}
    assert {cause["devpath"] for cause in load["causes"] if "devpath" in cause} <= added
    assert load["causes"][0]["modalias"]
    assert load["causes"][0]["alias"]
    assert vm.check(f"basename $(readlink /sys{told.devpath}/driver)").strip() == plug.driver
    assert vm.check(f"ls -d {plug.node}").strip() == plug.node
    assert plug.module in vm.check("cut -d' ' -f1 /proc/modules").split()


def test_what_needs_nothing_loads_nothing(vm: VM, plugged: dict[str, Told]) -> None:
    """A second NIC of the same kind finds its driver loaded: it is bound, and nothing is inserted for it."""
    assert plugged
    since = len(vm.ledger)
    vm.device_add("virtio-net-pci", id="again")
    bound = vm.wait_for(_bound_to("virtio_net"), timeout=60, since=since)
    vm.settled(timeout=60, since=vm.ledger.index(bound))
    loads = [r["module"] for r in vm.ledger[since:] if r["type"] == "load" and r["outcome"] == "inserted"]
    assert loads == []
    vm.device_del("again")


def test_an_unplugged_device_is_recorded_as_gone(vm: VM, plugged: dict[str, Told]) -> None:
    """The NVMe disk's removal is told by its path, after its unbinding, and /sys has it no longer."""
    told = plugged["NVMe disk"]
    since = len(vm.ledger)
    vm.device_del(told.id)
    gone = vm.wait_for(
        lambda r: r.get("action") == "remove" and r.get("devpath") == told.devpath, timeout=60, since=since
    )
    unbound = next(
        r for r in vm.ledger[since:] if r.get("action") == "unbind" and r["devpath"] == told.devpath
    )
    assert unbound["seqnum"] < gone["seqnum"]
    assert vm.sh(f"test -e /sys{told.devpath}").status == 1


def test_no_match_is_recorded(vm: VM, plugged: dict[str, Told]) -> None:
    """QEMU's test device has a modalias that no module wants; its record says so with an empty list."""
    assert plugged
    since = len(vm.ledger)
    vm.device_add("pci-testdev", id="lonely")
    record = vm.wait_for(
        lambda r: r.get("subsystem") == "pci" and r.get("action") == "add", timeout=60, since=since
    )
    assert record["modalias"].startswith("pci:v00001B36d00000005")
    assert record["matches"] == []
    vm.device_del("lonely")


def test_a_killed_daemon_comes_back_and_goes_on(vm: VM, plugged: dict[str, Told]) -> None:
    """After kill -9 init starts it again; it writes on in the same ledger, and the next device is dealt with."""
    assert plugged
    since = len(vm.ledger)
    vm.check("kill -9 $(pidof modaliasd)")
    assert vm.wait_for("start", timeout=60, since=since)["format"] == 1
    vm.settled(timeout=60, since=since)
    assert vm.check("head -n1 /run/modaliasd/ledger.jsonl").startswith('{"type":"start"')
    assert vm.check('grep -c \'"type":"start"\' /run/modaliasd/ledger.jsonl').strip() == "2"
    again = len(vm.ledger)
    vm.device_add("e1000e", id="after")
    bound = vm.wait_for(_bound_to("e1000e"), timeout=60, since=again)
    vm.settled(timeout=60, since=vm.ledger.index(bound))
    load = next(r for r in vm.ledger[again:] if r["type"] == "load" and r["module"] == "e1000e")
    assert load["outcome"] == "inserted"
    vm.device_del("after")


def test_every_record_keeps_to_the_format(vm: VM, plugged: dict[str, Told]) -> None:
    """Hotplug's records are valid as well, and none was torn."""
    assert plugged
    assert check_records(list(vm.ledger)) > 100
    assert vm.skipped.count == 0
