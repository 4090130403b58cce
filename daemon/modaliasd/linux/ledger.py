"""The ledger file, the kernel's log and the host's channel: three readers of the same lines.

Lines are kept in memory until `flush`, which the service calls when it is about to sleep: nothing is
written while a module could be loaded instead. The file is appended and never rewritten; a line that a
killed daemon left half-written is cut off at the next start, and its bytes are counted. The channel is fed
from the file, so that a host that reads slowly costs no memory. While /run is full, lines wait in memory, up
to BACKLOG_LIMIT; those beyond it are lost, and the ledger says how many once it can.

The channel is a serial line, set as tty_ioctl(4) has it. Debian's small interpreter has no termios, but fcntl.
"""

from __future__ import annotations

import posix
from _struct import Struct
from errno import EAGAIN
from fcntl import ioctl

from modaliasd.core.errors import WorldError

TYPE_CHECKING = False

KMSG_LIMIT = (
    900  # bytes of one /dev/kmsg record that we use; the kernel cuts at about 1,000 (printk.c LOG_LINE_MAX)
)
BACKLOG_LIMIT = 1 << 20  # bytes of lines that wait while /run is full
SEND_PIECE = 64 << 10  # bytes read from the file for the channel at a time
REPAIR_WINDOW = 1 << 20  # bytes at the end of the file that are searched for the last newline

INFORMATION, ERROR = 6, 3  # priorities of the kernel's log (include/linux/kern_levels.h)

# asm-generic/ioctls.h and termbits.h; the four flag words stand first in the kernel's struct termios
TCGETS, TCSETS, TCSBRK = 0x5401, 0x5402, 0x5409
TERMIOS_SIZE = 36
FLAGS = Struct("=4I")  # input, output, control, local


class Ledger:
    """Appends to the file at `path`; copies to `kmsg` and `channel` where these are given."""

    def __init__(self, path: str, kmsg: str = "", channel: str = "") -> None:
        self.torn_bytes = 0
        directory = path[: path.rfind("/")]
        try:
            if directory:
                _make_directories(directory)
            self._file = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o644)
            self.size = self._repair()
        except OSError as e:
            raise WorldError(f"cannot write the ledger {path}: {e.strerror}") from e
        self._kmsg = _open_if_there(kmsg)
        self._channel = _open_if_there(channel)
        if self._channel >= 0:
            _make_raw(self._channel)
        self._lines: list[str] = []
        self._short: list[tuple[int, str]] = []
        self._backlog = b""  # what did not fit into /run
        self.lost_lines = 0  # what did not fit into the backlog either, since the last time it was told
        self._sent = self.size  # how far the channel has got in the file
        self.failed_writes = 0
        if self._channel >= 0 and self.size:
            self._end_torn_line()

    def append(self, text: str) -> None:
        """Take one line, with its newline; it is written at the next flush."""
        self._lines.append(text)

    def say(self, short: str, priority: int = INFORMATION) -> None:
        """Take one short line for the kernel's log, and so for the console."""
        self._short.append((priority, short))

    def flush(self) -> None:
        """Write what was taken. A full /run stops nothing: what does not fit waits, or is counted as lost."""
        if self._lines or self._backlog:
            data = self._backlog + "".join(self._lines).encode("ascii")
            self._lines.clear()
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

    def take_lost_lines(self) -> int:
        """Return how many lines were lost since this was last asked; 0 until /run has room to tell of it."""
        if self._backlog:
            return 0
        lost, self.lost_lines = self.lost_lines, 0
        return lost

    def channel_fileno(self) -> int:
        """Return the channel's descriptor while there is something to send on it, for poll; else -1."""
        return self._channel if self._sent < self.size else -1

    def drain(self) -> None:
        """Write and send everything, waiting for the channel: this life is about to end."""
        self.flush()
        if self._channel >= 0:
            posix.set_blocking(self._channel, True)
            while self._channel >= 0 and self._sent < self.size:
                self._send()

    def end(self) -> None:
        """Have the host get everything to the last byte, and nothing after it: the guest is about to be switched off.

        What a serial line has taken is still in the kernel, up to a page of it; a machine that is switched off then
        takes it along. Lines that come later, of drivers that let go of their devices, go to the file alone.
        """
        self.drain()
        if self._channel < 0:
            return
        try:
            if self._backlog:  # the file has no room, but the host shall know how it ended
                posix.write(self._channel, self._backlog)
            _wait_until_sent(self._channel)
        except OSError:
            self.failed_writes += 1
        posix.close(self._channel)
        self._channel = -1

    def _write_file(self, data: bytes) -> bytes:
        """Write whole lines; gives those for which there was no room."""
        at = 0
        while at < len(data):
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
        if self._channel < 0 or self._sent >= self.size:
            return
        try:
            piece = posix.pread(self._file, min(SEND_PIECE, self.size - self._sent), self._sent)
            self._sent += posix.write(self._channel, piece)
        except OSError as e:
            if e.errno == EAGAIN:
                return
            posix.close(self._channel)
            self._channel = -1
            self._sent = self.size
            self.failed_writes += 1

    def _end_torn_line(self) -> None:
        """End the line within which a daemon before this one may have been killed, on the channel."""
        try:
            posix.write(self._channel, b"\n")
        except OSError:
            self.failed_writes += 1

    def _repair(self) -> int:
        """Cut off what stands behind the last newline; gives the size."""
        size = posix.fstat(self._file).st_size
        if size == 0:
            return 0
        start = max(0, size - REPAIR_WINDOW)
        tail = posix.pread(self._file, size - start, start)
        whole = start + tail.rfind(b"\n") + 1
        self.torn_bytes = size - whole
        if self.torn_bytes:
            posix.ftruncate(self._file, whole)
        return whole


def _make_directories(path: str) -> None:
    for end in [at for at, char in enumerate(path) if char == "/" and at] + [len(path)]:
        try:
            posix.mkdir(path[:end], 0o755)
        except FileExistsError:
            continue


def _open_if_there(path: str) -> int:
    """Return a descriptor for writing, not blocking; -1 where there is no such device."""
    if not path:
        return -1
    try:
        return posix.open(path, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError:
        return -1


def _make_raw(line: int) -> None:
    """Have a serial line carry bytes as they are: no carriage return before a newline, no echo."""
    try:
        settings = bytearray(ioctl(line, TCGETS, bytes(TERMIOS_SIZE)))
        *_, control, _local = FLAGS.unpack_from(settings)
        FLAGS.pack_into(settings, 0, 0, 0, control, 0)
        ioctl(line, TCSETS, bytes(settings))
    except OSError:
        return  # a FIFO or a file: nothing is made of its bytes anyway


def _wait_until_sent(line: int) -> None:
    """Wait until a serial line has sent what it took: tcdrain(3). OSError if that is no serial line, or it is gone."""
    ioctl(line, TCSBRK, 1)
