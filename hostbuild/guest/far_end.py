"""Who answers at the other end of the agent's line: the agent of our images, or a shell in guests without one."""

import time
from collections.abc import Callable

from hostbuild.guest.agent import Agent
from hostbuild.guest.shell import PING, PONG, Raising, ShellLine
from microagent.messages import LINE_WINDOW

_PING_S = 0.5


class FarEnd:
    """`agent` and `shell` are there from the start; which of them answers shows when it does.

    send: writes to the line. wait: waits until `done`, for so many seconds; False where it is over before, or the guest
    ends. require: the same, and raises instead. running: does the guest still run?
    """

    def __init__(
        self,
        *,
        send: Callable[[bytes], None],
        wait: Callable[[Callable[[], bool], float], bool],
        require: Raising,
        running: Callable[[], bool],
    ) -> None:
        self.agent = Agent(send, window=LINE_WINDOW)
        self.shell = ShellLine(send, require)
        self._send = send
        self._wait = wait
        self._require = require
        self._running = running
        self._shell_answers = False

    def hear(self, data: bytes) -> None:
        """Take what has come down the line."""
        self.agent.feed(data)
        if not self.agent.ready:
            self.shell.answers.feed(data)
            self._shell_answers |= PONG in self.shell.answers.held

    def _answers(self) -> bool:
        return self.agent.ready or self._shell_answers

    def reach(self, timeout: float, line: str) -> None:
        """Wait until the guest's agent has said hello, or a shell in its place answers; raises where neither does.

        line: what the line is called in the guest.

        What comes down a serial line before somebody holds it open is lost, in part or whole, so a shell is asked
        again until it answers; an agent passes the question over.
        """
        deadline = time.monotonic() + timeout
        while not self._answers() and self._running() and time.monotonic() < deadline:
            self._send(PING)
            if self._wait(self._answers, _PING_S):
                return
        self._require(self._answers, 0, f"the guest's agent does not answer on {line}")
