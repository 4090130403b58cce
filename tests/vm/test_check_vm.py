"""What `hostbuild check` finds matters, and what passes boots: images broken as in tests/host/check, booted."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.check.kernel import read_kernel_of
from hostbuild.check.read import view_image
from hostbuild.check.rules import check, works
from hostbuild.errors import GuestError
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.image.build import BuiltImage
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from hostbuild.ui import Silent
from tests.host.check.test_breaks import other_checksum, swap, unsigned
from tests.support.breakage import Parts, read_parts, without_line, write_parts

pytestmark = pytest.mark.vm

# Kind of finding -> what the guest says
FATAL = {
    "init-missing": "Kernel panic",
    "init-not-executable": "Failed to execute /init (error -13)",
    "interpreter-missing": "Failed to execute /init (error -2)",
    "library-missing": "libc.so.6: cannot open shared object",
}


def found_in(image: BuiltImage, path: Path, append: str = "") -> set[str]:
    """Check an image with the kernel of another."""
    facts = read_kernel_of(image.image, image.manifest, Silent())[1]
    findings = check(view_image(open_image(path), facts, {}, append))
    return {one.id for one in findings if not works([one])}


def machine(image: BuiltImage, path: Path, append: str = "quiet loglevel=6") -> VM:
    """A small machine that boots what became of the image."""
    return VM(
        read_machine("virtio"), Boot(image.kernel.vmlinuz, path, append=append, memory=768, limit_s=240)
    )


def test_what_passes_boots(image: BuiltImage, tmp_path: Path) -> None:
    """Taken apart and put together, the image has no finding, and its disk and card have their drivers."""
    path = write_parts(tmp_path / "whole.img", read_parts(image.image))
    assert found_in(image, path) == set()
    with machine(image, path) as vm:
        vm.settled(timeout=200)
        assert {"virtio_net", "virtio_blk"} <= set(vm.check("lsmod | cut -d' ' -f1").split())


def test_broken_modules_and_tables(image: BuiltImage, tmp_path: Path) -> None:
    """The kernel refuses the checksums and the version magic that were found, and the device without alias waits."""
    parts = read_parts(image.image)
    parts.change("/virtio_net.ko", lambda content: other_checksum(unsigned(content)))
    magic = swap(b"SMP preempt mod_unload", b"SMP preempt mod_unlaod")
    parts.change("/virtio-rng.ko", lambda content: magic(unsigned(content)))
    parts.change("/modules.alias", lambda content: without_line(content, b"alias virtio:d00000002"))
    parts.remove("/modules.alias.trie")
    path = write_parts(tmp_path / "modules.img", parts)
    assert found_in(image, path) == {"symbol-version", "vermagic", "alias-missing", "trie-missing"}
    with machine(image, path) as vm:
        vm.settled(timeout=200)
        loaded = set(vm.check("lsmod | cut -d' ' -f1").split())
        log = vm.check("dmesg")
    assert not {"virtio_net", "virtio_rng", "virtio_blk"} & loaded
    assert re.search("virtio_net: disagrees about version of symbol (__)?register_virtio_driver", log)
    assert "virtio_rng: version magic" in log


def test_signatures_where_they_are_demanded(image: BuiltImage, tmp_path: Path) -> None:
    """With module.sig_enforce the module without signature stays out, and the others come."""
    parts = read_parts(image.image)
    parts.change("/virtio_net.ko", unsigned)
    path = write_parts(tmp_path / "unsigned.img", parts)
    assert found_in(image, path) == set()
    assert found_in(image, path, "module.sig_enforce=1") == {"module-unsigned"}
    with machine(image, path, "quiet module.sig_enforce=1") as vm:
        vm.settled(timeout=200)
        loaded = set(vm.check("lsmod | cut -d' ' -f1").split())
    assert "virtio_blk" in loaded
    assert "virtio_net" not in loaded


@pytest.mark.parametrize("kind", FATAL)
def test_what_is_fatal_stops_the_boot(kind: str, image: BuiltImage, tmp_path: Path) -> None:
    """Without /init the kernel panics; it goes on without one that cannot be run, and nothing is mounted or loaded.

    Where Python lacks a library the daemon never settles.
    """
    parts: Parts = read_parts(image.image)
    if kind == "init-missing":
        del parts["init"]
    elif kind == "init-not-executable":
        parts["init"] = replace(parts["init"], mode=0o100644)
    elif kind == "interpreter-missing":
        parts.put("init", b"#!/bin/bash\n", 0o755)
    else:
        parts.remove("/libc.so.6")
    path = write_parts(tmp_path / "fatal.img", parts)
    assert kind in found_in(image, path)
    with machine(image, path) as vm, pytest.raises(GuestError) as caught:
        vm.settled(timeout=30)
    assert FATAL[kind] in str(caught.value) + vm.console
