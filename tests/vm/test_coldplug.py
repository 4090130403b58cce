"""A boot on the zoo of hardware: what was there at the start is loaded, bound and told; /sys is the witness.

The witness is a shell that reads /proc/modules and /sys; it shares no code with the daemon.
"""

from collections.abc import Iterator

import pytest

from hostbuild.image.build import BuiltImage
from hostbuild.image.modules.selection import close, read_index
from hostbuild.ledger.stream import Record
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from modaliasd.cli import COMMANDS
from tests.support.boots import vm_of
from tests.support.schema import check_records

pytestmark = pytest.mark.vm

# What QEMU's device is -> the module that its modalias asks for, and the driver's name on the bus.
COLD = {
    "virtio-blk": ("virtio", "virtio_blk", "virtio_blk"),
    "virtio-net": ("virtio", "virtio_net", "virtio_net"),
    "virtio-rng": ("virtio", "virtio_rng", "virtio_rng"),
    "virtio-scsi": ("virtio", "virtio_scsi", "virtio_scsi"),
    "nvme": ("pci", "nvme", "nvme"),
    "e1000": ("pci", "e1000", "e1000"),
    "ahci": ("pci", "ahci", "ahci"),
    "hda": ("pci", "snd_hda_intel", "snd_hda_intel"),
    "xhci": ("pci", "xhci_pci", "xhci_hcd"),
    "usb-storage": ("usb", "usb_storage", "usb-storage"),
    "usb-kbd": ("usb", "usbhid", "usbhid"),
    "usb-audio": ("usb", "snd_usb_audio", "snd-usb-audio"),
    "SCSI disk": ("scsi", "sd_mod", "sd"),
    "SD card": ("mmc", "mmc_block", "mmcblk"),
    "power button": ("acpi", "button", "button"),
}


@pytest.fixture(scope="module")
def vm(image: BuiltImage) -> Iterator[VM]:
    """The machine q35, settled."""
    with vm_of(image, read_machine("q35"), memory="768", limit_s=400) as machine:
        machine.settled(timeout=240)
        yield machine


@pytest.fixture(scope="module")
def loads(vm: VM) -> dict[str, Record]:
    """The ledger's loads by module."""
    return {record["module"]: record for record in vm.ledger if record["type"] == "load"}


@pytest.fixture(scope="module")
def drivers(vm: VM) -> dict[tuple[str, str], str]:
    """(bus, device) -> driver, by the links in /sys/bus."""
    listed = vm.check(
        'for d in /sys/bus/*/devices/*; do [ -e "$d/driver" ] || continue; b=${d#/sys/bus/}; '
        'l=$(readlink "$d/driver"); echo "${b%%/*} ${d##*/} ${l##*/}"; done'
    )
    rows = (line.split(" ", 2) for line in listed.splitlines())
    return {(bus, device): driver for bus, device, driver in rows}


@pytest.mark.parametrize("what", COLD)
def test_the_module_is_loaded_for_its_device_and_the_driver_has_it(
    what: str, loads: dict[str, Record], drivers: dict[tuple[str, str], str]
) -> None:
    """The load names a device of that bus, its modalias and the alias; /sys links the device to the driver."""
    bus, module, driver = COLD[what]
    load = loads[module]
    assert load["outcome"] == "inserted"
    asking = [cause for cause in load["causes"] if cause.get("subsystem") == bus]
    assert asking, load["causes"]
    assert all(cause["modalias"] and cause["alias"] for cause in asking)
    names = {cause["devpath"].rpartition("/")[2] for cause in asking}
    assert any(drivers.get((bus, name)) == driver for name in names), names


def test_a_codec_that_the_kernel_asks_for_itself_is_bound(vm: VM) -> None:
    """snd_hda_intel requests its codec's module as the uevent asks for it: whoever comes first, it is driven.

    It looks for codecs in the background, which can end after the first settle.
    """
    wanted = "snd_hda_codec_generic"
    bound = vm.wait_for(lambda r: r.get("subsystem") == "hdaudio" and r.get("driver") == wanted, timeout=200)
    assert vm.check(f"readlink /sys{bound['devpath']}/driver").strip().endswith(f"/{wanted}")


def test_proc_modules_has_what_the_ledger_says(vm: VM, image: BuiltImage) -> None:
    """/proc/modules is what the ledger has inserted, found there with what it needs, or seen appear; none besides."""
    proc = {line.split(" ")[0] for line in vm.check("cat /proc/modules").splitlines()}
    inserted = {
        r["module"] for r in vm.ledger if r["type"] == "load" and r["outcome"] in {"inserted", "live"}
    }
    appeared = {r["module"] for r in vm.ledger if r["type"] == "module" and r["action"] == "add"}
    assert inserted - proc == set()
    live = {r["module"] for r in vm.ledger if r["type"] == "load" and r["outcome"] == "live"}
    assert proc - {*inserted, *appeared, *close(live, read_index(image.kernel))} == set()


