"""The version that a kernel's boot header names, and what is said of a recorded kernel that is none any more."""

import struct
from pathlib import Path
from typing import Any

import pytest

from hostbuild.formats.manifest import ManifestError
from hostbuild.kernels.bzimage import KernelError, parse_version
from hostbuild.kernels.image_kernel import require_vmlinuz
from hostbuild.ui import Silent


def header(version: bytes, offset: int = 0x600) -> bytes:
    """The first kilobytes of a bzImage."""
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, offset)
    head[offset + 0x200 : offset + 0x200 + len(version)] = version
    return bytes(head)


def test_the_version_is_the_first_word() -> None:
    """The string goes on with who built it, and when (arch/x86/boot/version.c)."""
    assert parse_version(header(b"6.1.0-56-amd64 (debian@x) #1 SMP\0")) == "6.1.0-56-amd64"


@pytest.mark.parametrize(
    ("vmlinuz", "words"),
    [
        (b"\x7fELF" + bytes(4096), "no boot header of x86, arm64 or riscv"),
        (header(b"", offset=0), "its boot header names no version"),
        (header(b"\0"), "its boot header names no version"),
        (header(b"../../etc\0"), "can name no directory of modules"),
    ],
    ids=["ELF", "no offset", "empty", "a path"],
)
def test_what_names_no_version(vmlinuz: bytes, words: str) -> None:
    """It becomes a directory's name, so what could lead out of it is refused, too."""
    with pytest.raises(KernelError, match=words):
        parse_version(vmlinuz)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere", "it does not exist"),
        ("/proc/self/fd", "it is not a regular file"),
        ("/proc/self/mem", "cannot read it: Input/output error"),
    ],
)
def test_a_recorded_kernel_that_is_not_to_be_had(place: str, reason: str, tmp_path: Path) -> None:
    """Each place that was looked at is named with its reason, and the options that help."""
    record: dict[str, Any] = {"version": "6.1.0-test", "sha256": "0" * 64, "vmlinuz": place}
    with pytest.raises(ManifestError, match=f"{place}: {reason}") as caught:
        require_vmlinuz(tmp_path / "micro.img", {"kernel": record}, Silent())
    assert "--kernel VMLINUZ" in (caught.value.hint or "")
