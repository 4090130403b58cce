"""Every kind of device that QEMU can plug in: loaded for, bound, told of, and let go again. Two boots.

tests/support/plugs.py has the kinds; docs/hotplug.md shows them. Eight are plugged in at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from hostbuild.board import MachineType
from hostbuild.image.build import BuiltImage
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import Machine, read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.kernelfiles import builtin_names
from tests.support.places import DOCS
from tests.support.plugs import OLD_PCI, PCI_EXPRESS, SCSI, STAYS, USB, Plug, plug
from tests.support.schema import check_records

pytestmark = pytest.mark.vm

DOCUMENT = DOCS / "hotplug.md"
CONTROLLERS = ("qemu-xhci,id=xhci,p2=12,p3=12", "virtio-scsi-pci,id=scsi0")
BATCH = 8  # as many as the q35 has ports

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a plugged device: all records of its time, its binding, the PCI port above it ("" if unknown)."""

    records: list[Record]
    bound: Record
    port: str


def bound_to(driver: str) -> Callable[[Record], bool]:
    return lambda record: record.get("action") == "bind" and record.get("driver") == driver


def removal_of(devpath: str) -> Callable[[Record], bool]:
    return lambda record: record.get("action") == "remove" and record.get("devpath") == devpath


class Bench:
    """A machine into which all kinds have been plugged, and out of which they have been taken again."""

    def __init__(self, vm: VM, kernel: Kernel, kinds: tuple[Plug, ...], *, ports: bool) -> None:
        self.vm = vm
        self.told: dict[Plug, Told] = {}
        self.builtin = builtin_names(kernel)
        for start in range(0, len(kinds), BATCH):
            self._plug(kinds[start : start + BATCH], ports=ports)

    def _plug(self, batch: tuple[Plug, ...], *, ports: bool) -> None:
        vm = self.vm
        since = len(vm.ledger)
        ids = []
        for number, kind in enumerate(batch):
            ids.append(plug(vm, kind, f"rp{number}" if ports else ""))
        bound = [vm.wait_for(bound_to(kind.driver), timeout=60, since=since) for kind in batch]
        vm.check("modaliasd settle --timeout 60", timeout=70)
        for kind, device_id in zip(batch, ids, strict=True):
            if kind not in STAYS:
                vm.device_del(device_id, timeout=60)
        for kind, record in zip(batch, bound, strict=True):
            if kind not in STAYS:  # a USB hub's thread finds out later than QEMU
                vm.wait_for(removal_of(record["devpath"]), timeout=60, since=since)
        vm.check("modaliasd settle --timeout 60", timeout=70)
        records = vm.ledger[since:]
        for number, kind in enumerate(batch):
            port = f"/0000:00:1c.{number}/" if ports and not kind.bus else ""
            self.told[kind] = Told(records, bound[number], port)


@pytest.fixture(scope="module")
def q35(image: BuiltImage) -> Iterator[Bench]:
    """A q35 with eight free PCI Express ports, an xhci and a virtio-scsi controller."""
    machine = replace(read_machine("empty"), root_ports=BATCH).plus(map(parse_device, CONTROLLERS))
    with vm_of(image, machine, limit_s=500) as vm:
        vm.settled(timeout=200)
        yield Bench(vm, image.kernel, (*PCI_EXPRESS, *USB, *SCSI, *STAYS), ports=True)


@pytest.fixture(scope="module")
def i440fx(image: BuiltImage) -> Iterator[Bench]:
    """A PC of 1996 with nothing in its slots."""
    with vm_of(image, Machine(type=MachineType.PC), limit_s=400) as vm:
        vm.settled(timeout=200)
        yield Bench(vm, image.kernel, OLD_PCI, ports=False)


def check(bench: Bench, kind: Plug) -> None:
    """The device was added, matched, loaded for by name, bound by its driver, and removed; in this order."""
    if kind.module in bench.builtin:
        pytest.skip(f"this kernel has {kind.module} inside")
    told = bench.told[kind]
    assert told.port in f"{told.bound['devpath']}/"
    # A card may have several parts, of which some ask for the module and all get its driver.
    asking = {
        r["devpath"]: r
        for r in told.records
        if r.get("action") == "add" and any(m["module"] == kind.module for m in r.get("matches", ()))
    }
    bound = [r for r in told.records if r.get("action") == "bind" and r.get("driver") == kind.driver]
    first = next(r for r in bound if r["devpath"] in asking)
    devpath, added = first["devpath"], asking[first["devpath"]]
    assert all(m["alias"] and m["line"] for m in added["matches"])
    load = find_load(bench, kind.module)
    assert load["outcome"] in {"inserted", "live"}
    assert any(cause.get("alias") for cause in load["causes"])
    assert added["seqnum"] < first["seqnum"]
    gone = [r for r in told.records if r.get("action") == "remove" and r.get("devpath") == devpath]
    assert len(gone) == (kind not in STAYS)
    assert all(first["seqnum"] < record["seqnum"] for record in gone)


def find_load(bench: Bench, module: str) -> Record:
    return next(r for r in bench.vm.ledger if r["type"] == "load" and r["module"] == module)


@pytest.mark.parametrize("kind", [*PCI_EXPRESS, *USB, *SCSI, *STAYS], ids=lambda kind: kind.device)
def test_plugged_into_a_q35(kind: Plug, q35: Bench) -> None:
    """Behind a root port, on USB, on SCSI: its own record names the alias, a load its module, /sys had its driver."""
    check(q35, kind)


@pytest.mark.parametrize("kind", OLD_PCI, ids=lambda kind: kind.device)
def test_plugged_into_an_i440fx(kind: Plug, i440fx: Bench) -> None:
    """The same by ACPI in a PCI slot."""
    check(i440fx, kind)


@pytest.mark.parametrize("bench", ["q35", "i440fx"])
def test_nothing_is_missing_or_left_over(bench: str, request: pytest.FixtureRequest) -> None:
    """After all came and went: no uevent was lost, no load failed, every record keeps to the format."""
    vm = request.getfixturevalue(bench).vm
    last = [record for record in vm.ledger if record["type"] == "settled"][-1]
    assert (last["lost"], last["recovered"], last["dropped"], last["failed"]) == (0, 0, 0, 0)
    assert check_records(vm.ledger) > 200
    assert vm.skipped.count == 0


def test_the_document_shows_every_kind() -> None:
    """docs/hotplug.md's tables have a row for each kind, with its module and its driver."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for kind in {*PCI_EXPRESS, *USB, *SCSI, *STAYS, *OLD_PCI}:
        assert f"| {kind.device} | {kind.module} | {kind.driver} |" in text
