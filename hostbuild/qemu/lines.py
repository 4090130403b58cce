"""The lines that lead out of a guest, serial lines and a virtio port: read by one thread, waited on by everybody else.

Each line is a pair of FIFOs in the machine's own directory (QEMU's `-chardev pipe`), and QEMU's end is the end of
the line. QEMU writes a serial line byte by byte. A pipe joins these bytes and takes a megabyte of them; a unix socket
charges each for a whole buffer and is full after some 280. A full line loses console text: the kernel waits 10 ms for
its UART and then writes all the same (serial8250_console_write in drivers/tty/serial/8250/8250_port.c).

    console  the kernel's messages and a shell, text for people
    channel  the ledger, JSON lines (docs/ledger.md)
    agent    runs commands for the host, where the guest was asked for one (hostbuild.guest)
    port     the same, on machines with a virtio serial controller, once the guest drives it: QEMU writes pages

What they are called in the guest stands in board.py: ttyS0, ttyS1 and ttyS2 on a PC.
"""

import contextlib
import fcntl
import os
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from hostbuild.board import Board
from hostbuild.errors import WorldError
from hostbuild.ledger.kept import Kept
from hostbuild.ledger.stream import LedgerReader, Record
from hostbuild.qemu.transcript import clean
from modaliasd.core.ledger.read import Skipped

_TICK_S = 0.25  # how often the reader looks at the clock while nothing comes
# Bytes that a line holds while our reader gets no time: the most that users are granted (pipe(7)).
_ROOM = 1 << 20
_PIECE = 1 << 16  # bytes read at a time

Listener = Callable[[bytes], None]


class Line(Enum):
    """A line. Of a serial one the value is its place among the board's."""

    CONSOLE = 0
    CHANNEL = 1
    AGENT = 2
    PORT = 3


def port_device(port: str) -> list[str]:
    """Return QEMU's options for a virtio port, which its controller has to stand before; none for ""."""
    return ["-device", f"virtserialport,chardev={Line.PORT.name.lower()},name={port}"] if port else []


@dataclass(frozen=True, slots=True)
class _Ends:
    """The descriptors of a line: ours, and those that stand in for QEMU's until it has opened its own."""

    reading: int
    writing: int
    theirs: tuple[int, ...]


