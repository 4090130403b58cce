"""hostbuild.guest.far_end: who answers at the other end of the agent's line, without a guest."""

from collections.abc import Callable

import pytest

from hostbuild.errors import GuestError
from hostbuild.guest.far_end import FarEnd
from hostbuild.guest.shell import PING, PONG
from microagent.frames import Frame, Kind, encode
from microagent.messages import pack_hello


class Guest:
    """A guest that answers the question number `hears` with `says`; ends: with it, the guest ends."""

    def __init__(self, says: bytes, *, hears: int = 1, ends: bool = False) -> None:
        self.says, self.hears, self.ends = says, hears, ends
        self.asked = 0
        self.running = True
        self.end = FarEnd(
            send=self._send, wait=self._wait, require=self._require, running=lambda: self.running
        )

    def _send(self, data: bytes) -> None:
        assert data == PING
        self.asked += 1
        if self.asked == self.hears:
            self.end.hear(self.says)
            self.running = not self.ends

    def _wait(self, done: Callable[[], bool], _timeout: float) -> bool:
        return done()

    def _require(self, done: Callable[[], bool], _timeout: float, complaint: str) -> None:
        if not done():
            raise GuestError(complaint)


def test_a_shell_is_asked_again_until_it_answers() -> None:
    """What comes down before somebody listens is lost; the first question that is heard is answered by the shell."""
    guest = Guest(b"# echo rea''dy\r\n" + PONG, hears=3)
    guest.end.reach(60, "ttyS2")
    assert guest.asked == 3
    assert not guest.end.agent.ready
    guest.end.reach(60, "ttyS2")
    assert guest.asked == 3, "who has answered is not asked again"


def test_an_agent_is_told_from_a_shell() -> None:
    """An agent says hello, and what it says afterwards is none of a shell's answers."""
    guest = Guest(encode(Frame(Kind.HELLO, 0, pack_hello())))
    guest.end.reach(60, "ttyS2")
    guest.end.hear(PONG)
    assert guest.end.agent.ready
    assert not guest.end.shell.answers.held


@pytest.mark.parametrize(("ends", "limit", "asked"), [(True, 60.0, 1), (False, 0.0, 0)])
def test_nobody_answers(*, ends: bool, limit: float, asked: int) -> None:
    """A guest that has ended is not asked for ever, nor one that is silent beyond the limit; the error says so."""
    guest = Guest(b"login: ", ends=ends)
    with pytest.raises(GuestError, match="the guest's agent does not answer"):
        guest.end.reach(limit, "ttyS2")
    assert guest.asked == asked
