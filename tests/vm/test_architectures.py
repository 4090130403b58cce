"""Images of other architectures, made here and booted in their QEMU: coldplug, hotplug, commands, the end. A boot each.

riscv64 is left out of `make test`; `make test-riscv64` has it.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hostbuild.apt import Lists
from hostbuild.arch import Arch
from hostbuild.errors import WorldError
from hostbuild.formats.elf_sections import machine_of
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from hostbuild.run import find_program
from tests.support.boots import vm_of
from tests.support.programs import require_program
from tests.support.schema import check_records
from tests.support.udevd import WAIT, make_choice

pytestmark = [pytest.mark.vm, pytest.mark.net]

MODULES = "virtio,nvme,e1000e,usb-storage,xhci-pci,usbhid,hid-generic,ahci,sd_mod,sdhci-pci,mmc_block,e1000,qemu_fw_cfg"
USB = (("usb-storage", "usb-storage", "xhci.0"), ("usb-kbd", "usbhid", "xhci.0"))
PCI = (("virtio-blk-pci", "virtio_blk", ""), ("nvme", "nvme", ""), ("e1000e", "e1000e", ""))


Record = dict[str, Any]


def bound_to(driver: str) -> Callable[[Record], bool]:
    return lambda record: record.get("action") == "bind" and record.get("driver") == driver


def removal_of(devpath: str) -> Callable[[Record], bool]:
    return lambda record: record.get("action") == "remove" and record.get("devpath") == devpath


@dataclass(frozen=True, slots=True)
class Wanted:
    """An architecture: where its packages are, the machine, and what is plugged in: device, driver, bus."""

    arch: Arch
    release: str
    machine: str
    plugs: tuple[tuple[str, str, str], ...]


ARM64 = Wanted(Arch.ARM64, "", "virt-arm64", (*PCI, *USB))
# Debian's riscv64 kernels take no PCI cards while they run (CONFIG_HOTPLUG_PCI is off).
RISCV64 = Wanted(Arch.RISCV64, "sid", "virt-riscv64", USB)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ARM64, id="arm64"),
        pytest.param(RISCV64, id="riscv64", marks=pytest.mark.riscv64),
    ],
)
def wanted(request: pytest.FixtureRequest) -> Wanted:
    """The architectures whose QEMU is here."""
    found: Wanted = request.param
    if find_program(found.arch.facts.qemu) is None:
        pytest.skip(f"{found.arch.facts.qemu} is not installed ({found.arch.facts.qemu_package})")
    return found


@pytest.fixture(scope="module")
def built(wanted: Wanted, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with what the machine needs."""
    options = ImageOptions(arch=wanted.arch, release=wanted.release, modules=MODULES)
    try:
        return build_image(tmp_path_factory.mktemp("image") / "micro.img", options)
    except WorldError as e:
        pytest.skip(f"the architecture's packages are out of reach: {e}")


@pytest.fixture(scope="module")
def guest(wanted: Wanted, built: BuiltImage) -> Iterator[VM]:
    """The machine, settled."""
    with vm_of(built, read_machine(wanted.machine), limit_s=500) as vm:
        vm.settled(timeout=400)
        yield vm


def test_every_program_is_of_the_architecture(wanted: Wanted, built: BuiltImage, tmp_path: Path) -> None:
    """No ELF file of the image is this machine's; nothing of what was run for it has got into it."""
    plain = subprocess.run(["zstd", "-dc", built.image], capture_output=True, timeout=60, check=True).stdout
    unpack = ["bsdtar", "-xf", "-", "--exclude", "dev/*", "-C", str(tmp_path)]
    subprocess.run(unpack, input=plain, timeout=60, check=True)
    programs = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    machines = [machine_of(data) for data in programs if data.startswith(b"\x7fELF")]
    assert len(machines) > 50
    assert set(machines) == {wanted.arch.facts.elf}
    assert built.manifest["kernel"]["arch"] == wanted.arch.value
    assert "warnings" not in built.manifest


def test_everything_there_is_loaded_for(wanted: Wanted, guest: VM) -> None:
    """All loads succeed, and devices of the device tree (of:), of PCI and of USB are bound to their drivers."""
    settled = guest.settled()
    assert settled["failed"] == 0
    check_records(guest.ledger)
    assert guest.check("uname -m").strip() == wanted.arch.facts.uname
    bound = guest.check(
        "for d in $(find /sys/devices -name driver); do echo $(cat ${d%/driver}/modalias) $(readlink $d); done",
        timeout=120,
    )
    drivers = {(line.partition(":")[0], line.rpartition("/")[2]) for line in bound.splitlines()}
    assert drivers >= {
        *(("of", driver) for driver in ("virtio-mmio", "fw_cfg")),
        *(
            ("pci", driver)
            for driver in ("virtio-pci", "nvme", "ahci", "e1000", "e1000e", "xhci_hcd", "serial")
        ),
        *(("virtio", driver) for driver in ("virtio_blk", "virtio_net", "virtio_scsi", "virtio_rng")),
        *(("usb", driver) for driver in ("usb-storage", "usbhid")),
    }


