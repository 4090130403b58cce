"""A unified kernel image under UEFI: firmware starts it, its kernel unpacks the image, the daemon settles."""

import gzip
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.formats.microcode import Vendor
from hostbuild.formats.pe import sections_of
from tests.host.image.test_behind import archive
from tests.support.commandline import invoke
from tests.support.earlycpio import find_early
from tests.support.microcodefiles import intel_update
from tests.support.programs import require_program

pytestmark = [pytest.mark.vm, pytest.mark.net]

LIMIT_S = 400.0  # firmware is slow where it is emulated


def test_firmware_starts_it(tmp_path: Path) -> None:
    """OVMF finds it as EFI/BOOT/BOOTX64.EFI; its command line holds, and the disk that it lies on gets its driver.

    With microcode in front, and an image behind whose script runs.
    """
    uki = tmp_path / "esp/EFI/BOOT/BOOTX64.EFI"
    uki.parent.mkdir(parents=True)
    firmware, behind = tmp_path / "intel.bin", tmp_path / "behind.img"
    firmware.write_bytes(intel_update())
    behind.write_bytes(
        gzip.compress(archive({"etc/settled.d/say": b"#!/bin/sh\necho from behind > /dev/console\n"}))
    )
    words: list[str | Path] = ["-o", tmp_path / "x.img", "--kernel", "deb:linux-image-amd64"]
    words += ["--modules", "virtio", "--uki", uki, "--append", "console=ttyS0 hello=world"]
    done = invoke("make-image", *words, "--microcode", firmware, "--append-image", behind)
    assert done.exit_code == 0, done.output
    made = {one.name: one.content for one in sections_of(uki.read_bytes())}
    assert made[".cmdline"].endswith(b"console=ttyS0 hello=world")
    assert find_early(made[".initrd"], Vendor.INTEL.path) == firmware.read_bytes()
    assert made[".initrd"] == (tmp_path / "x.img").read_bytes()
    console = _boot(tmp_path, b"from behind")
    assert b"hello=world" in console
    assert b"virtio_blk inserted" in console
    assert b"settled:" in console
    assert b"from behind" in console


def _boot(directory: Path, until: bytes) -> bytes:
    """Boot what lies in directory/esp until the console says so, or the time is up; give the console."""
    [package] = debs.describe(["ovmf"])
    firmware = debs.require_unpacked(package) / "usr/share/OVMF"
    shutil.copy(firmware / "OVMF_VARS_4M.fd", directory / "vars.fd")
    flash = "if=pflash,format=raw,file="
    argv = [
        require_program("qemu-system-x86_64"),
        "-M",
        "q35",
        "-m",
        "512",
        "-nodefaults",
        "-display",
        "none",
    ]
    argv += ["-no-reboot", "-icount", "shift=0,sleep=off", "-serial", f"file:{directory / 'console'}"]
    argv += [
        "-drive",
        f"{flash}{firmware / 'OVMF_CODE_4M.fd'},readonly=on",
        "-drive",
        f"{flash}{directory / 'vars.fd'}",
    ]
    argv += ["-drive", f"file=fat:{directory / 'esp'},format=raw,if=none,id=esp,readonly=on"]
    argv += ["-device", "virtio-blk-pci,drive=esp,bootindex=0"]
    with subprocess.Popen(argv) as qemu:
        try:
            end = time.monotonic() + LIMIT_S
            while time.monotonic() < end and qemu.poll() is None:
                time.sleep(0.5)
                console = directory / "console"
                if console.exists() and until in console.read_bytes():
                    break
        finally:
            qemu.kill()
    return (directory / "console").read_bytes()
