"""The serial lines that lead out of a guest: read by one thread, waited on by everybody else.

Each line is a socket pair whose other end QEMU inherits: there is no path to collide on, and QEMU's end is
the end of the line.

    ttyS0  console: the kernel's messages and a shell, text for people
    ttyS1  channel: the ledger, JSON lines (docs/ledger.md)
    ttyS2  agent: a `sh` that reads commands and runs them, where the guest was asked for one
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum

from hostbuild.qemu.transcript import LedgerReader, Record, clean

_TICK_S = 0.25  # how often the reader looks at the clock while nothing comes

Listener = Callable[[bytes], None]


class Line(Enum):
    """A serial line; the value is its number in the guest, and its place on QEMU's command line."""

    CONSOLE = 0
    CHANNEL = 1
    AGENT = 2


class SerialLines:
    """Our ends of the lines, and what has come over them.

    ledger: the records so far; it only grows. torn: the channel's lines that were no records.
    ended: QEMU has closed every line. failure: what a listener raised; it hears nothing more.
    """

    def __init__(self, listeners: dict[Line, Listener]) -> None:
        """Make the socket pairs. `listeners` get a line's raw bytes as they come, in the reader's thread."""
        self.ledger: list[Record] = []
        self.ended = False
        self.failure: Exception | None = None
        self._reader = LedgerReader()
        self._received = {line: bytearray() for line in Line}
        self._listeners = dict(listeners)
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._on_failure: Callable[[], None] = lambda: None
        pairs = {line: socket.socketpair() for line in Line}
        self._ours = {line: pair[0] for line, pair in pairs.items()}
        self.theirs = {line: pair[1] for line, pair in pairs.items()}

    @property
    def console(self) -> str:
        """The console's text so far, without escape sequences."""
        with self._news:
            return clean(bytes(self._received[Line.CONSOLE]))

    @property
    def torn(self) -> list[bytes]:
        """The channel's lines that were no ledger records."""
        return self._reader.torn

    @property
    def answers(self) -> bytearray:
        """What the agent has written and nobody has taken yet; to be looked at inside `wait` or after it."""
        return self._received[Line.AGENT]

    def start(
        self,
        *,
        limit_s: float,
        on_limit: Callable[[], None],
        on_failure: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """Let QEMU have its ends, and read ours from now on.

        on_limit: called once, after `limit_s` seconds. on_failure: called when a listener has raised. on_end: called
        when QEMU is gone, before waiters are told.
        """
        self._on_failure = on_failure
        self.close_theirs()
        self._thread = threading.Thread(
            target=self._read,
            args=(time.monotonic() + limit_s, on_limit, on_end),
            name="serial lines",
            daemon=True,
        )
        self._thread.start()

    def send(self, line: Line, data: bytes) -> None:
        """Write to a line. A guest that is gone hears nothing; whoever waits for its answer is told."""
        with contextlib.suppress(OSError):
            self._ours[line].sendall(data)

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for `done` (called with the lock held), the end or the time limit; return what `done` says."""
        with self._news:
            self._news.wait_for(lambda: done() or self.ended, min(timeout, threading.TIMEOUT_MAX))
            return done()

    def take_answers(self) -> bytes:
        """Return what the agent has written, and forget it."""
        with self._news:
            taken = bytes(self.answers)
            self.answers.clear()
            return taken

    def close_theirs(self) -> None:
        """Close QEMU's ends here; QEMU has its own copies."""
        for end in self.theirs.values():
            end.close()

    def close(self) -> None:
        """Close everything; QEMU has to be gone."""
        self.close_theirs()
        if self._thread is not None:
            self._thread.join(10.0)
        for end in self._ours.values():
            end.close()

    def _read(self, deadline: float, on_limit: Callable[[], None], on_end: Callable[[], None]) -> None:
        over = False
        with selectors.DefaultSelector() as selector:
            for line, end in self._ours.items():
                selector.register(end, selectors.EVENT_READ, line)
            while selector.get_map():
                for key, _ in selector.select(_TICK_S):
                    data = _receive(key.fileobj)
                    if data:
                        self._take(key.data, data)
                    else:
                        selector.unregister(key.fileobj)
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
                self.ledger += self._reader.feed(data)
            else:
                self._received[line] += data
            self._news.notify_all()
        if listener := self._listeners.get(line):
            try:
                listener(data)
            except Exception as e:  # noqa: BLE001 - whoever waits for the machine raises it again
                del self._listeners[line]
                self.failure = self.failure or e
                self._on_failure()


def _receive(end: object) -> bytes:
    assert isinstance(end, socket.socket)
    try:
        return end.recv(65536)
    except OSError:
        return b""
