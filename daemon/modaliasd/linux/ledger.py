"""The ledger file, the kernel's log and the host's channel: three readers of the same lines.

Lines are kept in memory until `flush`, which the service calls when it is about to sleep: nothing is written while a
module could be loaded instead. While it has no time to sleep, `is_due` says when it is to be called all the same.
The file is appended; only `rewrite` (ledger_limit.py) takes lines out of its middle. A line that a killed daemon left
half-written is cut off at the next start, and its bytes are counted. The channel is fed from the file, so that a host
that reads slowly costs no memory. While /run is full, lines wait in memory, up to BACKLOG_LIMIT; those beyond it are
lost, and the ledger says how many once it can.

Before each write the file is looked at by its name: one that was cut, deleted or replaced is gone on with as it is
now, and `take_mishaps` says what happened.
"""

from __future__ import annotations

import posix

from modaliasd.core.errors import WorldError
from modaliasd.linux.channel import Channel, open_if_there
from modaliasd.linux.descriptors import with_reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KMSG_LIMIT = (
    900  # bytes of one /dev/kmsg record that we use; the kernel cuts at about 1,000 (printk.c LOG_LINE_MAX)
)
BACKLOG_LIMIT = (
    1 << 20
)  # bytes of lines that wait while /run is full, or for the channel when their file is replaced
PIECE = 64 << 10  # bytes read from the file at a time
REPAIR_WINDOW = 1 << 20  # bytes at the end of the file that are searched for the last newline
LATEST_US = 500_000  # how old a line may get in memory
MOST_BYTES = 256 << 10  # how many bytes of lines may wait in memory
SMALLEST_LIMIT = 1 << 20  # bytes up to which nobody asks how large a ledger may get

INFORMATION, ERROR = 6, 3  # priorities of the kernel's log (include/linux/kern_levels.h)


