"""A command of a guest's as if it ran here: its output, its input, its signals, its terminal.

A signal of ours becomes one of its. Should it not end: the third Ctrl-C, and SIGTERM or SIGHUP after ten seconds, end
the wait.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

from hostbuild import ui
from hostbuild.errors import ClosedPipeError
from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Command, Ended, Lost, Noticed, Output
from hostbuild.guest.refusal import Refusal
from microagent.messages import Size, Start

LEAVE = 0x1D  # Ctrl-]: on a terminal, leaves the guest; telnet and virsh have the same

_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
)
_FATAL = {signal.SIGTERM, signal.SIGHUP}
_GRACE_S = 10.0  # how long a command may take to end at SIGTERM
_INTERRUPTS = 3
_TICK_S = 1.0
_PING_S = 5.0  # of silence, then the agent is asked for a sign of life
_HUNG_S = 30.0  # without one the guest hangs


class LeftError(Exception):
    """The user left a guest's terminal."""


def run_here(
    agent: Agent,
    start: Start,
    *,
    stdin: int | None,
    before: bytes = b"",
) -> Ended | Refusal | Lost:
    """Run a command with this process's standard output and error, until it ends.

    stdin: the descriptor that its standard input comes from; None: it has none. before: what has been read of it.
    Raises KeyboardInterrupt, SystemExit for our own signals, LeftError.
    """
    command = Command(agent, start)
    wait = _Wait(command, agent, on_terminal=start.size is not None)
    with wait.listening():
        if stdin is None:
            command.end_input()
        else:
            _start_feeding(command, stdin, before, escape=start.size is not None)
        try:
            while True:
                event = command.next(_TICK_S)
                if event is None:
                    wait.tick()
                elif isinstance(event, Noticed):
                    wait.notice(event.number)
                elif isinstance(event, Output):
                    _show(event)
                    command.used(event)
                else:
                    return event
        except BaseException:
            command.signal(signal.SIGHUP)
            agent.flush(1.0)
            raise


def terminal_size() -> Size:
    """Return the size of this process's terminal."""
    for fd in (1, 0, 2):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            return Size(size.lines, size.columns)
    return Size(25, 80)


class _Wait:
    """What happens to us while we wait: signals, and silence."""

    def __init__(self, command: Command, agent: Agent, *, on_terminal: bool) -> None:
        self._command = command
        self._agent = agent
        self._on_terminal = on_terminal
        self._interrupts = 0
        self._deadline = float("inf")
        self._fatal = 0
        self._asked = 0.0
        self._told = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear of signals; as before afterwards. A handler only puts a word into the queue of the waiting loop."""
        numbers = [*_PASSED_ON, *([signal.SIGWINCH] if self._on_terminal else [])]
        before = {}
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGWINCH:
                before[number] = signal.signal(
                    number, lambda heard, _frame: self._command.events.put(Noticed(heard))
                )
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def notice(self, number: int) -> None:
        """Pass a signal on."""
        if number == 0:
            raise LeftError
        if number == signal.SIGWINCH:
            self._command.resize(terminal_size())
            return
        self._command.signal(number)
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts >= _INTERRUPTS:
                raise KeyboardInterrupt
        elif number in _FATAL and not self._fatal:
            self._fatal = number
            self._deadline = time.monotonic() + _GRACE_S

    def tick(self) -> None:
        """Look at the clock."""
        now = time.monotonic()
        if now > self._deadline:
            ui.note(f"the command did not end within {_GRACE_S:g} s of {signal.Signals(self._fatal).name}")
            sys.exit(128 + self._fatal)
        silent = now - self._agent.heard
        if silent >= _PING_S and now - self._asked >= _PING_S:
            self._asked = now
            self._agent.ping()
        if silent < _PING_S:
            self._told = False
        elif silent >= _HUNG_S and not self._told:
            self._told = True
            ui.note(f"the guest has not answered for {_HUNG_S:g} s; it may hang, or be very busy")


def _start_feeding(command: Command, fd: int, before: bytes, *, escape: bool) -> None:
    """Pass on what comes on a descriptor, in a thread: nothing wakes it from a terminal on which nobody types."""

    def pump() -> None:
        if before and not command.send_input(before):
            return
        while data := _read(fd):
            if escape and LEAVE in data:
                command.events.put(Noticed(0))
                return
            if not command.send_input(data):
                return
        command.end_input()

    threading.Thread(target=pump, name="input", daemon=True).start()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


def _show(output: Output) -> None:
    stream = sys.stderr if output.is_error else sys.stdout
    try:
        stream.buffer.write(output.data)
        stream.buffer.flush()
    except BrokenPipeError:
        raise ClosedPipeError from None
