"""The cpio archive format `newc`, which the kernel unpacks as an initramfs: writer and reader, streaming.

Format (Documentation/driver-api/early-userspace/buffer-format.rst): for each object a header of 110 ASCII
bytes, its name with a closing NUL, padding to a multiple of 4, its data, padding to a multiple of 4. The
archive ends with an object named TRAILER!!!. Numbers are 8 hexadecimal digits:

    magic "070701"  ino  mode  uid  gid  nlink  mtime  filesize  devmajor  devminor  rdevmajor  rdevminor
    namesize  check

Several archives may follow one another, with NULs between them. Magic 070702 is the same with a checksum of
the data. Hard links are objects of one inode number; all but the last are written without data.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from hostbuild.errors import HostbuildError

MAGIC = b"070701"
MAGIC_CHECKSUM = b"070702"
TRAILER = "TRAILER!!!"
_HEADER = 110
_FIELDS = 13
_NAME_MAX = 4096  # PATH_MAX: the kernel skips longer names


class NewcError(HostbuildError):
    """Bytes that claim to be a newc archive and are not, or stop short."""


@dataclass(frozen=True, slots=True)
class Member:
    """One object of an archive.

    name: its path as written, undecodable bytes as surrogate escapes.
    mode: type and permissions as in st_mode. size: bytes of its data. offset: where the header stands.
    """

    name: str
    mode: int
    size: int = 0
    ino: int = 0
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    device: tuple[int, int] = (0, 0)
    offset: int = 0


class Writer:
    """Writes members one after the other to `out`; `close` ends the archive."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self.written = 0

    def add(self, member: Member, data: bytes = b"") -> None:
        """Write one member; `data` takes the place of its size."""
        name = member.name.encode("utf-8", "surrogateescape") + b"\0"
        if len(name) > _NAME_MAX:
            raise NewcError(f"the name {member.name[:60]}… is longer than the kernel's {_NAME_MAX - 1} bytes")
        if len(data) > 0xFFFFFFFF:
            raise NewcError(f"{member.name} has {len(data)} bytes; a newc archive holds files below 4 GiB")
        numbers = [member.ino, member.mode, member.uid, member.gid, member.nlink, member.mtime]
        numbers += [len(data), 0, 0, *member.device, len(name), 0]
        self._write(MAGIC + b"".join(b"%08X" % number for number in numbers) + name)
        self._pad()
        self._write(data)
        self._pad()

    def close(self) -> None:
        """Write the trailer. The archive's length is then a multiple of 4, so another one may follow."""
        self.add(Member(TRAILER, 0))

    def _write(self, data: bytes) -> None:
        self.written += len(data)
        self._out(data)

    def _pad(self) -> None:
        self._write(bytes(-self.written % 4))


def read(stream: BinaryIO, at: int = 0) -> Iterator[tuple[Member, bytes]]:
    """Yield the members of one archive with their data, up to its trailer; the stream then stands behind it.

    at: offset of the stream's position in the whole file, for messages; padding counts from here.
    Raises NewcError where the bytes are no newc archive or end before the trailer.
    """
    position = at
    while True:
        header = stream.read(_HEADER)
        if not header.startswith((MAGIC, MAGIC_CHECKSUM)) and header[:6] != MAGIC[: len(header)]:
            raise NewcError(f"newc archive: no header at offset {position}, but {header[:6]!r}")
        if len(header) < _HEADER:
            raise NewcError(f"newc archive: cut short at offset {position + len(header)}, inside a header")
        start = position
        member, name_size = _parse_header(header, start)
        name = _exactly(stream, name_size, position, "a name")
        position += _HEADER + name_size
        if not name.endswith(b"\0"):
            raise NewcError(f"newc archive: the name at offset {start + _HEADER} does not end with a NUL")
        position += _skip_padding(stream, position - at, position)
        text = name[:-1].decode("utf-8", "surrogateescape")
        data = _exactly(stream, member.size, position, f"the data of {text[:200]!r}")
        position += member.size
        position += _skip_padding(stream, position - at, position, at_end=text == TRAILER)
        if text == TRAILER:
            return
        yield replace(member, name=text), data


def _parse_header(header: bytes, offset: int) -> tuple[Member, int]:
    """Return the member without its name, and the size of the name."""
    digits = header[6:]
    try:
        # int() would take signs, blanks and underscores too
        numbers = [int.from_bytes(bytes.fromhex(digits[i : i + 8].decode("ascii"))) for i in range(0, 104, 8)]
    except ValueError as e:
        raise NewcError(
            f"newc archive: the header at offset {offset} holds something other than digits"
        ) from e
    if len(numbers) != _FIELDS or any(byte in b" \t\r\n" for byte in digits):
        raise NewcError(f"newc archive: the header at offset {offset} holds something other than digits")
    ino, mode, uid, gid, nlink, mtime, size, _, _, major, minor, name_size, _ = numbers
    if not 1 <= name_size <= _NAME_MAX:
        raise NewcError(f"newc archive: a name of {name_size} bytes at offset {offset}")
    return Member("", mode, size, ino, nlink, uid, gid, mtime, (major, minor), offset), name_size


def _exactly(stream: BinaryIO, count: int, position: int, what: str) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise NewcError(f"newc archive: cut short at offset {position + len(data)}, inside {what}")
    return data


def _skip_padding(stream: BinaryIO, relative: int, position: int, *, at_end: bool = False) -> int:
    count = -relative % 4
    if at_end:  # some writers leave the padding of the very last member away
        stream.read(count)
        return count
    _exactly(stream, count, position, "padding")
    return count
