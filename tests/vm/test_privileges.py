"""The daemon and its children with four capabilities and no way to more: docs/security.md's recipe, in one boot."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.faulty import (
    PYTHON,
    last_load,
    other_modprobe,
    replug,
    settle,
    slot_of,
    slot_of_idle,
    want_other_symbol,
)
from tests.support.places import DOCS
from tests.support.setpriv import CAPABILITIES, LINE, write_setpriv
from tests.support.stormguest import write_overlay

pytestmark = pytest.mark.vm

DOCUMENT = DOCS / "security.md"
MASK = sum(1 << number for number in CAPABILITIES.values())
KINDS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """A machine with disk, network and more, settled."""
    folder = tmp_path_factory.mktemp("privileges")
    overlays = (write_overlay(folder / "storm"), write_setpriv(folder / "setpriv"))
    options = ImageOptions(kernel="deb:linux-image-amd64", overlays=overlays, extras=(Extra.AUDIT,))
    built = build_image(folder / "privileges.img", options)
    devices = ("virtio-rng-pci", "virtio-scsi-pci", "e1000", "i6300esb", "AC97")
    machine = replace(read_machine("virtio"), root_ports=2).plus(map(parse_device, devices))
    with vm_of(built, machine, memory="768", limit_s=400) as running:
        running.settled(timeout=200)
        yield running


def capabilities(text: str) -> dict[str, int]:
    """The sets that /proc/PID/status shows."""
    rows = (line.split(":") for line in text.splitlines() if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in rows}


def test_the_daemon_has_four_capabilities(vm: VM) -> None:
    """Its bounding set, and what it has, are CAP_NET_ADMIN, CAP_SYS_MODULE, CAP_SYS_NICE and CAP_SYSLOG."""
    found = capabilities(vm.check("cat /proc/$(pidof modaliasd)/status"))
    assert found == dict(zip(KINDS, (0, MASK, MASK, MASK, 0), strict=True))


def test_the_boot_lacked_nothing(vm: VM) -> None:
    """With these all was loaded, in its order, without a death; libudev agrees."""
    assert settle(vm)["failed"] == 0
    assert vm.check("cat /run/modaliasd/lives").strip() == "1"
    for driver in ("virtio_blk", "virtio_rng", "virtio_scsi", "e1000", "snd_intel8x0"):
        assert any(r.get("action") == "bind" and r.get("driver") == driver for r in vm.ledger) or any(
            r["type"] == "load" and r["module"] == driver and r["outcome"] == "inserted" for r in vm.ledger
        )
    assert "libudev and the ledger agree" in vm.check("modaliasd audit", timeout=100)


def test_a_plugged_device_is_loaded_for_and_told_of(vm: VM) -> None:
    """Hotplug works, and libudev's clients hear of it: sending to group 2 needs CAP_NET_ADMIN."""
    vm.check(f"{PYTHON} /usr/lib/storm/monitor.py pci >/tmp/heard 2>&1 & ")
    vm.check("until grep -q listening /tmp/heard; do usleep 100000; done", timeout=60)
    slot = slot_of(vm, "e1000")
    vm.check("rmmod e1000")
    replug(vm, slot)
    vm.check(f"until grep -q 'bind.*{slot}' /tmp/heard; do usleep 100000; done", timeout=60)
    assert last_load(vm, "e1000")["outcome"] == "inserted"
    assert "unsent         0" in vm.check("modaliasd status")


def test_the_kernels_words_are_read(vm: VM) -> None:
    """A failed load is explained from the kernel's log, which needs CAP_SYSLOG here."""
    assert vm.check("cat /proc/sys/kernel/dmesg_restrict").strip() == "1"
    slot = slot_of_idle(vm, "0x25ab")
    path = vm.check("echo /lib/modules/*/kernel/drivers/watchdog/i6300esb.ko").strip()
    vm.check("rmmod i6300esb")
    want_other_symbol(vm, path)
    replug(vm, slot)
    assert "Unknown symbol pci_enable_devicX" in last_load(vm, "i6300esb")["message"]
    vm.check(f"cp /tmp/whole {path}")


def test_a_child_has_no_more(vm: VM) -> None:
    """modprobe, and so whatever an install line runs, has the same four and cannot get others."""
    slot = slot_of_idle(vm, "0x25ab")
    vm.check("mkdir -p /tmp/at")
    script = "cat /proc/self/status >/tmp/caps; mount -t tmpfs none /tmp/at 2>/tmp/refused\n"
    script += 'exec /bin/busybox modprobe "$@"'
    with other_modprobe(vm, script):
        replug(vm, slot)
    assert last_load(vm, "i6300esb")["outcome"] == "inserted"
    found = capabilities(vm.check("cat /tmp/caps"))
    assert found == dict(zip(KINDS, (0, MASK, MASK, MASK, 0), strict=True))
    assert "denied" in vm.check("cat /tmp/refused")


def test_the_document_shows_the_line() -> None:
    """docs/security.md gives the line of inittab that is tested here."""
    assert LINE in DOCUMENT.read_text(encoding="utf-8")
