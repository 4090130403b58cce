"""hostbuild.guest.agent and wire: the host's end alone, with frames made by hand."""

import threading
import time

import pytest

from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Command, Lost, Output, request
from hostbuild.guest.wire import Wire
from microagent.frames import Frame, Kind, encode
from microagent.messages import pack_hello, pack_number


def hello(protocol: bytes = pack_hello()) -> bytes:
    """An agent's first frame."""
    return encode(Frame(Kind.HELLO, 0, protocol))


def test_an_agent_that_begins_anew() -> None:
    """A second hello means that the first agent has gone: its commands are lost, new ones can be started."""
    sent: list[bytes] = []
    agent = Agent(sent.append, window=1000)
    agent.feed(hello())
    assert agent.wait_ready(1)
    command = Command(agent, request(["true"]))
    agent.feed(hello())
    event = command.next(1)
    assert isinstance(event, Lost)
    assert "started again" in event.reason
    other = Command(agent, request(["true"]))
    agent.feed(encode(Frame(Kind.STDOUT, 2, b"x")))
    assert other.next(1) == Output(b"x", False)


def test_another_protocol() -> None:
    """An agent that speaks another protocol is told of, not spoken to."""
    agent = Agent(lambda _data: None, window=None)
    agent.feed(hello(bytes([9])))
    assert agent.wait_ready(1)
    assert "protocol 9" in agent.trouble


@pytest.mark.parametrize("payload", [b"", b"abc", b"x" * 30])
@pytest.mark.parametrize("kind", [Kind.EXIT, Kind.REFUSED, Kind.CREDIT, Kind.RECEIVED])
def test_damaged_payloads(kind: Kind, payload: bytes) -> None:
    """A frame whose payload makes no sense ends its command, which nobody can say more of, or is passed over."""
    agent = Agent(lambda _data: None, window=None)
    agent.feed(hello())
    command = Command(agent, request(["true"]))
    agent.feed(encode(Frame(kind, 1, payload)) + encode(Frame(Kind.STDOUT, 77, b"nobody's")))
    agent.end("over")
    event = command.next(1)
    assert isinstance(event, Lost)
    assert event.reason == ("over" if kind is Kind.RECEIVED else "its end came damaged over the agent's line")


def test_never_more_under_way_than_the_other_side_holds() -> None:
    """What is written stays within the window until the other side has said that it has it; the order is kept."""
    written = bytearray()
    wire = Wire(written.extend, window=1000)
    frames = [Frame(Kind.STDIN, 1, bytes([number]) * 300) for number in range(10)]
    for frame in frames:
        wire.send(frame)
    seen = 0
    deadline = time.monotonic() + 10
    while len(written) < sum(len(encode(frame)) for frame in frames):
        assert time.monotonic() < deadline
        time.sleep(0.01)
        assert len(written) - seen <= 1000
        wire.received(len(written) - seen)
        seen = len(written)
    assert bytes(written) == b"".join(map(encode, frames))
    wire.close()


def test_a_writer_that_is_stuck_holds_nobody_up() -> None:
    """Whoever sends does not wait for the line."""
    stuck = threading.Event()

    def write(_data: bytes) -> None:
        stuck.wait(20)

    wire = Wire(write, window=None)
    begin = time.monotonic()
    for _ in range(100):
        wire.send(Frame(Kind.PING, 0, pack_number(1)))
    assert time.monotonic() - begin < 5
    wire.close()
    stuck.set()
