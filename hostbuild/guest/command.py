"""A command in a guest: started, fed, listened to, signalled, until it has ended."""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from hostbuild.errors import GuestError, UsageError
from hostbuild.guest.agent import Agent
from hostbuild.guest.refusal import Refusal, explain
from hostbuild.log import debug
from microagent.frames import LIMIT, PIECE, Frame, Kind
from microagent.messages import (
    INPUT_WINDOW,
    Exit,
    MessageError,
    Size,
    Start,
    pack_number,
    pack_size,
    pack_start,
    parse_exit,
    parse_number,
    parse_refused,
)


class CommandLostError(GuestError):
    """The guest, or its agent, went away under a command."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran in the guest: its exit status (128 + N where signal N ended it), and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes = b""

    @property
    def output(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are kept as surrogates."""
        return self.stdout.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of what a command wrote."""

    data: bytes
    is_error: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A command's end: its status as a shell counts, and the signal that ended it (0: none)."""

    status: int
    signal: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The end of whoever ran a command."""

    reason: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that the waiting thread wants to be told, for its own loop: a signal of this process's, a tick."""

    number: int


Event = Output | Ended | Refusal | Lost | Noticed


def request(
    argv: Sequence[str],
    *,
    directory: str = "",
    environment: Iterable[str] = (),
    size: Size | None = None,
) -> Start:
    """Make a request of words; bytes that are not UTF-8 stand in them as surrogates. Raises UsageError."""
    start = Start(tuple(map(_bytes, argv)), _bytes(directory), tuple(map(_bytes, environment)), size)
    try:
        payload = pack_start(start)
    except MessageError as e:
        raise UsageError(f"the guest cannot run this command: {e}") from e
    if len(payload) > LIMIT:
        raise UsageError(
            f"the command is longer than {LIMIT >> 20} MiB", hint="pass data on its standard input"
        )
    return start


class Command:
    """One command. Its events come in `events`; what they hold counts against its window until `used` says so."""

    def __init__(self, agent: Agent, start: Start) -> None:
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.start = start
        self._agent = agent
        self._credit = INPUT_WINDOW
        self._over = False
        self._got = {Kind.STDOUT: 0, Kind.STDERR: 0}
        self._news = threading.Condition()
        self._number = agent.open(self._hear, self._lose)
        debug("guest", f"run {shown(start)}")
        agent.send(Frame(Kind.START, self._number, pack_start(start)))

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None after `timeout` seconds."""
        try:
            return self.events.get(timeout=timeout)
        except Empty:
            return None

    def used(self, output: Output) -> None:
        """Let the command write as much again."""
        self._agent.send(Frame(Kind.CREDIT, self._number, pack_number(len(output.data))))

    def send_input(self, data: bytes) -> bool:
        """Write to its standard input; waits while it reads nothing. False once it has ended."""
        view = memoryview(data)
        while view:
            with self._news:
                self._news.wait_for(lambda: self._credit > 0 or self._over)
                if self._over:
                    return False
                piece = bytes(view[: min(PIECE, self._credit)])
                self._credit -= len(piece)
            self._agent.send(Frame(Kind.STDIN, self._number, piece))
            view = view[len(piece) :]
        return True

    def end_input(self) -> None:
        """Close its standard input."""
        self._agent.send(Frame(Kind.STDIN_END, self._number))

    def signal(self, number: int) -> None:
        """Signal its process group."""
        self._agent.send(Frame(Kind.SIGNAL, self._number, bytes([number])))

    def resize(self, size: Size) -> None:
        """Tell its terminal's size."""
        self._agent.send(Frame(Kind.SIZE, self._number, pack_size(size)))

    def _hear(self, frame: Frame) -> None:
        try:
            self._take(frame)
        except MessageError:
            self._finish(Lost("its end came damaged over the agent's line"))

    def _take(self, frame: Frame) -> None:
        if frame.kind in self._got:
            self._got[frame.kind] += len(frame.payload)
            self.events.put(Output(frame.payload, frame.kind is Kind.STDERR))
        elif frame.kind is Kind.CREDIT:
            with self._news:
                self._credit = min(INPUT_WINDOW, self._credit + parse_number(frame.payload))
                self._news.notify_all()
        elif frame.kind is Kind.EXIT:
            self._finish(self._ending(parse_exit(frame.payload)))
        elif frame.kind is Kind.LOST:
            self._finish(Lost(frame.payload.decode("utf-8", "replace")))
        elif frame.kind is Kind.REFUSED:
            self._finish(explain(parse_refused(frame.payload), self.start))

    def _ending(self, ended: Exit) -> Event:
        if (ended.stdout, ended.stderr) != tuple(self._got.values()):
            return Lost(
                "a part of its output was lost: another program of the guest's wrote to the agent's line"
            )
        return Ended(128 + ended.signal if ended.signal else ended.status, ended.signal)

    def _lose(self, reason: str) -> None:
        self._finish(Lost(reason))

    def _finish(self, event: Event) -> None:
        with self._news:
            self._over = True
            self._news.notify_all()
        self.events.put(event)


def run_to_end(
    agent: Agent, start: Start, *, stdin: bytes = b"", timeout: float, most: int = 64 << 20
) -> Completed | None:
    """Run a command and return what it wrote, at most `most` bytes; None where it was killed at the time limit.

    A command that could not be started has a shell's status (127, 126) and the reason on its standard error.
    Raises CommandLostError, GuestError for too much output.
    """
    deadline = time.monotonic() + timeout
    command = Command(agent, start)
    if stdin:
        threading.Thread(target=_feed, args=(command, stdin), name="input", daemon=True).start()
    else:
        command.end_input()
    written = {False: bytearray(), True: bytearray()}
    while True:
        event = command.next(max(0.0, deadline - time.monotonic()))
        match event:
            case None:
                command.signal(9)
                return None
            case Output(data, is_error):
                written[is_error] += data
                command.used(event)
                if sum(map(len, written.values())) > most:
                    command.signal(9)
                    raise GuestError(f"the command {shown(start)} wrote more than {most >> 20} MiB")
            case Ended(status):
                return Completed(status, bytes(written[False]), bytes(written[True]))
            case Refusal(status, message):
                return Completed(status, b"", f"{message}\n".encode("utf-8", "surrogateescape"))
            case Lost(reason):
                raise CommandLostError(f"the command {shown(start)} did not end: {reason}")


def shown(start: Start) -> str:
    """Name a command in a message."""
    text = b" ".join(start.argv).decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 120 else f"{text[:120]}...")


def _feed(command: Command, data: bytes) -> None:
    command.send_input(data)
    command.end_input()


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")