class SerialLines:
    """Our ends of the lines, and what has come over them.

    ledger: the records so far; it only grows. arrivals: when each of them came, in seconds of time.monotonic().
    skipped: the channel's lines that were no records.
    ended: QEMU has closed every line. failure: what a listener raised; it hears nothing more.
    """

    def __init__(self, listeners: dict[Line, Listener]) -> None:
        """Take listeners, which get a line's raw bytes as they come, in the reader's thread."""
        self.ledger: list[Record] = []
        self.arrivals: list[float] = []
        self.ended = False
        self.failure: Exception | None = None
        self._reader = LedgerReader()
        self._console = Kept()
        self._hearers: dict[Line, list[Listener]] = {Line.AGENT: [], Line.PORT: []}
        self._listeners = dict(listeners)
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self._ends: dict[Line, _Ends] = {}

    @property
    def console(self) -> str:
        """The console's text so far, without escape sequences."""
        with self._news:
            return clean(bytes(self._console))

    @property
    def skipped(self) -> Skipped:
        """The channel's lines that were no ledger records."""
        return self._reader.skipped

    def hear(self, line: Line, listener: Listener) -> None:
        """Have the agent's bytes of a line handed to `listener`, in the reader's thread and with the lock of `wait`."""
        self._hearers[line].append(listener)

    def open(self, directory: Path, board: Board, *, port: str = "") -> list[str]:
        """Make a board's serial lines in a directory of their own, and a virtio port of this name.

        Gives QEMU's options for them; those of port_device() come behind the machine's. port: "" for none.
        """
        argv = []
        lines = list(Line)[: board.serial_lines]
        for line in [*lines, *([Line.PORT] if port else [])]:
            name = line.name.lower()
            try:
                self._ends[line] = _open_ends(directory / name)
            except OSError as e:
                raise WorldError(f"cannot make a FIFO in {directory}: {e.strerror}") from e
            path = str(directory / name).replace(",", ",,")  # QEMU's way of having a comma in a value
            argv += ["-chardev", f"pipe,id={name},path={path}"]
        return [*argv, *board.serial_argv([line.name.lower() for line in lines])]

    def start(
        self,
        *,
        limit_s: float,
        on_limit: Callable[[], None],
        on_failure: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """Leave their ends to QEMU, which has to have opened them, and read ours from now on.

        on_limit: called once, after `limit_s` seconds. on_failure: called when a listener has raised. on_end: called
        when QEMU is gone, before waiters are told.
        """
        self._on_failure = on_failure
        self._close_theirs()
        self._thread = threading.Thread(
            target=self._read,
            args=(time.monotonic() + limit_s, on_limit, on_end),
            name="serial lines",
            daemon=True,
        )
        self._thread.start()

    def send(self, line: Line, data: bytes) -> None:
        """Write to a line. A guest that is gone hears nothing; whoever waits for its answer is told."""
        ends = self._ends.get(line)
        if ends is None:
            return
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(ends.writing, data) :]

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for `done` (called with the lock held), the end or the time limit; return what `done` says."""
        with self._news:
            self._news.wait_for(lambda: done() or self.ended, min(timeout, threading.TIMEOUT_MAX))
            return done()

    def close(self) -> None:
        """Close everything; QEMU has to be gone."""
        self._close_theirs()
        if self._thread is not None:
            self._thread.join(10.0)
        for ends in self._ends.values():
            os.close(ends.reading)
            os.close(ends.writing)
        self._ends.clear()

    def _close_theirs(self) -> None:
        for line, ends in self._ends.items():
            for descriptor in ends.theirs:
                os.close(descriptor)
            self._ends[line] = replace(ends, theirs=())

    def _read(self, deadline: float, on_limit: Callable[[], None], on_end: Callable[[], None]) -> None:
        over = False
        with selectors.DefaultSelector() as selector:
            for line, ends in self._ends.items():
                selector.register(ends.reading, selectors.EVENT_READ, line)
            while selector.get_map():
                for key, _ in selector.select(_TICK_S):
                    data = os.read(key.fd, _PIECE)
                    if data:
                        self._take(key.data, data)
                    else:  # the end: QEMU is gone, and what it wrote has been read
                        selector.unregister(key.fd)
                if time.monotonic() >= deadline and not over:
                    over = True
                    on_limit()
        on_end()
        with self._news:
            self._reader.finish()
            self.ended = True
            self._news.notify_all()

    def _take(self, line: Line, data: bytes) -> None:
        with self._news:
            if line is Line.CHANNEL:
                records = self._reader.feed(data)
                self.ledger += records
                self.arrivals += [time.monotonic()] * len(records)
            elif line is Line.CONSOLE:
                self._console += data
            else:
                for hear in self._hearers[line]:
                    hear(data)
            self._news.notify_all()
        if listener := self._listeners.get(line):
            try:
                listener(data)
            except Exception as e:  # noqa: BLE001 - whoever waits for the machine raises it again
                del self._listeners[line]
                self.failure = self.failure or e
                self._on_failure()


def _open_ends(path: Path) -> _Ends:
    """Make a line's two FIFOs: PATH.out is what QEMU writes, PATH.in what it reads."""
    out, into = (path.with_name(f"{path.name}.{way}") for way in ("out", "in"))
    os.mkfifo(out, 0o600)
    os.mkfifo(into, 0o600)
    # Our reader would see an end, and our writer find nobody, before QEMU has opened its sides: these stand in.
    reading = os.open(out, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    their_writing = os.open(out, os.O_WRONLY | os.O_CLOEXEC)
    their_reading = os.open(into, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    writing = os.open(into, os.O_WRONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a user with many pipes is granted less: then it holds 64 KiB
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _ROOM)
    return _Ends(reading, writing, (their_writing, their_reading))
