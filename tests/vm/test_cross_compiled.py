"""Kernels from source for other architectures, by Debian's cross compilers: configured, built, and booted.

`make test` leaves them out, since each takes minutes the first time; `make test-cross` has them.
"""

import os

import pytest

from hostbuild.arch import Arch, is_foreign
from hostbuild.formats.kconfig import Wish, arch_of, parse_config
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.kbuild import fitness
from hostbuild.kbuild.build import build
from hostbuild.kbuild.configfile import read_config_of
from hostbuild.kbuild.configure import configure
from hostbuild.kbuild.source import DEFAULT, require_source
from hostbuild.kbuild.toolchain import tool
from hostbuild.kernels.bzimage import read_arch
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.run import find_program
from hostbuild.ui import Silent
from tests.support.boots import vm_of

pytestmark = [pytest.mark.cross, pytest.mark.vm, pytest.mark.net]

DRIVERS = (
    "virtio_mmio",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "nvme",
    "xhci-pci",
    "usb-storage",
)
LEFT_OUT = (Wish("IPV6", "n", "a tenth of the build"),)
DEVICES = (
    "virtio-rng-device",
    "virtio-blk-pci,serial=v",
    "nvme,serial=n",
    "qemu-xhci,id=x",
    "usb-storage,bus=x.0",
)
MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "virtio_rng", "nvme", "xhci_pci", "usb_storage")


@pytest.mark.parametrize("arch", [Arch.ARM64, Arch.RISCV64], ids=str)
def test_a_kernel_for_another_architecture(arch: Arch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """tinyconfig with the fragments and some drivers is fit and complete; its guest loads what its devices ask for."""
    for program, package in (
        (tool(arch, "gcc"), arch.facts.cross_package),
        (arch.facts.qemu, arch.facts.qemu_package),
    ):
        if is_foreign(arch) and find_program(program) is None:
            pytest.skip(f"{program} is not installed ({package})")
    source = require_source(DEFAULT, Silent())
    made = configure(
        source,
        arch=arch,
        base="tinyconfig",
        wishes=LEFT_OUT,
        modules=DRIVERS,
        lookup=lambda _: (),
        report=Silent(),
    )
    assert made.unmet == ()
    assert arch_of(made.text) is arch
    built = build(source, made.text, jobs=len(os.sched_getaffinity(0)), strip=False, report=Silent())
    assert (built.arch, read_arch(built.vmlinuz)) == (arch, arch)
    text, origin = read_config_of(str(built.vmlinuz))
    assert origin.endswith("(inside)")
    findings = fitness.check(parse_config(text), arch)
    assert [one.requirement.wants for one in findings if not one.met and one.requirement.fix] == []
    release = "sid" if arch is Arch.RISCV64 else ""  # where Debian has its programs
    options = ImageOptions(kernel=str(built.vmlinuz), modules="all", release=release)
    image = build_image(tmp_path_factory.mktemp("image") / "x.img", options)
    machine = read_machine("empty").plus(map(parse_device, DEVICES))
    with vm_of(image, machine, memory="auto", limit_s=500) as vm:
        settled = vm.settled(timeout=400)
        assert settled["failed"] == 0
        loads = {record["module"]: record["outcome"] for record in vm.ledger if record["type"] == "load"}
        assert vm.check("uname -m", timeout=60).strip() == arch.facts.uname
    assert {module: loads.get(module) for module in MODULES} == dict.fromkeys(MODULES, "inserted")
