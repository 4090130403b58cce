"""The members of an initramfs image, found as the kernel finds them (init/initramfs.c, unpack_to_rootfs).

An image is a chain of newc archives, plain or in compressed streams, with NULs between them: distributions put CPU
microcode into a first, plain archive, and the rest into a second, compressed one. A plain archive begins at a multiple
of 4; what begins with anything but a `0` or a NUL has to be compressed, which the kernel tells by two bytes
(lib/decompress.c). Behind it may lie a bootconfig, which the kernel takes away before it unpacks
(Documentation/admin-guide/bootconfig.rst):

    key-value text, padded with NULs   its size, le32   its checksum, le32   "#BOOTCONFIG\\n"   up to 3 bytes
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hostbuild.errors import HostbuildError
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs import newc
from hostbuild.formats.initramfs.newc import Body, Member, NewcError
from hostbuild.formats.initramfs.pieces import Pieces
from hostbuild.formats.unpack import CompressionError, unpacked

_PIECE = 1 << 18
UNPACKED_MAX = 1 << 34  # bytes: a guest has to hold them in its memory
_MAGICS = (  # compressed_formats
    (b"\x1f\x8b", Compressor.GZIP),
    (b"\x1f\x9e", Compressor.GZIP),
    (b"BZ", Compressor.BZIP2),
    (b"\x5d\x00", Compressor.LZMA),
    (b"\xfd7", Compressor.XZ),
    (b"\x89L", Compressor.LZO),
    (b"\x02\x21", Compressor.LZ4),
    (b"\x28\xb5", Compressor.ZSTD),
)
_NEWC = "write it with cpio -o -H newc; bsdtar -cf NEW --format newc @OLD converts it"
_FOREIGN = (  # what the kernel does not take, but people have: (magic, what it is, fix)
    (b"\xc7\x71", "an archive of cpio's old binary format", _NEWC),
    (b"\x71\xc7", "an archive of cpio's old binary format, of the other byte order", _NEWC),
    (b"\x04\x22\x4d\x18", "lz4's frame format, of which the kernel knows the legacy one only", "lz4 -l"),
    (b"\x1f\x9d", "packed with compress (.Z)", "pack it with gzip or zstd"),
    (b"LZIP", "packed with lzip", "pack it with xz --check=crc32"),
    (b"hsqs", "a squashfs", "it is no initramfs, but may be a root file system: root=/dev/ram0"),
    (b"!<arch>", "an ar archive or a Debian package", ""),
    (b"PK\x03\x04", "a zip archive", ""),
    (b"\x7fELF", "an ELF file", ""),
)
_ZSTD_SKIPPABLE = "a skippable frame of zstd, as pzstd and zstd --adapt write"
_XZ_CHECKS = {0: "none", 1: "CRC32", 4: "CRC64", 10: "SHA-256"}
_XZ_TAKEN = (0, 1)
_BOOTCONFIG = b"#BOOTCONFIG\n"


class UnpackingError(HostbuildError):
    """Where and why the kernel stops to unpack an image, or we do.

    offset: in the image's file. said: the kernel's words; "" where it says nothing, or nobody knows which.
    """

    def __init__(self, message: str, *, offset: int, said: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.said = said


@dataclass(slots=True)
class Part:
    """A stretch of the image: plain archives, or a compressed stream. packed: its bytes, 0 while it is being read."""

    offset: int
    compressor: Compressor
    packed: int = 0


def padding_between(size: int, last: Compressor) -> int:
    """Return how many NULs have to stand behind an image of `size` bytes before another one.

    last: how its last archive is packed. A plain archive begins at a multiple of 4; lz4's legacy frame ends at 4 NULs.
    """
    least = 4 if last is Compressor.LZ4 else 0
    return least + -(size + least) % 4


def find_bootconfig(file: BinaryIO, size: int) -> int:
    """Find where a bootconfig begins in an image of `size` bytes; `size` where there is none that the kernel takes."""
    at = max(size - len(_BOOTCONFIG) - 3, 0)
    file.seek(at)
    found = file.read(size - at).rfind(_BOOTCONFIG)
    head = at + found - 8
    if found < 0 or head < 0:
        return size
    file.seek(head)
    length, checksum = struct.unpack("<II", file.read(8))
    start = head - length
    if start < 0 or length > 1 << 24:
        return size
    file.seek(start)
    return start if sum(file.read(length)) & 0xFFFFFFFF == checksum else size


def members(file: BinaryIO, size: int) -> Iterator[tuple[Part, Member, Body]]:
    """Yield the members in the order in which the kernel unpacks them, trailers included.

    size: bytes of the image without its bootconfig. Raises UnpackingError where the kernel stops, or the bytes do.
    """
    position = 0
    window = _Window(file, size)
    fresh = True  # nothing has been unpacked yet: the kernel's state is Start, later it is Reset
    room = UNPACKED_MAX
    while True:
        source = Pieces(_pieces(file, position, size), position)
        source.skip_nuls()
        position = source.position
        first = source.next_byte()
        if not first:
            return
        if first == b"0" and position % 4 == 0:
            part = Part(position, Compressor.NONE)
            try:
                for member, body in newc.members(source):
                    yield part, member, body
            except NewcError as e:
                raise UnpackingError(str(e), offset=e.offset, said=e.said, hint=e.hint) from e
            part.packed = source.position - part.offset
            position = source.position
        else:
            part = Part(position, _compressor(source.read(8), position))
            window.seek(position)
            inside = Pieces(_limited(_unpacked(part, window), room, part))
            yield from _compressed(part, inside, fresh=fresh)
            room -= inside.position
            position = window.tell()
            part.packed = position - part.offset
        fresh = False


def _compressed(part: Part, source: Pieces, *, fresh: bool) -> Iterator[tuple[Part, Member, Body]]:
    where = f"in the {part.compressor.value} stream at offset {part.offset}"
    if fresh and not source.next_byte():
        raise UnpackingError(
            f"the {part.compressor.value} stream at offset {part.offset} holds nothing",
            offset=part.offset,
            said="junk at the end of compressed archive",
        )
    try:
        for member, body in newc.members(source, packed=True, fresh=fresh):
            yield part, member, body
    except NewcError as e:
        said = e.said or "junk at the end of compressed archive"
        raise UnpackingError(f"{where}: {e}", offset=part.offset, said=said, hint=e.hint) from e
    if source.next_byte():
        raise UnpackingError(
            f"{where}: no header at offset {source.position}, but {source.read(6)!r}",
            offset=part.offset,
            said="junk within compressed archive",
        )


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    position = start
    while position < end:
        file.seek(position)
        piece = file.read(min(_PIECE, end - position))
        if not piece:
            return
        position += len(piece)
        yield piece


class _Window:
    """The beginning of a file, as if it ended there."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def read(self, count: int) -> bytes:
        return self._file.read(max(min(count, self._size - self._file.tell()), 0))

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