def test_the_same_modules_as_under_udevd(
    wanted: Wanted, guest: VM, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Debian's udevd of that architecture, with all its rules, brings the same modules in, for the same devices.

    It boots from a device tree given with --dtb: QEMU's own, and a node more, which the kernel makes a device of.
    """
    if wanted is not ARM64:
        pytest.skip("udevd was tried on arm64 only")
    ours = set(guest.check(WAIT, timeout=120).split())
    directory = tmp_path_factory.mktemp("udev")
    lists = Lists(wanted.release, wanted.arch.value)
    options = ImageOptions(
        arch=wanted.arch,
        release=wanted.release,
        modules=MODULES,
        modprobe=Modprobe.KMOD,
        overlays=(make_choice(directory / "overlay", lists),),
    )
    image = build_image(directory / "udev.img", options)
    tree = own_tree(wanted, directory)
    machine = read_machine(wanted.machine)
    with vm_of(image, machine, append="quiet loader=udevd", memory="1024", dtb=tree, limit_s=400) as vm:
        theirs = set(vm.check(WAIT, timeout=350).split())
        added = vm.check("cat /sys/bus/platform/devices/*/modalias", timeout=60).split()
    assert len(theirs) > 20
    assert theirs == ours
    assert "of:NaddedT(null)Cacme,added" in added


def own_tree(wanted: Wanted, directory: Path) -> Path:
    """Have QEMU write the device tree of its board, and add a node."""
    blob, text = directory / "board.dtb", directory / "board.dts"
    machine = ["-machine", f"virt,gic-version=max,dumpdtb={blob}", "-cpu", "cortex-a57", "-m", "1024"]
    subprocess.run([wanted.arch.facts.qemu, *machine, "-display", "none"], timeout=60, check=True)
    dtc = [require_program("dtc"), "-q"]
    subprocess.run([*dtc, "-I", "dtb", "-O", "dts", "-o", text, blob], timeout=60, check=True)
    text.write_text(f'{text.read_text()}\n/ {{ added {{ compatible = "acme,added"; }}; }};\n')
    subprocess.run([*dtc, "-I", "dts", "-O", "dtb", "-o", blob, text], timeout=60, check=True)
    return blob


def test_what_is_plugged_in_is_bound_and_let_go(wanted: Wanted, guest: VM) -> None:
    """Each gets its driver; the first and the last are taken out again, and the ledger tells of it."""
    since = len(guest.ledger)
    ids = [guest.device_add(device, bus=bus) for device, _, bus in wanted.plugs]
    bound = [
        guest.wait_for(
            bound_to(driver),
            timeout=90,
            since=since,
        )
        for _, driver, _ in wanted.plugs
    ]
    guest.check("modaliasd settle --timeout 60", timeout=70)
    for at in (0, -1):
        guest.device_del(ids[at], timeout=60)
        gone = bound[at]["devpath"]
        guest.wait_for(
            removal_of(gone),
            timeout=60,
            since=since,
        )
    assert not [record for record in guest.ledger[since:] if record.get("outcome") == "failed"]


def test_a_tree_and_its_reasons(guest: VM) -> None:
    """The ledger's readers in the guest know what the device tree asked for."""
    said = guest.check("modaliasd why virtio_mmio", timeout=120)
    assert "of:Nvirtio_mmioT(null)Cvirtio,mmio" in said
    node = re.search(r"which is  node (/\S*virtio_mmio@\w+), compatible virtio,mmio", said)
    assert node
    assert guest.check(f"cat /sys/firmware/devicetree/base{node[1]}/compatible").strip("\0") == "virtio,mmio"
    assert f"node {node[1]}, compatible virtio,mmio" in guest.check("modaliasd tree", timeout=120)


def test_the_end_has_its_status(guest: VM) -> None:
    """The guest switches itself off, and its status comes through."""
    guest.run(["sh", "-c", "modaliasd poweroff 7 >/dev/null 2>&1 &"])
    assert guest.wait(timeout=90) == 7
    assert not guest.running


def test_the_same_inputs_give_the_same_bytes(wanted: Wanted, built: BuiltImage, tmp_path: Path) -> None:
    """An image of another architecture is as repeatable as one of our own."""
    options = ImageOptions(arch=wanted.arch, release=wanted.release, modules=MODULES)
    again = build_image(tmp_path / "again.img", options)
    assert again.image.read_bytes() == built.image.read_bytes()
