"""The cpio archive format `newc`, which the kernel unpacks as an initramfs: writer and reader, streaming.

Format (Documentation/driver-api/early-userspace/buffer-format.rst): for each object a header of 110 ASCII
bytes, its name with a closing NUL, padding to a multiple of 4, its data, padding to a multiple of 4. The
archive ends with an object named TRAILER!!!. Numbers are 8 hexadecimal digits:

    magic "070701"  ino  mode  uid  gid  nlink  mtime  filesize  devmajor  devminor  rdevmajor  rdevminor
    namesize  check

Several archives may follow one another, with NULs between them. Magic 070702 is the same with a checksum of
the data. Hard links are objects of one inode number; all but the last are written without data.

The reader goes by the kernel's states (init/initramfs.c), not by that text: a name ends at its first NUL, wherever
the padding ends; an archive needs no trailer; what the kernel passes over is passed over.
"""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hostbuild.errors import HostbuildError
from hostbuild.formats.initramfs.pieces import Pieces

MAGIC = b"070701"
MAGIC_CHECKSUM = b"070702"
MAGIC_ODC = b"070707"  # POSIX's portable format, also called odc
TRAILER = "TRAILER!!!"
_HEADER = 110
_PATH_MAX = 4096  # of a name and its NUL, and of a link's target
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class NewcError(HostbuildError):
    """Bytes that claim to be a newc archive and are not, or stop short.

    offset: where, in the archive's file or in what its stream unpacks to. said: the kernel's words for it; "" where it
    says nothing, and unpacks what there is.
    """

    def __init__(self, message: str, *, offset: int = 0, said: str = "", hint: str = "") -> None:
        super().__init__(f"newc archive: {message}", hint=hint)
        self.offset = offset
        self.said = said


@dataclass(frozen=True, slots=True)
class Member:
    """One object of an archive.

    name: its path as written, undecodable bytes as surrogate escapes.
    mode: type and permissions as in st_mode. size: bytes of its data. offset: where the header stands.
    device: of a device node. dev: of the file system that it was read from, which tells inodes apart.
    target: where a symbolic link points. passed_over: why the kernel skips it; "" where it does not.
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
    dev: tuple[int, int] = (0, 0)
    target: str = ""
    passed_over: str = ""

    @property
    def is_trailer(self) -> bool:
        """Whether the kernel takes it for the archive's end (do_name: whatever its type, but for symbolic links)."""
        return self.name == TRAILER and not stat.S_ISLNK(self.mode) and not self.passed_over


class Writer:
    """Writes members one after the other to `out`; `close` ends the archive."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self.written = 0

    def add(self, member: Member, data: bytes = b"", *, aligned: int = 4) -> None:
        """Write one member; `data` takes the place of its size.

        aligned: of what number the place of the data is to be a multiple, counted from the archive's beginning; 4, or
        more by NULs behind the name.
        """
        name = member.name.encode("utf-8", "surrogateescape") + b"\0"
        name += bytes(-(self.written + _HEADER + len(name)) % aligned if aligned > 4 else 0)
        if len(name) > _PATH_MAX:
            raise NewcError(f"the name {member.name[:60]}… is longer than the kernel's {_PATH_MAX - 1} bytes")
        if len(data) > 0xFFFFFFFF:
            raise NewcError(f"{member.name} has {len(data)} bytes; a newc archive holds files below 4 GiB")
        numbers = [member.ino, member.mode, member.uid, member.gid, member.nlink, member.mtime]
        numbers += [len(data), *member.dev, *member.device, len(name), 0]
        self._write(MAGIC + b"".join(b"%08X" % number for number in numbers) + name)
        self._pad()
        self._write(data)
        self._pad()

    def close(self) -> None:
        """Write the trailer. The archive's length is then a multiple of 4, so another one may follow."""
        self.add(Member(TRAILER, 0))

    def _write(self, data: bytes) -> None:
        if data:
            self.written += len(data)
            self._out(data)

    def _pad(self) -> None:
        self._write(bytes(-self.written % 4))


class Body:
    """The data of the member that was read last. What is not taken of it is passed over.

    end: where the next member's header may stand, if it is complete.
    """

    def __init__(self, source: Pieces, member: Member, checksum: int | None) -> None:
        self._source = source
        self._member = member
        self._checksum = checksum
        taken = stat.S_ISLNK(member.mode) and not member.passed_over  # its target has been read
        self._left = 0 if taken else member.size
        self._sum = 0
        self.end = _aligned(source.position + self._left)

    def __iter__(self) -> Iterator[bytes]:
        """Give the data in pieces, once. Raises NewcError where it is cut short or its checksum is wrong."""
        for piece in self._source.take(self._left):
            self._left -= len(piece)
            if self._checksum is not None:
                self._sum += sum(piece)
            yield piece
        self._check()

    def drain(self) -> None:
        """Pass over what has not been taken."""
        if self._checksum is None:
            self._left -= self._source.skip(self._left)
            self._check()
        else:
            for _ in self:
                pass

    def _check(self) -> None:
        if self._left:
            raise _cut(self._source, f"the data of {self._member.name[:200]!r}")
        if self._checksum is not None and self._sum & 0xFFFFFFFF != self._checksum:
            raise NewcError(
                f"the data of {self._member.name[:200]!r} has another checksum than its header says",
                offset=self._member.offset,
                said="bad data checksum",
            )


