"""The ledger file, the kernel's log and the host's channel: three readers of the same lines.

Lines are kept in memory until `flush`, which the service calls when it is about to sleep: nothing is written while a
module could be loaded instead. While it has no time to sleep, `is_due` says when it is to be called all the same.
The file is appended; only `trim` takes lines out of its middle. A line that a killed daemon left
half-written is cut off at the next start, and its bytes are counted. The channel is fed from the file, so that a host
that reads slowly costs no memory. While /run is full, lines wait in memory, up to BACKLOG_LIMIT; those beyond it are
lost, and the ledger says how many once it can. So they do where not even the file can be made: loading modules does
not depend on it.

Before each write the file is looked at by its name: one that was cut, deleted or replaced is gone on with as it is
now, and `take_mishaps` says what happened.
"""

from __future__ import annotations

import posix

from modaliasd.linux.channel import Channel, open_if_there
from modaliasd.linux.descriptors import with_reserve
from modaliasd.linux.ledger_file import LEAST_LIMIT, PIECE, Change, LedgerFile, default_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modaliasd.core.ledger.trim import Trim

KMSG_LIMIT = (
    900  # bytes of one /dev/kmsg record that we use; the kernel cuts at about 1,000 (printk.c LOG_LINE_MAX)
)
BACKLOG_LIMIT = (
    1 << 20
)  # bytes of lines that wait while /run is full, or for the channel when their file is replaced
LATEST_US = 500_000  # how old a line may get in memory
MOST_BYTES = 256 << 10  # how many bytes of lines may wait in memory

INFORMATION, ERROR = 6, 3  # priorities of the kernel's log (include/linux/kern_levels.h)


class Ledger:
    """Appends to the file at `path`; copies to `kmsg` and `channel` where these are given.

    limit: how many bytes the file may have; 0: as /run's size suggests. trim_beyond: from how many on
    it is to be trimmed.
    """

    def __init__(self, path: str, kmsg: str = "", channel: str = "", limit: int = 0) -> None:
        self.path = path
        self._file = LedgerFile(path)
        self.limit = limit
        self.trim_beyond = limit or LEAST_LIMIT
        self._mishaps: list[str] = []
        self.problem = ""  # why there is no file, or was none at first: each flush tries again
        try:
            self._file.open()
        except OSError as e:
            self.problem = f"cannot write the ledger {path}: {e.strerror}"
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

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self._file.size

    @property
    def torn_bytes(self) -> int:
        """What was cut off behind the file's last newline when it was opened."""
        return self._file.torn_bytes

    @property
    def failed_writes(self) -> int:
        """How often something could not be written."""
        return self._file.failed_writes

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
            self._backlog = self._file.write(data)
            if len(self._backlog) > BACKLOG_LIMIT:
                cut = self._backlog.rfind(b"\n", 0, BACKLOG_LIMIT) + 1
                self.lost_lines += self._backlog.count(b"\n", cut)
                self._backlog = self._backlog[:cut]
        for priority, short in self._short:
            self._write_kmsg(priority, short)
        self._short.clear()
        self._send()

    def take_mishaps(self) -> list[str]:
        """Return what has befallen the file since this was last asked, to be told in it.

        Nothing while /run has no room.
        """
        if self._backlog:
            return []
        mishaps, self._mishaps = self._mishaps, []
        if self.lost_lines:
            mishaps.append(f"{self.lost_lines} lines were lost while there was no room for them")
            self.lost_lines = 0
        return mishaps

    def trim(self, now_us: int) -> None:
        """Keep the file within its limit (core/ledger/trim.py); now_us: when, for the line that tells of it.

        However much has to stay, the file may grow by a quarter of the limit before the next time, so that what the
        trims cost is bounded, too.
        """
        if self.size <= self.trim_beyond:
            return
        limit = self.limit = self.limit or default_limit(self.path)
        if self.size > limit:
            cut = with_reserve(_planner)(self._file.lines(), self.size, limit, now_us)
            if cut is not None and len(cut.middle) < cut.tail - cut.head:
                self._rewrite(*cut)
        self.trim_beyond = max(limit, self.size + limit // 4)

    def channel_fileno(self) -> int:
        """Return the channel's descriptor while there is something to send on it, for poll; else -1."""
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
            self._file.failed_writes += 1

    def _rewrite(self, head: int, middle: bytes, tail: int) -> None:
        """Have `middle`, whole lines, in the place of the bytes from `head` to `tail`, which are more.

        The channel goes on where it was; if that was between, it ends the line and has `middle` next.
        """
        if head < self._sent < tail:
            self._first += self._rest_of_line(self._sent)
            self._sent = head
        elif self._sent >= tail:
            self._sent += head + len(middle) - tail
        try:
            self._file.rewrite(head, middle, tail)
        except OSError:
            self._file.failed_writes += 1

    def _rest_of_line(self, at: int) -> bytes:
        """Return what is still to come of the line that the channel is in; b"" if it is between two."""
        if self._file.read(at - 1, 1) == b"\n":
            return b""
        rest = self._file.read(at, BACKLOG_LIMIT)
        return rest[: rest.find(b"\n") + 1] or b"\n"

    def _look_after(self) -> None:
        """Has somebody else done something to the file? Go on with it as it is."""
        file, path = self._file, self.path
        change, size = file.change()
        if change is Change.NONE:
            return
        if change is Change.CUT:
            self._mishaps.append(f"{path} was cut from {file.size} to {size} bytes")
            self._first += b"\n" if self._sent < file.size else b""
            file.go_on_at(size)
            self._sent = min(self._sent, file.size)
        elif change is Change.GROWN:
            self._mishaps.append(f"somebody wrote {size - file.size} bytes into {path}")
            file.go_on_at(size)
        else:
            if change is not Change.CLOSED:
                self._mishaps.append(f"{path} was {change.value}; what was in it is no longer there")
                self._leave_file()
            try:
                file.open()
            except OSError:
                file.failed_writes += 1
            self._sent = file.size

    def _leave_file(self) -> None:
        """Give up a file that has no name any more; what the channel has not got of it waits in memory."""
        if self._channel.fileno() >= 0 and self._sent < self.size:
            left = self._file.read(self._sent, BACKLOG_LIMIT)
            self._first += left[: left.rfind(b"\n") + 1] or b"\n"
        self._file.close()

    def _write_kmsg(self, priority: int, short: str) -> None:
        if self._kmsg < 0:
            return
        text = short.encode("utf-8", "surrogateescape").replace(b"\n", b"\\n")[:KMSG_LIMIT]
        try:
            # without its newline the kernel keeps a record back until the next one comes (printk.c, LOG_NEWLINE)
            posix.write(self._kmsg, b"<%d>modaliasd: %b\n" % (priority, text))
        except OSError:
            self._file.failed_writes += 1

    def _send(self) -> None:
        """Give the channel what it takes of the file's lines."""
        if self.channel_fileno() < 0:
            return
        if self._first:
            self._first = self._first[self._channel.send(self._first) :]
        if not self._first and self._sent < self.size:
            piece = self._file.read(self._sent, PIECE)
            # nothing to read: the file was cut just now, which the next flush finds
            self._sent = self._sent + self._channel.send(piece) if piece else self.size
        if self._channel.broken:
            self._channel.broken = False
            self._sent, self._first = self.size, b""
            self._file.failed_writes += 1


def _planner() -> Callable[[Iterable[bytes], int, int, int], Trim | None]:
    from modaliasd.core.ledger.trim import plan_trim

    return plan_trim
