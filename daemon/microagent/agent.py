"""The agent: a loop that waits for the line, for the commands' streams and for their ends, whichever comes first.

Standard input and output are the line, raw (usr/lib/micro/agent has set it so). Where the host asks for it, a copy of
the process serves a virtio port in the same way; the line goes on. What is not understood is not answered: the host
has its time limits.
"""

from __future__ import annotations

import errno
import os
import select
import sys

from microagent.frames import PIECE, Decoder, Frame, Kind, encode
from microagent.messages import (
    LINE_WINDOW,
    Exit,
    MessageError,
    Refused,
    Stage,
    pack_exit,
    pack_hello,
    pack_number,
    pack_refused,
    parse_number,
    parse_signal,
    parse_size,
    parse_start,
)
from microagent.port import open_port
from microagent.process import (
    Child,
    RefusedError,
    branch,
    reap,
    resize,
    send_signal,
    spare_from_oom,
    start,
)
from microagent.streams import Streams

MOST = 64  # commands at a time
_FULL = 4 * PIECE  # bytes that wait for the line; beyond it no command's output is read
_SAY_RECEIVED = LINE_WINDOW // 4
_ENDS = (
    errno.EIO,
    errno.ENODEV,
    errno.EPIPE,
)  # what a terminal says at its end, and a port that was taken away


class Running:
    """A command, its streams as they are still open (-1: closed), and how it ended."""

    def __init__(self, number: int, child: Child) -> None:
        self.streams = Streams(number)
        self.child = child
        self.stdin = child.stdin
        self.outputs = {Kind.STDOUT: child.stdout} | (
            {Kind.STDERR: child.stderr} if child.stderr >= 0 else {}
        )
        self.ended: tuple[int, int] | None = None
        self.on_terminal = child.stderr < 0

    def close_input(self) -> None:
        """Close its standard input; a terminal stays open, it is its output as well."""
        if self.stdin >= 0 and not self.on_terminal:
            os.close(self.stdin)
        self.stdin = -1

    def close_output(self, kind: Kind) -> None:
        """Close one of its outputs."""
        os.close(self.outputs.pop(kind))
        if self.on_terminal:
            self.stdin = -1


