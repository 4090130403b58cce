"""hostbuild.formats.vmlinuz: the kernel inside a bzImage, and the configuration inside the kernel."""

import bz2
import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from hostbuild.errors import InputError
from hostbuild.formats.compress import Compressor, Packing, sink
from hostbuild.formats.vmlinuz import find_ikconfig, init_size, kernel_of
from hostbuild.kernels.kernel import Kernel
from tests.support.programs import require_program

_CONFIG = "CONFIG_MODULES=y\n"
_ELF = b"\x7fELF" + b"\0" * 3000 + b"IKCFG_ST" + gzip.compress(_CONFIG.encode()) + b"IKCFG_ED" + b"rest" * 100


def _lz4(data: bytes) -> bytes:
    packer = sink(Packing(Compressor.LZ4), 1 << 20)
    return packer.compress(data) + packer.flush()


# as scripts/Makefile.lib packs them: all but gzip are followed by the plain size
_SIZE = struct.pack("<I", len(_ELF))
_PACKINGS: dict[str, Callable[[], bytes]] = {
    "none": lambda: _ELF,
    "gzip": lambda: gzip.compress(_ELF),
    "xz": lambda: lzma.compress(_ELF) + _SIZE,
    "zstd": lambda: zstandard.compress(_ELF) + _SIZE,
    "bzip2": lambda: bz2.compress(_ELF) + _SIZE,
    "lz4": lambda: _lz4(_ELF) + _SIZE,
    "lzma": lambda: lzma.compress(_ELF, lzma.FORMAT_ALONE) + _SIZE,
}


def _bz_image(payload: bytes, *, protocol: int = 0x020F, sectors: int = 3) -> bytes:
    header = bytearray(0x400)
    header[0x1F1] = sectors
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x206, protocol)
    struct.pack_into("<II", header, 0x248, 0x100, len(payload))
    return bytes(header).ljust((sectors + 1) * 512, b"\0") + b"\xcc" * 0x100 + payload + b"padding"


@pytest.mark.parametrize("packing", _PACKINGS)
def test_the_kernel_is_unpacked(packing: str) -> None:
    """Whatever the kernel is packed with, the ELF file inside comes out, and its configuration is found."""
    kernel = kernel_of(_bz_image(_PACKINGS[packing]()))
    assert kernel == _ELF
    assert find_ikconfig(kernel) == _CONFIG


def test_a_plain_vmlinux_is_taken_as_it_is() -> None:
    """An ELF file is the kernel itself."""
    assert find_ikconfig(kernel_of(_ELF)) == _CONFIG


def test_an_arm64_image_is_taken_as_it_is() -> None:
    """An Image of arm64, which nothing packs, is the kernel itself."""
    image = b"\0" * 0x38 + b"ARM\x64" + b"\0" * 4 + _ELF
    assert find_ikconfig(kernel_of(image)) == _CONFIG


def test_a_kernel_without_ikconfig_has_none() -> None:
    """No configuration inside is no error."""
    assert find_ikconfig(b"\x7fELF IKCFG_ST is only mentioned here") is None


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"", "neither an x86 bzImage"),
        (_bz_image(_ELF, protocol=0x0207), "boot protocol 2.07"),
        (_bz_image(gzip.compress(_ELF))[:-200], "cut short"),
        (_bz_image(b"\x89LZO rest"), "packed with lzo"),
        (_bz_image(b"what is this"), r"unknown way \(it begins with 77 68 61 74\)"),
        (_bz_image(b"\xfd7zXZ\0" + b"damaged" * 9), "cannot be unpacked"),
        (_bz_image(b"\x5d\0\0" + b"damaged" * 9), "cannot be unpacked"),
    ],
    ids=["empty", "old-protocol", "short", "lzo", "unknown", "damaged", "damaged-lzma"],
)
def test_what_cannot_be_read_is_said(image: bytes, complaint: str) -> None:
    """Each way of not being readable has its own words."""
    with pytest.raises(InputError, match=complaint):
        kernel_of(image)


@pytest.mark.toolchain
def test_debians_kernel_unpacks_to_an_elf_file(debian_kernel: Kernel, tmp_path: Path) -> None:
    """The kernel inside Debian's vmlinuz is a 64-bit x86 executable, says readelf."""
    (tmp_path / "vmlinux").write_bytes(kernel_of(debian_kernel.vmlinuz.read_bytes())[:4096])
    header = subprocess.run(
        [require_program("readelf"), "-h", tmp_path / "vmlinux"], capture_output=True, text=True, check=False
    ).stdout
    assert "ELF64" in header
    assert "X86-64" in header


def test_a_damaged_configuration_inside_is_said() -> None:
    """It is there, and cannot be read: that is no kernel without one."""
    with pytest.raises(InputError, match="the configuration inside the kernel cannot be unpacked"):
        find_ikconfig(b"\x7fELF" + b"IKCFG_ST" + gzip.compress(_CONFIG.encode())[:-6])


def test_what_a_bzimage_needs_to_start() -> None:
    """init_size of the boot protocol 2.10 and later; an older one, and what is no bzImage, does not say."""
    image = bytearray(_bz_image(_ELF))
    struct.pack_into("<I", image, 0x260, 12 << 20)
    assert init_size(bytes(image)) == 12 << 20
    struct.pack_into("<H", image, 0x206, 0x0209)
    assert init_size(bytes(image)) is None
    assert init_size(_ELF) is None
    assert init_size(bytes(image)[:0x250]) is None
