"""What a kernel image holds: the compressed kernel inside a bzImage, and the configuration inside the kernel.

Images of other architectures are not packed, or as a whole (image_header.py).

bzImage     boot sector, setup code; at 0x1f1 the number of setup sectors, "HdrS" at 0x202, at 0x248 where
            the payload begins (counted from the end of the setup code), at 0x24c its length, at 0x260
            how much memory the kernel takes until it knows better (init_size)
            (Documentation/arch/x86/boot.rst; protocol 2.08 or newer, 2.10 for init_size)
payload     an ELF file packed by one of the kernel's compressors; all but gzip add four bytes, the plain size
ELF         with CONFIG_IKCONFIG=y: "IKCFG_ST", the gzipped .config, "IKCFG_ED" (kernel/configs.c)
"""

import lzma
import struct

from hostbuild.errors import InputError
from hostbuild.formats.compress import Compressor, detect
from hostbuild.formats.image_header import ImageKind, image_kind, image_size, unwrap
from hostbuild.formats.unpack import CompressionError, decompress

_ELF = b"\x7fELF"
_ELF64_LITTLE = _ELF + b"\x02\x01"
_PT_NOTE, _PHYS32_ENTRY = 4, 18
_HEADER = b"HdrS"
_CONFIG_START = b"IKCFG_ST\x1f\x8b"
_PAYLOAD_FIELDS = 0x0208  # the first boot protocol with payload_offset and payload_length
_INIT_SIZE_FIELD = 0x020A

_LZMA = b"\x5d\x00\x00"  # too short to be told from other data by compress.detect()
_LZO = b"\x89LZO"  # no decoder here


def kernel_of(image: bytes) -> bytes:
    """Return the kernel inside an image, or the image itself where nothing is packed (vmlinux, arm64's Image)."""
    image = unwrap(image)
    kind = image_kind(image)
    if image.startswith(_ELF) or kind in (ImageKind.ARM64, ImageKind.RISCV):
        return image
    if kind is not ImageKind.BZIMAGE:
        raise InputError(
            "neither an x86 bzImage (vmlinuz), an arm64 or riscv Image nor an ELF file (vmlinux)"
        )
    (protocol,) = struct.unpack_from("<H", image, 0x206)
    if protocol < _PAYLOAD_FIELDS:
        raise InputError(
            f"its boot protocol {protocol >> 8}.{protocol & 0xFF:02} does not say where the kernel is"
        )
    sectors = image[0x1F1] or 4  # 0 means 4, for the oldest kernels
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if len(payload) < length:
        raise InputError(
            f"cut short: the kernel inside ends at byte {start + length}, the file at {len(image)}"
        )
    return _unpack(payload)


def init_size(image: bytes) -> int | None:
    """Return how many bytes of memory an image says it needs to start, None if none. Its first KiB is enough."""
    if image_kind(image) is not ImageKind.BZIMAGE:
        return image_size(image)
    if len(image) < 0x264:
        return None
    (protocol,) = struct.unpack_from("<H", image, 0x206)
    if protocol < _INIT_SIZE_FIELD:
        return None
    (size,) = struct.unpack_from("<I", image, 0x260)
    return int(size) or None


def has_pvh_entry(kernel: bytes) -> bool:
    """Return whether a kernel's ELF file can be entered as it is, by PVH: it has the note XEN_ELFNOTE_PHYS32_ENTRY.

    Source: arch/x86/platform/pvh/head.S; include/xen/interface/elfnote.h.
    """
    if not kernel.startswith(_ELF64_LITTLE):
        return False
    try:
        (start,) = struct.unpack_from("<Q", kernel, 32)
        size, count = struct.unpack_from("<HH", kernel, 54)
        for n in range(count):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", kernel, start + n * size)
            if kind == _PT_NOTE and (b"Xen\0", _PHYS32_ENTRY) in _notes(kernel[offset : offset + length]):
                return True
    except struct.error:
        pass
    return False


def _notes(data: bytes) -> set[tuple[bytes, int]]:
    """Give the owners and types of an ELF file's notes (elf(5))."""
    found, at = set(), 0
    while at + 12 <= len(data):
        name, content, kind = struct.unpack_from("<III", data, at)
        found.add((data[at + 12 : at + 12 + name], kind))
        at += 12 + (name + 3 & ~3) + (content + 3 & ~3)
    return found


def find_ikconfig(kernel: bytes) -> str | None:
    """Find the configuration in a kernel's ELF file; None if it was built without CONFIG_IKCONFIG=y."""
    start = kernel.find(_CONFIG_START)
    if start < 0:
        return None
    try:
        text, _ = decompress(Compressor.GZIP, kernel[start + 8 :])
    except CompressionError as e:
        raise InputError(f"the configuration inside the kernel cannot be unpacked: {e}") from e
    return text.decode("utf-8", "replace")


def config_in(image: bytes) -> str | None:
    """Find the configuration in a kernel image; None where there is none, or the image cannot be unpacked."""
    try:
        return find_ikconfig(kernel_of(image))
    except InputError:
        return None


def _unpack(payload: bytes) -> bytes:
    if payload.startswith(_LZO):
        raise InputError("the kernel inside is packed with lzo, which hostbuild does not unpack")
    if payload.startswith(_LZMA):
        return _unpack_lzma(payload[:-4])
    compressor = detect(payload)
    if compressor is Compressor.NONE and not payload.startswith(_ELF):
        raise InputError(
            f"the kernel inside is packed in an unknown way (it begins with {payload[:4].hex(' ')})"
        )
    stream = payload if compressor in (Compressor.GZIP, Compressor.NONE) else payload[:-4]
    try:
        plain, _ = decompress(compressor, stream)
    except CompressionError as e:
        raise InputError(f"the kernel inside cannot be unpacked: {e}") from e
    return plain


def _unpack_lzma(stream: bytes) -> bytes:
    try:
        return lzma.decompress(stream, lzma.FORMAT_ALONE)
    except lzma.LZMAError as e:
        raise InputError(f"the kernel inside cannot be unpacked: {e}") from e