def _unpacked(part: Part, file: _Window) -> Iterator[bytes]:
    try:
        yield from unpacked(part.compressor, file)
    except CompressionError as e:
        hint = e.hint
        if part.compressor is Compressor.LZO:
            hint = f"tail -c +{part.offset + 1} IMAGE | lzop -dc > IMAGE.cpio, and look into that"
        raise UnpackingError(
            f"the {part.compressor.value} stream at offset {part.offset}: {e}", offset=part.offset, hint=hint
        ) from e


def _limited(pieces: Iterator[bytes], room: int, part: Part) -> Iterator[bytes]:
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            raise UnpackingError(
                f"the image unpacks to more than {UNPACKED_MAX >> 30} GiB, at which hostbuild stops: it was made to "
                "fill memory, or is damaged",
                offset=part.offset,
            )
        yield piece


def _compressor(head: bytes, offset: int) -> Compressor:
    """Tell by its first bytes how a stream is packed. Raises UnpackingError for what the kernel does not take."""
    compressor = next((known for magic, known in _MAGICS if head.startswith(magic)), None)
    if compressor is Compressor.XZ and head[7:8] and head[7] not in _XZ_TAKEN:
        check = _XZ_CHECKS.get(head[7], f"number {head[7]}")
        raise UnpackingError(
            f"the xz stream at offset {offset} has the check {check}: the kernel's decoder takes CRC32 or none",
            offset=offset,
            said="Input was encoded with settings that are not supported by this XZ decoder",
            hint="xz --check=crc32",
        )
    if compressor is not None:
        return compressor
    what, hint = next(((what, hint) for magic, what, hint in _FOREIGN if head.startswith(magic)), ("", ""))
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        what, hint = _ZSTD_SKIPPABLE, "pack it with zstd itself"
    if not what and head.startswith(b"0707"):
        what, hint = "an archive at an offset that is not a multiple of 4", "pad what is before it with NULs"
    found = what or f"neither an archive nor a compressed stream that the kernel knows, but {head[:6]!r}"
    raise UnpackingError(
        f"at offset {offset} is {found}",
        offset=offset,
        said="invalid magic at start of compressed archive",
        hint=hint,
    )