class Agent:
    """Everything that the agent knows; `run` is its life."""

    def __init__(self, reading: int, writing: int, parent: int = -1) -> None:
        """parent: a descriptor that is readable once the agent that this one is a copy of has ended."""
        self._reading, self._writing, self._parent = reading, writing, parent
        self._decoder = Decoder()
        self._outbox = bytearray()
        self._received = 0
        self._running: dict[int, Running] = {}
        self._copies: dict[int, tuple[int, int]] = {}  # pidfd -> number, pid
        self._ended = False

    def run(self) -> None:
        """Serve the host until the line ends."""
        self._say([Frame(Kind.HELLO, 0, pack_hello())])
        while self._once():
            pass
        for one in self._running.values():
            send_signal(one.child, 1)  # SIGHUP, as at the end of a terminal

    def _once(self) -> bool:
        """Wait for what comes first, and deal with it; False once the line has ended."""
        wanted, doing = self._wanted()
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        # What an ended command has left is in its pipes already: nothing would wake us for it.
        left = any(one.ended is not None and one.streams.room() for one in self._running.values())
        for fd, events in poll.poll(0 if left and len(self._outbox) < _FULL else None):
            if fd == self._parent:
                return False
            if fd in self._copies:
                self._collect(fd)
            if fd == self._writing and events & select.POLLOUT:
                self._flush()
            if fd == self._reading and events & ~select.POLLOUT:
                if not self._read():
                    return False
            elif fd in doing:
                self._serve(*doing[fd], events)
        for one in [one for one in self._running.values() if one.ended is not None]:
            self._finish(one)
        return not self._ended

    def _wanted(self) -> tuple[dict[int, int], dict[int, tuple[Running, str]]]:
        """Return which descriptors to wait for, with poll's events, and of a command's what to do then."""
        wanted = dict.fromkeys((self._reading, *self._copies), select.POLLIN)
        if self._parent >= 0:
            wanted[self._parent] = select.POLLIN
        if self._outbox:
            wanted[self._writing] = wanted.get(self._writing, 0) | select.POLLOUT
        doing = {}
        for one in self._running.values():
            if one.ended is None:
                wanted[one.child.pidfd] = select.POLLIN
                doing[one.child.pidfd] = (one, "end")
            if one.stdin >= 0 and one.streams.incoming:
                wanted[one.stdin] = select.POLLOUT
                doing[one.stdin] = (one, "input")
            if len(self._outbox) < _FULL and one.streams.room():
                for fd in one.outputs.values():
                    wanted[fd] = wanted.get(fd, 0) | select.POLLIN
                    doing.setdefault(fd, (one, "output"))
        return wanted, doing

    def _read(self) -> bool:
        try:
            data = os.read(self._reading, LINE_WINDOW)
        except BlockingIOError:
            return True
        except OSError as e:
            if e.errno in _ENDS:
                return False
            raise
        if not data:
            return False
        self._received += len(data)
        if self._received >= _SAY_RECEIVED:
            self._say([Frame(Kind.RECEIVED, 0, pack_number(self._received))])
            self._received = 0
        for frame in self._decoder.feed(data):
            try:
                self._hear(frame)
            except ValueError:  # a MessageError, too: not ours to understand
                continue
        return True

    def _hear(self, frame: Frame) -> None:
        kind, number, payload = frame
        if kind is Kind.PING:
            self._say([Frame(Kind.PONG, 0, payload)])
        elif kind is Kind.START:
            self._start(number, payload)
        elif kind is Kind.SERVE:
            self._serve_port(number, payload)
        elif one := self._running.get(number):
            self._tell(one, kind, payload)

    def _start(self, number: int, payload: bytes) -> None:
        if number in self._running or len(self._running) >= MOST:
            self._say([Frame(Kind.REFUSED, number, pack_refused(Refused(Stage.REQUEST, errno.EAGAIN)))])
            return
        try:
            child = start(parse_start(payload))
        except MessageError:
            self._say([Frame(Kind.REFUSED, number, pack_refused(Refused(Stage.REQUEST, errno.EBADMSG)))])
        except RefusedError as e:
            self._say([Frame(Kind.REFUSED, number, pack_refused(e.refused))])
        else:
            self._running[number] = Running(number, child)
            self._say([Frame(Kind.STARTED, number, pack_number(child.pid))])

    def _serve_port(self, number: int, name: bytes) -> None:
        """Have a copy of this process serve a port; it knows nothing of what runs here."""
        try:
            port = open_port(name.decode("ascii"))
        except OSError as e:
            self._say([Frame(Kind.REFUSED, number, pack_refused(Refused(Stage.PORT, e.errno or 0)))])
            return
        try:
            pid, pidfd = branch(lambda parent: self._become_server_of(port, parent))
        except OSError as e:
            self._say([Frame(Kind.REFUSED, number, pack_refused(Refused(Stage.PROCESS, e.errno or 0)))])
        else:
            self._copies[pidfd] = number, pid
            self._say([Frame(Kind.STARTED, number, pack_number(pid))])
        finally:
            os.close(port)

    def _collect(self, pidfd: int) -> None:
        number, pid = self._copies.pop(pidfd)
        self._say([Frame(Kind.EXIT, number, pack_exit(Exit(*reap(pid, pidfd), 0, 0)))])

    def _become_server_of(self, port: int, parent: int) -> None:
        for one in self._running.values():
            for fd in {one.stdin, *one.outputs.values(), one.child.pidfd if one.ended is None else -1} - {-1}:
                os.close(fd)
        for fd in (*self._copies, self._reading, self._writing):
            os.close(fd)
        Agent(port, port, parent).run()

    def _tell(self, one: Running, kind: Kind, payload: bytes) -> None:
        if kind is Kind.STDIN:
            self._say(one.streams.take_input(payload))
        elif kind is Kind.STDIN_END:
            one.streams.input_open = False
            if not one.streams.incoming:
                one.close_input()
        elif kind is Kind.CREDIT:
            one.streams.credit(parse_number(payload))
        elif kind is Kind.SIGNAL:
            if one.ended is None:
                send_signal(one.child, parse_signal(payload))
        elif kind is Kind.SIZE and one.on_terminal and Kind.STDOUT in one.outputs:
            resize(one.outputs[Kind.STDOUT], parse_size(payload))

    def _serve(self, one: Running, what: str, events: int) -> None:
        if what == "end":
            one.ended = reap(one.child.pid, one.child.pidfd)
            return
        if what == "input" and one.stdin >= 0 and events & ~select.POLLIN:
            self._feed(one)
        if events & ~select.POLLOUT:
            for kind in list(one.outputs):
                self._drain(one, kind)

    def _feed(self, one: Running) -> None:
        try:
            count = os.write(one.stdin, one.streams.incoming)
        except BlockingIOError:
            return
        except OSError:  # it has closed its standard input
            self._say(one.streams.input_refused())
            one.close_input()
            return
        self._say(one.streams.input_written(count))
        if not one.streams.input_open and not one.streams.incoming:
            one.close_input()

    def _drain(self, one: Running, kind: Kind) -> bool:
        """Send a piece of an output; False where there is none now."""
        room = one.streams.room()
        if not room:
            return False
        try:
            data = os.read(one.outputs[kind], room)
        except BlockingIOError:
            return False
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if not data:
            one.close_output(kind)
            return False
        self._say([one.streams.output(kind, data)])
        return True

    def _finish(self, one: Running) -> None:
        """Send what an ended command has left in its pipes, as far as there is room, then say how it ended.

        What it started, and still runs, may hold the pipes; that is not waited for.
        """
        for kind in list(one.outputs):
            while self._drain(one, kind):
                if len(self._outbox) >= _FULL:
                    return
            if kind in one.outputs and not one.streams.room():
                return
        assert one.ended is not None
        for kind in list(one.outputs):
            one.close_output(kind)
        self._say(one.streams.input_refused())
        one.close_input()
        del self._running[one.streams.number]
        self._say([one.streams.exit(*one.ended)])

    def _say(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._outbox += encode(frame)
        if frames:
            self._flush()

    def _flush(self) -> None:
        try:
            written = os.write(self._writing, self._outbox)
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno not in _ENDS:
                raise
            self._ended = True
            return
        del self._outbox[:written]


def main(_words: list[str] | None = None) -> int:
    """Serve the host on standard input and output."""
    reading, writing = os.dup(0), os.dup(1)  # not inheritable, as all that Python opens
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    spare_from_oom(b"-1000")
    Agent(reading, writing).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
