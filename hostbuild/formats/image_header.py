"""What the first bytes of a bootable kernel image say: its kind, its architecture, the memory it takes.

bzImage      x86: "HdrS" at 0x202 (Documentation/arch/x86/boot.rst)
Image        arm64: "ARM\\x64" at 0x38 (Documentation/arch/arm64/booting.rst); riscv: "RSC\\x05" there
             (Documentation/arch/riscv/boot-image-header.rst); both have at 0x10 the bytes that they take in memory,
             u64, those that begin as zeros included. Nothing is packed in it. Debian calls arm64's vmlinuz
EFI zboot    "MZ", at 4 "zimg", at 8 and 12 where an Image is packed in it and its length, at 24 how: "gzip", "zstd"
             (drivers/firmware/efi/libstub/zboot-header.S)
Image.gz     an Image packed by gzip, or another of the kernel's compressors: what QEMU and boot loaders unpack
"""

import io
import struct
from contextlib import suppress
from enum import Enum

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats.compress import Compressor, detect
from hostbuild.formats.unpack import CompressionError, decompress, unpacked

_AT = 0x38
_ENOUGH = 0x40  # bytes of an Image's header
_MOST = 1 << 30  # bytes of an Image that are unpacked
_ZBOOT_NAMES = {
    b"gzip": Compressor.GZIP,
    b"zstd": Compressor.ZSTD,
    b"xz": Compressor.XZ,
    b"lz4": Compressor.LZ4,
}


class ImageKind(Enum):
    """How a kernel is wrapped; the value is for messages."""

    BZIMAGE = "an x86 bzImage"
    ARM64 = "an arm64 Image"
    RISCV = "a riscv Image"
    ZBOOT = "an EFI zboot image"


_ARCH_OF = {ImageKind.BZIMAGE: Arch.AMD64, ImageKind.ARM64: Arch.ARM64, ImageKind.RISCV: Arch.RISCV64}


def image_kind(head: bytes) -> ImageKind | None:
    """Tell what an image is by its first KiB; None for what is none of these, a packed Image too."""
    if head[0x202:0x206] == b"HdrS":
        return ImageKind.BZIMAGE
    if head[_AT : _AT + 4] == b"ARM\x64":
        return ImageKind.ARM64
    if head[_AT : _AT + 4] == b"RSC\x05":
        return ImageKind.RISCV
    if head[:2] == b"MZ" and head[4:8] == b"zimg":
        return ImageKind.ZBOOT
    return None


def is_kernel_image(head: bytes) -> bool:
    """Tell whether a file is a bootable kernel image, by its first KiB or more."""
    return image_kind(head) is not None or image_kind(_unpacked_head(head)) is not None


def unwrap(image: bytes) -> bytes:
    """Return the Image inside a zboot image or a packed one; any other image as it is. Raises InputError."""
    if image_kind(image) is ImageKind.ZBOOT:
        return _of_zboot(image)
    compressor = detect(image[:8])
    if image_kind(image) is not None or compressor is Compressor.NONE or not is_kernel_image(image):
        return image
    return _decompressed(compressor, image)


def image_arch(image: bytes) -> Arch | None:
    """Return the architecture that an image is for; None for what is no kernel image, or cannot be unpacked."""
    with suppress(InputError):
        kind = image_kind(unwrap(image))
        return _ARCH_OF.get(kind) if kind is not None else None
    return None


def image_size(head: bytes) -> int | None:
    """Return the bytes of memory that an Image takes, by its header; None for others, and where it says none."""
    if image_kind(head) not in (ImageKind.ARM64, ImageKind.RISCV):
        inside = _unpacked_head(head)
        if image_kind(inside) not in (ImageKind.ARM64, ImageKind.RISCV):
            return None
        head = inside
    (size,) = struct.unpack_from("<Q", head, 0x10)
    return int(size) if 0 < size < _MOST else None


def _of_zboot(image: bytes) -> bytes:
    if len(image) < 0x20:
        raise InputError("cut short: a zboot header has 32 bytes")
    offset, length = struct.unpack_from("<II", image, 8)
    name = image[0x18:0x20].partition(b"\0")[0]
    payload = image[offset : offset + length]
    if len(payload) < length:
        raise InputError(
            f"cut short: the kernel inside ends at byte {offset + length}, the file at {len(image)}"
        )
    if name not in _ZBOOT_NAMES:
        raise InputError(
            f"the kernel inside is packed with {name.decode('ascii', 'replace')!r}, unknown here"
        )
    return _decompressed(_ZBOOT_NAMES[name], payload)


def _decompressed(compressor: Compressor, data: bytes) -> bytes:
    try:
        plain, _ = decompress(compressor, data)
    except CompressionError as e:
        raise InputError(f"the kernel inside cannot be unpacked: {e}") from e
    return plain


def _unpacked_head(head: bytes) -> bytes:
    """Unpack the beginning of a packed file, or of what a zboot image holds; b"" where nothing is packed."""
    compressor = detect(head[:8])
    if image_kind(head) is ImageKind.ZBOOT and len(head) >= 0x20:
        (offset,) = struct.unpack_from("<I", head, 8)
        head = head[offset:]
        compressor = detect(head[:8])
    if compressor is Compressor.NONE:
        return b""
    plain = bytearray()
    with suppress(CompressionError, MemoryError):  # it is cut short
        for piece in unpacked(compressor, io.BytesIO(head)):
            plain += piece
            if len(plain) >= _ENOUGH:
                break
    return bytes(plain[:4096])