def members(source: Pieces, *, packed: bool = False, fresh: bool = False) -> Iterator[tuple[Member, Body]]:
    """Yield the members of one archive after the other, trailers included, with NULs between them.

    It ends where `source` does, or stands before a byte that begins no header. The source's positions count from where
    the kernel's alignment does. packed: it comes out of a compressor, whose end has to be an archive's.
    fresh: nothing was unpacked before, so the first byte must be a header's (the state Start, not Reset).
    Raises NewcError where the kernel gives up, and where the bytes stop short.
    """
    while True:
        if not fresh:
            source.skip_nuls()
            following = source.next_byte()
            if following and source.position & 3:
                raise NewcError(
                    f"what follows the padding stands at offset {source.position}, which is not a multiple of 4",
                    offset=source.position,
                    said="broken padding",
                    hint="pad the archive to a multiple of 4 before another follows",
                )
            if following != b"0":
                return
        fresh = False
        member, checksum = _read_member(source, packed=packed)
        body = Body(source, member, checksum)
        yield member, body
        body.drain()
        missing = body.end - source.position
        if source.skip(missing) < missing and packed:
            raise _cut(source, "padding")  # plain, the last member's may be absent


def _read_member(source: Pieces, *, packed: bool) -> tuple[Member, int | None]:
    """Read a header and the name, for symbolic links the target too; give the checksum where it has one."""
    offset = source.position
    magic, numbers = _read_header(source)
    ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, name_size, check = numbers
    written, passed_over = b"\0", ""
    if 1 <= name_size <= _PATH_MAX:
        written = source.read(name_size)
        if len(written) < name_size:
            raise _cut(source, "a name")
    else:
        passed_over = f"its name has {name_size} bytes"
        _pass(source, name_size, "a name")
    name = _text(written)
    missing = -source.position % 4
    if source.skip(missing) < missing and (
        packed or name != TRAILER
    ):  # plain, the last padding may be absent
        raise _cut(source, "padding")
    target = ""
    if stat.S_ISLNK(mode) and not passed_over:
        if size > _PATH_MAX:
            passed_over = f"its target has {size} bytes"
        else:
            data = source.read(size)
            if len(data) < size:
                raise _cut(source, f"the target of {name[:200]!r}")
            target = _text(data)
    elif not stat.S_ISREG(mode) and size and not passed_over:
        passed_over = f"it is not a regular file and has {size} bytes of data"
    if not written.endswith(b"\0"):
        raise NewcError(
            f"the name at offset {offset + _HEADER} does not end with a NUL",
            offset=offset,
            said="malformed archive",
        )
    device = (rmajor, rminor)
    member = Member(
        name,
        mode & 0xFFFF,
        size,
        ino,
        nlink,
        uid,
        gid,
        mtime,
        device,
        offset,
        (major, minor),
        target,
        passed_over,
    )
    copied = stat.S_ISREG(mode) and not passed_over and not member.is_trailer
    return member, check if magic == MAGIC_CHECKSUM and copied else None


def _read_header(source: Pieces) -> tuple[bytes, list[int]]:
    """Give the magic and the 13 numbers."""
    offset = source.position
    header = source.read(_HEADER)
    magic = header[:6]
    if not any(known.startswith(magic) for known in (MAGIC, MAGIC_CHECKSUM, MAGIC_ODC)):
        said = "no cpio magic" if len(header) == _HEADER else ""  # of less, the kernel takes no notice
        raise NewcError(f"no header at offset {offset}, but {magic!r}", offset=offset, said=said)
    if magic == MAGIC_ODC:
        raise NewcError(
            f"at offset {offset} is an archive of cpio's old portable format (odc), which the kernel does not take",
            offset=offset,
            said="incorrect cpio method used: use -H newc option",
            hint="write it with cpio -o -H newc; bsdtar -cf NEW --format newc @OLD converts it",
        )
    if len(header) < _HEADER:
        raise _cut(source, "a header")
    if not _HEXADECIMAL.issuperset(header[6:]):
        raise NewcError(f"the header at offset {offset} holds something other than digits", offset=offset)
    return magic, [int(header[at : at + 8], 16) for at in range(6, _HEADER, 8)]


def _text(data: bytes) -> str:
    """Return what a C string at the start of `data` says."""
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pass(source: Pieces, count: int, what: str) -> None:
    if source.skip(count) < count:
        raise _cut(source, what)


def _cut(source: Pieces, what: str) -> NewcError:
    return NewcError(f"cut short at offset {source.position}, inside {what}", offset=source.position)


def _aligned(position: int) -> int:
    return -(-position // 4) * 4