class Ledger:
    """Appends to the file at `path`; copies to `kmsg` and `channel` where these are given.

    limit: how many bytes the file may have; 0: as /run's size suggests (ledger_limit.py). trim_beyond: from how many on
    it is to be trimmed.
    """

    def __init__(self, path: str, kmsg: str = "", channel: str = "", limit: int = 0) -> None:
        self.torn_bytes = self.size = 0
        self._file = -1
        self._identity = (-1, -1)  # the file's device and inode
        self.path = path
        self.limit = limit
        self.trim_beyond = limit or SMALLEST_LIMIT
        self._mishaps: list[str] = []
        try:
            self._open()
        except OSError as e:
            raise WorldError(f"cannot write the ledger {path}: {e.strerror}") from e
        self._kmsg = open_if_there(kmsg)
        self._channel = Channel(channel)
        self._lines: list[str] = []
        self._waiting = 0  # bytes of them
        self._since_us = -1  # when they were found to wait
        self._short: list[tuple[int, str]] = []
        self._backlog = b""  # what did not fit into /run
        self.lost_lines = 0  # what did not fit into the backlog either, since the last time it was told
        self._sent = self.size  # how far the channel has got in the file
        # What the channel gets before it goes on in the file. A daemon before this one may have been killed within a
        # line: on the channel it ends here.
        self._first = b"\n" if self.size and self._channel.fileno() >= 0 else b""
        self.failed_writes = 0

    def append(self, text: str) -> None:
        """Take one line, with its newline; it is written at the next flush."""
        self._lines.append(text)
        self._waiting += len(text)

    def say(self, short: str, priority: int = INFORMATION) -> None:
        """Take one short line for the kernel's log, and so for the console."""
        self._short.append((priority, short))

    def is_due(self, now_us: int) -> bool:
        """Is it time to flush, although there is something else to do? To be asked every now and then."""
        if not self._lines:
            return False
        if self._since_us < 0:
            self._since_us = now_us
        return self._waiting >= MOST_BYTES or now_us - self._since_us >= LATEST_US

    def flush(self) -> None:
        """Write what was taken. A full /run stops nothing: what does not fit waits, or is counted as lost."""
        if self._lines or self._backlog:
            self._look_after()
            data = self._backlog + "".join(self._lines).encode("ascii")
            self._lines.clear()
            self._waiting, self._since_us = 0, -1
            self._backlog = self._write_file(data)
            if len(self._backlog) > BACKLOG_LIMIT:
                cut = self._backlog.rfind(b"\n", 0, BACKLOG_LIMIT) + 1
                self.lost_lines += self._backlog.count(b"\n", cut)
                self._backlog = self._backlog[:cut]
        for priority, short in self._short:
            self._write_kmsg(priority, short)
        self._short.clear()
        self._send()

    @property
    def has_backlog(self) -> bool:
        """Do lines wait for room in /run?"""
        return bool(self._backlog)

    def take_mishaps(self) -> list[str]:
        """What has befallen the file since this was last asked, to be told in it; nothing while /run has no room."""
        if self._backlog:
            return []
        mishaps, self._mishaps = self._mishaps, []
        if self.lost_lines:
            mishaps.append(f"{self.lost_lines} lines were lost while there was no room for them")
            self.lost_lines = 0
        return mishaps

    def trim(self, now_us: int) -> None:
        """Keep the file within its limit; now_us: when, for the line that tells of it."""
        if self.size > self.trim_beyond:
            with_reserve(_trimmer)(self, now_us)

    def channel_fileno(self) -> int:
        """The channel's descriptor while there is something to send on it, for poll; else -1."""
        return self._channel.fileno() if self._first or self._sent < self.size else -1

    def drain(self) -> None:
        """Write and send everything, waiting for the channel: this life is about to end."""
        self.flush()
        if self._channel.fileno() >= 0:
            self._channel.block()
            while self.channel_fileno() >= 0:
                self._send()

    def end(self) -> None:
        """Have the host get everything to the last byte, and nothing after it: the guest is about to be switched off.

        What a serial line has taken is still in the kernel, up to a page of it; a machine that is switched off then
        takes it along. Lines that come later, of drivers that let go of their devices, go to the file alone.
        """
        self.drain()
        if self._channel.fileno() < 0:
            return
        try:
            self._channel.finish(
                self._backlog
            )  # the file may have no room, but the host shall know how it ended
        except OSError:
            self.failed_writes += 1

    def read_lines(self) -> Iterator[bytes]:
        """Read back what is in the file, line by line."""
        rest = b""
        at = 0
        while at < self.size and (piece := posix.pread(self._file, min(PIECE, self.size - at), at)):
            at += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def rewrite(self, head: int, middle: bytes, tail: int) -> None:
        """Have `middle`, whole lines, in the place of the bytes from `head` to `tail`. OSError if that cannot be done.

        A new file takes the old one's place, so that whoever reads that reads it to its end. Without room for one it
        is done in place. The channel goes on where it was; if that was between, it ends the line and has `middle` next.
        """
        if head < self._sent < tail:
            self._first += self._rest_of_line(self._sent)
            self._sent = head
        elif self._sent >= tail:
            self._sent += head + len(middle) - tail
        try:
            self._rewrite_anew(head, middle, tail)
        except OSError:
            self._rewrite_in_place(head, middle, tail)
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

    def _rewrite_in_place(self, head: int, middle: bytes, tail: int) -> None:
        """Who is killed here leaves lines twice, and one of them torn; readers skip that."""
        if head + len(middle) > tail:
            return
        end = _write_all(self._file, middle, head)
        posix.ftruncate(self._file, _copy(self._file, tail, self.size, self._file, end))

    def _rest_of_line(self, at: int) -> bytes:
        """What is still to come of the line that the channel is in; b"" if it is between two."""
        if at == 0 or posix.pread(self._file, 1, at - 1) == b"\n":
            return b""
        rest = posix.pread(self._file, min(BACKLOG_LIMIT, self.size - at), at)
        return rest[: rest.find(b"\n") + 1] or b"\n"

    def _open(self) -> None:
        """Open the file at the path, or make one. OSError."""
        directory = self.path[: self.path.rfind("/")]
        if directory:
            _make_directories(directory)
        self._file = posix.open(self.path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o644)
        found = posix.fstat(self._file)
        self._identity = _identity(found)
        self.size = self._repair(found.st_size)

    def _look_after(self) -> None:
        """Has somebody else done something to the file? Go on with it as it is."""
        try:
            found = posix.stat(self.path)
        except OSError:
            found = None
        if found is not None and self._file >= 0 and _identity(found) == self._identity:
            if found.st_size < self.size:
                self._mishaps.append(f"{self.path} was cut from {self.size} to {found.st_size} bytes")
                self._first += b"\n" if self._sent < self.size else b""
                self.size = self._repair(found.st_size)
                self._sent = min(self._sent, self.size)
            elif found.st_size > self.size:
                self._mishaps.append(f"somebody wrote {found.st_size - self.size} bytes into {self.path}")
                self._close_foreign_line(found.st_size)
            return
        if self._file >= 0:
            what = "deleted" if found is None else "replaced"
            self._mishaps.append(f"{self.path} was {what}; what was in it is no longer there")
            self._leave_file()
        try:
            self._open()
        except OSError:
            self._file = -1
            self.failed_writes += 1
        self._sent = self.size

    def _leave_file(self) -> None:
        """Give up a file that has no name any more; what the channel has not got of it waits in memory."""
        if self._channel.fileno() >= 0 and self._sent < self.size:
            left = posix.pread(self._file, min(BACKLOG_LIMIT, self.size - self._sent), self._sent)
            self._first += left[: left.rfind(b"\n") + 1] or b"\n"
        posix.close(self._file)
        self._file, self.size = -1, 0

    def _close_foreign_line(self, size: int) -> None:
        """Go on behind what somebody else has written, on a line of its own."""
        self.size = size
        if posix.pread(self._file, 1, size - 1) != b"\n":
            self._write_file(b"\n")

    def _write_file(self, data: bytes) -> bytes:
        """Write whole lines; gives those for which there was no room."""
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

    def _write_kmsg(self, priority: int, short: str) -> None:
        if self._kmsg < 0:
            return
        text = short.encode("utf-8", "surrogateescape").replace(b"\n", b"\\n")[:KMSG_LIMIT]
        try:
            # without its newline the kernel keeps a record back until the next one comes (printk.c, LOG_NEWLINE)
            posix.write(self._kmsg, b"<%d>modaliasd: %b\n" % (priority, text))
        except OSError:
            self.failed_writes += 1

    def _send(self) -> None:
        """Give the channel what it takes of the file's lines."""
        if self.channel_fileno() < 0:
            return
        if self._first:
            self._first = self._first[self._channel.send(self._first) :]
        if not self._first and self._sent < self.size:
            piece = posix.pread(self._file, min(PIECE, self.size - self._sent), self._sent)
            # nothing to read: the file was cut just now, which the next flush finds
            self._sent = self._sent + self._channel.send(piece) if piece else self.size
        if self._channel.broken:
            self._channel.broken = False
            self._sent, self._first = self.size, b""
            self.failed_writes += 1

    def _repair(self, size: int) -> int:
        """Cut off what stands behind the last newline; gives the size."""
        if size == 0:
            return 0
        start = max(0, size - REPAIR_WINDOW)
        tail = posix.pread(self._file, size - start, start)
        whole = start + tail.rfind(b"\n") + 1
        self.torn_bytes = size - whole
        if self.torn_bytes:
            posix.ftruncate(self._file, whole)
        return whole


def _trimmer() -> Callable[[Ledger, int], None]:
    from modaliasd.linux.ledger_limit import trim

    return trim


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
