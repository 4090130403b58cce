"""What users add with --overlay takes its part in the boot: programs of /etc/settled.d, another inittab."""

import lzma
import subprocess
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.modules.storage import Store
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.machine import read_machine
from tests.support.boots import vm_of
from tests.support.commandline import hostbuild_argv
from tests.support.kernelfiles import plain_module
from tests.support.ledgers import read_ledger
from tests.support.schema import check_records

pytestmark = pytest.mark.vm


def write_program(path: Path, text: str) -> None:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def build(tmp_path: Path) -> BuiltImage:
    """An image of virtio's modules with the overlay in `tmp_path`/overlay."""
    options = ImageOptions("deb:linux-image-amd64", modules="virtio", overlays=(tmp_path / "overlay",))
    return build_image(tmp_path / "own.img", options)


def test_programs_run_once_settled_and_their_failures_are_the_exit_status(
    debian_kernel: Kernel, tmp_path: Path
) -> None:
    """They run in the order of their names, on the console, with the disk there; the first failure is the status."""
    assert debian_kernel
    programs = tmp_path / "overlay/etc/settled.d"
    write_program(programs / "20-second", "echo the second: $(cat /sys/block/vda/size)")
    write_program(programs / "10-first", "echo the first; exit 7")
    (programs / "30-not-executable").write_text("echo never\n", encoding="utf-8")
    built, ledger = build(tmp_path), tmp_path / "boot.jsonl"
    options: list[str | Path] = [
        "--exit-when-settled",
        "--accel",
        "tcg",
        "--timeout",
        "200",
        "--ledger-out",
        ledger,
    ]
    argv = hostbuild_argv("run", built.image, *options)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done
    console = done.stdout
    assert (
        console.index("the first")
        < console.index("10-first ended with status 7")
        < console.index("the second: ")
    )
    assert "the second: 131072" in console
    assert "never" not in console
    records = read_ledger(ledger)
    check_records(records)
    assert [record["status"] for record in records if record["type"] == "exit"] == [7]


def test_an_image_can_do_without_the_daemon(debian_kernel: Kernel, tmp_path: Path) -> None:
    """With `modaliasd coldplug --once` in its inittab everything is loaded, and no daemon stays."""
    assert debian_kernel
    inittab = tmp_path / "overlay/etc/inittab"
    inittab.parent.mkdir(parents=True)
    inittab.write_text(
        "::wait:/usr/bin/modaliasd coldplug --once\n::once:/usr/lib/micro/agent\n", encoding="utf-8"
    )
    built = build(tmp_path)
    with vm_of(built, read_machine("virtio"), limit_s=240) as vm:
        vm.settled(timeout=200)
        assert vm.check("cat /sys/block/vda/size").strip() == "131072"
        assert vm.sh("pidof modaliasd").status == 1
        assert "virtio_blk" in vm.check("modaliasd tree --color never", timeout=60)
        assert vm.ledger[0]["type"] == "start"
        check_records(list(vm.ledger))


def test_a_module_of_an_overlay_is_loaded_for_its_device(debian_kernel: Kernel, tmp_path: Path) -> None:
    """A driver that only an overlay has is found by its alias, from a squashfs as well, and its modprobe.d counts."""
    inside = f"overlay/lib/modules/{debian_kernel.version}/updates/virtio-rng.ko.xz"
    (tmp_path / inside).parent.mkdir(parents=True)
    (tmp_path / inside).write_bytes(lzma.compress(plain_module(debian_kernel, "virtio-rng")))
    configuration = tmp_path / "overlay/etc/modprobe.d/rng.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("softdep virtio-rng pre: dummy\n")
    options = ImageOptions(
        "deb:linux-image-amd64",
        modules="virtio,-virtio_rng",
        overlays=(tmp_path / "overlay",),
        store=Store.SQUASHFS_ZSTD,
    )
    built, ledger = build_image(tmp_path / "own.img", options), tmp_path / "boot.jsonl"
    words: list[str | Path] = [
        "--machine",
        "virtio",
        "--exit-when-settled",
        "--accel",
        "tcg",
        "--timeout",
        "200",
    ]
    argv = hostbuild_argv("run", built.image, *words, "--ledger-out", ledger)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done
    loads = {record["module"]: record for record in read_ledger(ledger) if record["type"] == "load"}
    assert loads["virtio_rng"]["outcome"] == "inserted"
    assert loads["dummy"]["outcome"] == "inserted"
