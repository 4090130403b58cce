"""hostbuild.formats.image_header and what builds on it: kernel images of arm64 and riscv64, packed or not."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats.image_header import image_arch, image_size, is_kernel_image, unwrap
from hostbuild.formats.sniff import Kind, kind_of_file
from hostbuild.formats.vmlinuz import init_size, kernel_of
from hostbuild.kernels.bzimage import KernelError, parse_version, read_arch, read_vmlinuz

BANNER = b"Linux version 6.1.0-t (somebody@somewhere) (gcc) #1 SMP\0"
SIZE = 0x2010000


def made_image(magic: bytes, banner: bytes = BANNER) -> bytes:
    """An Image as its header has it: the size in memory at 0x10, the magic at 0x38; then the kernel."""
    head = bytearray(0x1000)
    head[:2] = b"MZ"
    struct.pack_into("<Q", head, 0x10, SIZE)
    head[0x38:0x3C] = magic
    return bytes(head) + b"Linux version %s (%s)\0" + bytes(3000) + banner + bytes(100)


IMAGES = {Arch.ARM64: made_image(b"ARM\x64"), Arch.RISCV64: made_image(b"RSC\x05")}


def zboot(image: bytes, name: bytes = b"zstd") -> bytes:
    """The image packed as CONFIG_EFI_ZBOOT=y does (drivers/firmware/efi/libstub/Makefile.zboot)."""
    packed = zstandard.compress(image) if name == b"zstd" else gzip.compress(image)
    head = bytearray(0x200)
    head[:2] = b"MZ"
    head[4:8] = b"zimg"
    struct.pack_into("<II", head, 8, len(head), len(packed))
    head[0x18 : 0x18 + len(name)] = name
    return bytes(head) + packed + b"signature"


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zboot": zboot,
    "zboot, gzip": lambda one: zboot(one, b"gzip"),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("arch", IMAGES, ids=str)
def test_images(arch: Arch, packing: str, tmp_path: Path) -> None:
    """Each is known as a kernel by its beginning, however it is packed; its version, architecture and size are read."""
    path = tmp_path / "Image"
    path.write_bytes(PACKINGS[packing](IMAGES[arch]))
    assert kind_of_file(path) is Kind.KERNEL
    assert read_vmlinuz(path)[0] == "6.1.0-t"
    assert read_arch(path) is arch
    with path.open("rb") as file:
        assert init_size(file.read(1024)) == SIZE
    assert kernel_of(path.read_bytes()) == IMAGES[arch]


def test_other_packed_files_are_no_kernels() -> None:
    """A packed text, an initramfs, half a header: none is taken for a kernel."""
    for data in (gzip.compress(b"070701" + bytes(200)), gzip.compress(b"text"), b"MZ", bytes(0x40), b""):
        assert not is_kernel_image(data)
        assert image_arch(data) is None
        assert image_size(data) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (made_image(b"ARM\x64", b""), "it names no version"),
        (made_image(b"ARM\x64", b"Linux version ../x (y)"), "it names no version"),
        (made_image(b"ARM\x64", b"Linux version 6/b (x)"), "can name no directory"),
        (b"\x7fELF" + bytes(100), "neither a bzImage"),
        (zboot(IMAGES[Arch.ARM64])[:-60], "cut short"),
        (zboot(IMAGES[Arch.ARM64]).replace(b"zstd", b"lzXX"), "packed with 'lzXX'"),
        (gzip.compress(IMAGES[Arch.ARM64])[:-9], "cannot be unpacked"),
    ],
    ids=["no banner", "dots", "a path", "ELF", "cut short", "unknown packing", "cut gzip"],
)
def test_images_that_cannot_be_used(data: bytes, said: str) -> None:
    """The version is refused where it is missing, or would lead elsewhere; what is damaged is said."""
    with pytest.raises(KernelError, match=said):
        parse_version(data)


@given(st.binary(max_size=300), st.sampled_from([b"ARM\x64", b"RSC\x05", b"zimg"]), st.integers(0, 0x40))
def test_nothing_else_is_raised(data: bytes, magic: bytes, at: int) -> None:
    """Whatever the bytes are, the answer is a value, or an InputError."""
    image = bytearray(data.ljust(0x60, b"\0"))
    image[:2] = b"MZ"
    image[at : at + 4] = magic
    image_size(bytes(image))
    image_arch(bytes(image))
    for read in (unwrap, kernel_of, parse_version):
        try:
            read(bytes(image))
        except InputError:
            continue
