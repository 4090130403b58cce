"""A virtio port served beside the line: the agent of this machine, and a terminal in the place of the port."""

import contextlib
import hashlib
import os
import signal
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Command, CommandLostError, Lost, request, run_to_end
from hostbuild.guest.port import serve_port
from microagent import PROTOCOL
from microagent.frames import Frame, Kind, encode
from microagent.messages import LINE_WINDOW
from tests.support.agentrig import Rig, agent_rig


@pytest.fixture
def ports() -> Iterator[tuple[Rig, Agent]]:
    """An agent on its line, and the host's end of a port that it may serve."""
    master, slave = os.openpty()
    tty.setraw(slave)
    port = Agent(lambda data: _write_all(master, data), window=LINE_WINDOW)
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while not ended.is_set():
                port.feed(os.read(master, 65536))

    threading.Thread(target=read, daemon=True).start()
    with agent_rig(Path(os.ttyname(slave))) as rig:
        assert serve_port(rig.agent, port)
        yield rig, port
    ended.set()
    os.write(slave, b"end")
    os.close(slave)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _pid_over(agent: Agent) -> int:
    done = run_to_end(agent, request(["sh", "-c", "echo $PPID"], directory="/"), timeout=20)
    assert done is not None
    return int(done.output)


def _until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def _there(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()  # not of one that has ended and is not collected


def test_commands_go_over_both(ports: tuple[Rig, Agent]) -> None:
    """Input and output come whole over the port, whose agent is another process; the line goes on beside it."""
    rig, port = ports
    data = os.urandom(300_000)
    done = run_to_end(port, request(["cat"], directory="/"), stdin=data, timeout=60)
    assert done is not None
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert (_pid_over(rig.agent), rig.process.pid) == (rig.process.pid, rig.process.pid)
    assert _pid_over(port) != rig.process.pid


def test_a_port_that_ends_is_told_of(ports: tuple[Rig, Agent]) -> None:
    """What runs there is lost, with the reason; the line is still good."""
    rig, port = ports
    command = Command(port, request(["sleep", "1000"], directory="/"))
    os.kill(_pid_over(port), signal.SIGKILL)
    event = command.next(20)
    assert isinstance(event, Lost)
    assert event.reason == "the guest's agent on the virtio port has ended"
    assert not port.usable
    with pytest.raises(CommandLostError):
        run_to_end(port, request(["true"]), timeout=20)
    assert _pid_over(rig.agent) == rig.process.pid


def test_the_port_ends_with_the_line(ports: tuple[Rig, Agent]) -> None:
    """Whoever ends the agent ends its copy, and the commands of both."""
    rig, port = ports
    copy = _pid_over(port)
    rig.process.kill()
    assert _until(lambda: not _there(copy))
    assert _until(lambda: not port.usable)


@pytest.mark.parametrize(("protocol", "asked"), [(1, False), (PROTOCOL, True)])
def test_only_who_knows_ports_is_asked(protocol: int, *, asked: bool) -> None:
    """An agent of an older image never hears of them; one that refuses leaves the line as it is."""
    written: list[bytes] = []
    line = Agent(written.append, window=None)
    line.feed(encode(Frame(Kind.HELLO, 0, bytes([protocol]))))
    assert line.usable
    refusing = threading.Timer(
        0.3,
        lambda: line.feed(encode(Frame(Kind.REFUSED, 1, bytes([19]) + b"port"))),  # ENODEV
    )
    refusing.start()
    assert not serve_port(line, Agent(written.append, window=None))
    refusing.join()
    assert bool(written) is asked
