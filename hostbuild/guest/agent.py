"""An agent as the host sees it: frames in and out, a number for each command, and whether anybody is there."""

import threading
import time
from collections.abc import Callable

from hostbuild.guest.wire import Wire
from microagent import PROTOCOL, UNDERSTOOD
from microagent.frames import Decoder, Frame, Kind
from microagent.messages import MessageError, parse_hello, parse_number

Hear = Callable[[Frame], None]
Lost = Callable[[str], None]

ENDED = "the guest has ended"  # the reason of an end that is not the agent's alone
_LAST = (Kind.EXIT, Kind.REFUSED, Kind.ANSWER, Kind.LOST)


class Agent:
    """The agent at the other end of a line. Its methods may be called from any thread.

    heard: when it last said something, in seconds of time.monotonic(). ready: it has said hello. protocol: which it
    speaks.
    """

    def __init__(self, write: Callable[[bytes], None], *, window: int | None) -> None:
        self.heard = time.monotonic()
        self.ready = False
        self.protocol = 0
        self.trouble = ""  # why it cannot be used, though it is there
        self._decoder = Decoder()
        self._wire = Wire(write, window)
        self._commands: dict[int, tuple[Hear, Lost]] = {}
        self._count = 0
        self._gone = ""
        self._news = threading.Condition()

    @property
    def skipped(self) -> int:
        """How many bytes on the line were not the agent's."""
        return self._decoder.skipped

    @property
    def usable(self) -> bool:
        """Whether it is there, and speaks as we do."""
        return self.ready and not self._gone and not self.trouble

    def feed(self, data: bytes) -> None:
        """Take what came over the line, in the thread that reads it."""
        for frame in self._decoder.feed(data):
            self.heard = time.monotonic()
            try:
                self._take(frame)
            except MessageError:  # not ours to understand
                continue

    def end(self, reason: str) -> None:
        """Note that nobody is there any more; every command is lost. `reason` says what happened."""
        with self._news:
            self._gone = reason
            self._news.notify_all()
        self._wire.close()
        self._lose(reason)

    def wait_ready(self, timeout: float) -> bool:
        """Wait until the agent has said hello, has gone, or the time is over; return whether it can be used."""
        with self._news:
            self._news.wait_for(lambda: self.ready or bool(self._gone), timeout)
            return self.ready and not self._gone

    def open(self, hear: Hear, lost: Lost) -> int:
        """Return a new command's number. `hear` gets its frames in the reading thread, `lost` the reason of an end."""
        with self._news:
            self._count += 1
            number = self._count
            if not self._gone:
                self._commands[number] = (hear, lost)
                return number
        lost(self._gone)
        return number

    def forget(self, number: int) -> None:
        """Pass over what else comes for a number."""
        with self._news:
            self._commands.pop(number, None)

    def send(self, frame: Frame) -> None:
        """Send a frame."""
        self._wire.send(frame)

    def flush(self, timeout: float) -> None:
        """Wait until what was sent has left, for so many seconds at most."""
        self._wire.flush(timeout)

    def ping(self) -> None:
        """Ask for a sign of life, which `heard` tells of."""
        self.send(Frame(Kind.PING))

    def _take(self, frame: Frame) -> None:
        kind, number, payload = frame
        if kind is Kind.RECEIVED:
            self._wire.received(parse_number(payload))
        elif kind is Kind.HELLO:
            self._welcome(parse_hello(payload))
        elif number:
            with self._news:
                found = self._commands.get(number)
                if kind in _LAST:
                    self._commands.pop(number, None)
            if found is not None:
                found[0](frame)

    def _welcome(self, protocol: int) -> None:
        if self.ready:
            self._wire.reset()
            self._lose("the guest's agent was killed, and has started again")
        with self._news:
            self.protocol = protocol
            if protocol not in UNDERSTOOD:
                self.trouble = f"the agent speaks protocol {protocol}, not {PROTOCOL}: make the image again"
            self.ready = True
            self._news.notify_all()

    def _lose(self, reason: str) -> None:
        with self._news:
            lost = [lost for _, lost in self._commands.values()]
            self._commands.clear()
        for one in lost:
            one(reason)
