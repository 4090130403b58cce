"""The ledger's file: whole lines appended, what somebody else may have done to it, and how long it may get.

The ledger builds on this module.
"""

from __future__ import annotations

import posix

from modaliasd.core.fasttypes import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64 << 10  # bytes read from the file at a time
REPAIR_WINDOW = 1 << 20  # bytes at the end of the file that are searched for the last newline
SHARE = 8  # of /run's size, the ledger may have one part in so many
LEAST_LIMIT, MOST_LIMIT = 1 << 20, 8 << 20  # bytes, whatever the size of /run


class Change(Enum):
    """What has become of the file since it was written last."""

    NONE = "none"
    CUT = "cut"
    GROWN = "grown"
    DELETED = "deleted"
    REPLACED = "replaced"
    CLOSED = "closed"  # it could not be opened again, the last time


class LedgerFile:
    """The file at `path`, once it has been opened. torn_bytes: what was cut off behind the last newline then."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = self.torn_bytes = self.failed_writes = 0
        self._file = -1
        self._identity = (-1, -1)  # its device and inode

    def open(self) -> None:
        """Open the file at the path, or make one. OSError."""
        directory = self.path[: self.path.rfind("/")]
        if directory:
            _make_directories(directory)
        self._file = posix.open(self.path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o644)
        found = posix.fstat(self._file)
        self._identity = _identity(found)
        self._repair(found.st_size)

    def close(self) -> None:
        """Give up a file that has no name any more."""
        posix.close(self._file)
        self._file, self.size = -1, 0

    def change(self) -> tuple[Change, int]:
        """Return what has become of the file, and how many bytes it has now; looked up by its name."""
        if self._file < 0:
            return Change.CLOSED, 0
        try:
            found = posix.stat(self.path)
        except OSError:
            return Change.DELETED, 0
        if _identity(found) != self._identity:
            return Change.REPLACED, found.st_size
        if found.st_size == self.size:
            return Change.NONE, self.size
        return (Change.CUT if found.st_size < self.size else Change.GROWN), found.st_size

    def go_on_at(self, size: int) -> None:
        """Take the file as it is: a line that was cut goes, one that somebody else has begun is ended."""
        if size < self.size:
            self._repair(size)
            return
        self.size = size
        if self.read(size - 1, 1) != b"\n":
            self.write(b"\n")

    def read(self, at: int, most: int) -> bytes:
        """Up to so many bytes from there on."""
        return posix.pread(self._file, min(most, self.size - at), at)

    def lines(self) -> Iterator[bytes]:
        """Read back what is in the file, line by line."""
        rest = b""
        at = 0
        while at < self.size and (piece := self.read(at, PIECE)):
            at += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def write(self, data: bytes) -> bytes:
        """Append whole lines; gives those for which there was no room."""
        at = 0
        while at < len(data) and self._file >= 0:
            try:
                at += posix.pwrite(self._file, data[at:], self.size + at)
            except OSError:
                self.failed_writes += 1
                break
        whole = at if at == len(data) else data.rfind(b"\n", 0, at) + 1
        if whole < at:
            posix.ftruncate(self._file, self.size + whole)  # no half line stays
        self.size += whole
        return data[whole:]

    def rewrite(self, head: int, middle: bytes, tail: int) -> None:
        """Have `middle`, which is shorter, in the place of the bytes from `head` to `tail`. OSError.

        A new file takes the old one's place, so that whoever reads that reads it to its end. Without room for one it
        is done in place: who is killed then leaves lines twice and one of them torn, which readers skip.
        """
        try:
            self._rewrite_anew(head, middle, tail)
        except OSError:
            end = _write_all(self._file, middle, head)
            posix.ftruncate(self._file, _copy(self._file, tail, self.size, self._file, end))
        self.size += head + len(middle) - tail

    def _rewrite_anew(self, head: int, middle: bytes, tail: int) -> None:
        fresh = self.path + ".new"
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        file = posix.open(fresh, flags, 0o644)
        try:
            end = _copy(self._file, 0, head, file, 0)
            end = _write_all(file, middle, end)
            _copy(self._file, tail, self.size, file, end)
            posix.rename(fresh, self.path)
        except OSError:
            posix.close(file)
            posix.unlink(fresh)
            raise
        posix.close(self._file)
        self._file = file
        self._identity = _identity(posix.fstat(file))

    def _repair(self, size: int) -> None:
        """Cut off what stands behind the last newline of so many bytes."""
        start = max(0, size - REPAIR_WINDOW)
        tail = posix.pread(self._file, size - start, start)
        self.size = start + tail.rfind(b"\n") + 1
        self.torn_bytes = size - self.size
        if self.torn_bytes:
            posix.ftruncate(self._file, self.size)


def _identity(found: posix.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _copy(source: int, start: int, end: int, target: int, at: int) -> int:
    """Copy these bytes of a file to `at` in another, or further down in the same; where they end there."""
    while start < end and (piece := posix.pread(source, min(PIECE, end - start), start)):
        start += len(piece)
        at = _write_all(target, piece, at)
    return at


def _write_all(file: int, data: bytes, at: int) -> int:
    while data:
        written = posix.pwrite(file, data, at)
        data, at = data[written:], at + written
    return at


def _make_directories(path: str) -> None:
    for end in [at for at, char in enumerate(path) if char == "/" and at] + [len(path)]:
        try:
            posix.mkdir(path[:end], 0o755)
        except FileExistsError:
            continue


def default_limit(path: str) -> int:
    """Bytes: an eighth of the file system that holds the file, within bounds; a ramfs does not tell its size."""
    try:
        found = posix.statvfs(path)
    except OSError:
        return LEAST_LIMIT
    size = found.f_frsize * found.f_blocks
    return min(max(size // SHARE, LEAST_LIMIT), MOST_LIMIT) if size else MOST_LIMIT
