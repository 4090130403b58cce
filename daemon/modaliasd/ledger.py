"""The ledger file, the kernel's log and the host's channel: three readers of the same lines.

Lines are kept in memory until `flush`, which the service calls when it is about to sleep: nothing is
written while a module could be loaded instead. The file is appended and never rewritten; a line that a
killed daemon left half-written is cut off at the next start, and its bytes are counted.
"""

from __future__ import annotations

import posix
from errno import EAGAIN

from modaliasd.core.errors import WorldError

KMSG_LIMIT = (
    900  # bytes of one /dev/kmsg record that we use; the kernel cuts at about 1,000 (printk.c LOG_LINE_MAX)
)
REPAIR_WINDOW = 1 << 20  # bytes at the end of the file that are searched for the last newline


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
        self._lines: list[str] = []
        self._short: list[str] = []
        self._unsent = b""
        self.failed_writes = 0

    def append(self, line: str) -> None:
        """Take one line; it is written at the next flush."""
        self._lines.append(line)

    def say(self, short: str) -> None:
        """Take one short line for the kernel's log."""
        self._short.append(short)

    def flush(self) -> None:
        """Write what was taken. A full /run loses lines of the file but stops nothing: they are counted."""
        if self._lines:
            data = "".join(self._lines).encode("ascii")
            self._lines.clear()
            self._write_file(data)
            if self._channel >= 0:
                self._unsent += data
        for short in self._short:
            self._write_kmsg(short)
        self._short.clear()
        self._send()

    def channel_fileno(self) -> int:
        """The channel's descriptor while there is something to send on it, for poll; else -1."""
        return self._channel if self._unsent else -1

    def drain(self) -> None:
        """Write and send everything, waiting for the channel: the guest is about to end."""
        self.flush()
        if self._channel >= 0 and self._unsent:
            posix.set_blocking(self._channel, True)
            while self._unsent:
                self._send()

    def _write_file(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            try:
                at += posix.pwrite(self._file, data[at:], self.size + at)
            except OSError:
                self.failed_writes += 1
                posix.ftruncate(self._file, self.size)  # no half line stays
                return
        self.size += len(data)

    def _write_kmsg(self, short: str) -> None:
        if self._kmsg < 0:
            return
        text = short.encode("utf-8", "surrogateescape").replace(b"\n", b"\\n")[:KMSG_LIMIT]
        try:
            posix.write(self._kmsg, b"<6>modaliasd: " + text)
        except OSError:
            self.failed_writes += 1

    def _send(self) -> None:
        if self._channel < 0 or not self._unsent:
            return
        try:
            sent = posix.write(self._channel, self._unsent)
        except OSError as e:
            if e.errno == EAGAIN:
                return
            posix.close(self._channel)
            self._channel = -1
            self._unsent = b""
            self.failed_writes += 1
            return
        self._unsent = self._unsent[sent:]

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
    """A descriptor for writing, not blocking; -1 where there is no such device."""
    if not path:
        return -1
    try:
        return posix.open(path, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError:
        return -1
