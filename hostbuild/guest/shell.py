"""A shell on the agent's line, in guests that have nothing else there: one command at a time, as text.

Tiny images (an /init of one script, busybox) have it. What such a guest writes between two markers is the answer.
"""

import os
import shlex
from collections.abc import Callable
from typing import Protocol

from hostbuild.errors import GuestError
from hostbuild.guest.command import Completed

PING = b"\necho rea''dy\n"  # short, and harmless in any piece of it
PONG = b"ready\n"
ANSWERS = 64 << 20  # bytes of a command's output that are held, the last ones


class Answers:
    """What the line has brought and nobody has taken. lost: how many bytes were more than are held."""

    def __init__(self) -> None:
        self.lost = 0
        self.held = bytearray()

    def feed(self, data: bytes) -> None:
        """Keep what has come."""
        self.held += data
        if (over := len(self.held) - ANSWERS) > 0:
            self.lost += over
            del self.held[:over]

    def clear(self) -> None:
        """Forget everything."""
        self.lost = 0
        self.held.clear()


class Raising(Protocol):
    """Waits with the line's lock held until `done`; raises where that does not come."""

    def __call__(self, done: Callable[[], bool], timeout: float, complaint: str, /) -> None:
        """Wait; `complaint` says what did not come."""


class ShellLine:
    """The shell at the other end of a line."""

    def __init__(self, send: Callable[[bytes], None], wait: Raising) -> None:
        self.answers = Answers()
        self._send = send
        self._wait = wait
        self._commands = 0

    def run(self, command: str, timeout: float) -> Completed:
        """Run a command and return its status and all that it wrote.

        Each runs in a shell of its own with nothing on stdin, so that no command can derail the next one.
        """
        self._commands += 1
        tag = f"{os.getpid()}-{self._commands}"
        begin, end = f"<<{tag}<<\n".encode(), f">>{tag}>> ".encode()
        # The markers are written in two pieces: a line that echoed its input would not look like an answer.
        script = f"echo '<<''{tag}<<'; sh -c {shlex.quote(command)} </dev/null 2>&1; echo '>>''{tag}>>' $?\n"
        self._send(script.encode("utf-8", "surrogateescape"))

        # at so many bytes since the command was sent: answers of megabytes come a few bytes at a time
        looked = 0

        def answered() -> bool:
            nonlocal looked
            held, lost = self.answers.held, self.answers.lost
            at = held.find(end, max(0, looked - lost))
            looked = lost + (at if at >= 0 else max(0, len(held) - len(end)))
            return at >= 0 and held.find(b"\n", at) >= 0

        self._wait(answered, timeout, f"the guest did not finish the command {command!r}")
        taken, lost = bytes(self.answers.held), self.answers.lost
        self.answers.clear()
        output, _, rest = taken.partition(begin)[2].partition(end)
        status = rest.partition(b"\n")[0]
        if lost:
            raise GuestError(f"the command {command!r} wrote more than {ANSWERS >> 20} MiB")
        if not (status.isdigit() and len(status) <= 3):
            raise GuestError(f"the command {command!r} has no exit status: its end was forged")
        return Completed(int(status), output)