def test_every_modalias_in_sys_is_in_the_ledger(vm: VM) -> None:
    """A shell's walk over /sys finds no device with a modalias that the ledger has not, with the same text.

    /sys/devices/system/cpu has a modalias as well, and is no device but the place where the CPUs are.
    """
    listed = vm.check(
        "find /sys/devices -name modalias | while read -r f; do "
        '[ -e "${f%/*}/subsystem" ] && m=$(cat "$f") && [ -n "$m" ] && echo "${f%/modalias} $m"; done',
        timeout=120,
    )
    seen = dict(line.removeprefix("/sys").split(" ", 1) for line in listed.splitlines())
    told = {r["devpath"]: r["modalias"] for r in vm.ledger if r["type"] == "device" and r.get("modalias")}
    assert len(seen) > 80
    assert {path: told.get(path) for path in seen} == seen


def test_the_ledgers_drivers_are_those_in_sys(vm: VM) -> None:
    """For every device of a bus the last driver that the ledger tells is the one that /sys links."""
    listed = vm.check(
        'for d in /sys/bus/*/devices/*; do p=$(readlink -f "$d"); l=$(readlink "$d/driver"); '
        'echo "${p#/sys} ${l##*/}"; done',
        timeout=60,
    )
    linked = dict(line.split(" ", 1) for line in listed.splitlines())
    told: dict[str, str] = {}
    for record in vm.ledger:
        if record["type"] == "device" and (record.get("driver") or record["action"] == "unbind"):
            told[record["devpath"]] = record.get("driver", "")
    assert {path: told.get(path, "") for path in linked} == linked


def test_a_device_without_a_match_is_recorded(vm: VM) -> None:
    """QEMU's test device has a modalias that nothing wants: its record says so with an empty list."""
    lonely = [
        r
        for r in vm.ledger
        if r["type"] == "device" and r.get("modalias", "").startswith("pci:v00001B36d00000005")
    ]
    assert [record["matches"] for record in lonely] == [[]]


def test_a_settled_machine_settles_at_once(vm: VM) -> None:
    """`modaliasd settle` ends with status 0 where nothing is left to do, and says nothing."""
    assert vm.check("modaliasd settle --timeout 5") == ""


def test_every_command_has_its_help_in_the_guest(vm: VM) -> None:
    """Each command's `--help` works in the guest; none of them ends in an error."""
    names = " ".join(name for _, commands in COMMANDS for name, *_ in commands)
    found = vm.check(f"for name in {names}; do modaliasd $name --help | head -n 1; done", timeout=120)
    assert [line.split()[2] for line in found.splitlines()] == names.split()


def test_match_answers_in_the_guest(vm: VM) -> None:
    """`modaliasd match` gives the module of a modalias from the image's index."""
    modalias = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"
    assert vm.check(f"modaliasd match {modalias}") == f"{modalias}\te1000\n"


def test_the_articles_commands_work(vm: VM) -> None:
    """lsmod shows a module, modinfo its description, rmmod takes it out, modprobe brings it back with its device."""
    assert "e1000 " in vm.check("lsmod")
    assert "filename" in vm.check("modinfo e1000")
    vm.check("rmmod e1000")
    assert "e1000 " not in vm.check("cat /proc/modules")
    since = len(vm.ledger)
    vm.check("modprobe e1000")
    bound = vm.wait_for(lambda r: r.get("action") == "bind" and r.get("driver") == "e1000", since=since)
    assert bound["subsystem"] == "pci"
    assert (
        vm.wait_for(lambda r: r["type"] == "module" and r["module"] == "e1000", since=since)["action"]
        == "add"
    )


def test_the_ledger_keeps_to_its_format(vm: VM) -> None:
    """The first line is the start; every record keeps to the schema; times do not run backwards by record type."""
    assert vm.ledger[0]["type"] == "start"
    assert check_records(list(vm.ledger)) > 500
    assert vm.skipped.count == 0


def test_the_kernels_log_has_short_lines(vm: VM) -> None:
    """dmesg tells which device each module was loaded for."""
    lines = [line for line in vm.check("dmesg").splitlines() if "modaliasd" in line]
    assert any("virtio_blk" in line and "virtio" in line for line in lines), lines[:5]
