"""supervisor.py: what systemd and s6 hear of a daemon that they have started, and how it ends."""

import os
import posix
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modaliasd.core.errors import UsageError
from modaliasd.linux.fullsystem.supervisor import Supervisor, open_supervisor
from tests.support.fakeworld import Fakes


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end of the socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.settimeout(5)
        environment = {b"NOTIFY_SOCKET": str(tmp_path / "notify").encode()}
        monkeypatch.setattr(posix, "environ", environment)
        yield ours


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """SIGTERM does afterwards what it did before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, before)


def words(ours: socket.socket) -> list[str]:
    """What has come to systemd, each datagram's lines apart."""
    ours.setblocking(False)
    heard = []
    while True:
        try:
            heard += ours.recv(4096).decode().split("\n")
        except BlockingIOError:
            return heard


def test_a_service_is_ready_settled_and_stopping(systemd: socket.socket) -> None:
    """READY=1 once uevents and clients are heard, the counts at a settle, STOPPING=1 at SIGTERM; it ends with 0."""
    fakes = Fakes(supervisor=open_supervisor(-1))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    service = fakes.service()
    first = words(systemd)
    timer.start()
    assert service.run() == 0
    assert first == ["READY=1", f"MAINPID={os.getpid()}", "STATUS=walking /sys"]
    assert words(systemd) == [
        "STATUS=settled: 0 devices, 0 matched, 0 bound, 0 modules loaded, 0 failed",
        "STOPPING=1",
    ]
    assert any('"type":"settled"' in line for line in fakes.ledger.lines)


def test_children_hear_of_no_supervisor(systemd: socket.socket) -> None:
    """Neither the variable nor the descriptor is left for a modprobe."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    told = open_supervisor(writing)
    assert told is not None
    assert posix.environ == {}
    assert not os.get_inheritable(writing)
    told.ready("so")
    os.close(reading)


def test_s6_reads_a_newline_and_the_end() -> None:
    """The descriptor gets one newline, and is closed: that is what s6-supervise waits for."""
    reading, writing = os.pipe()
    told = open_supervisor(writing)
    assert told is not None
    told.ready("walking")
    told.status("settled")
    assert os.read(reading, 100) == b"\n"
    assert os.read(reading, 100) == b""
    os.close(reading)


def test_a_reader_that_has_gone_is_no_error() -> None:
    """Whoever waited for the newline may have been killed."""
    reading, writing = os.pipe()
    told = open_supervisor(writing)
    assert told is not None
    os.close(reading)
    told.ready("walking")


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """`@name` stands for a name that begins with a null byte."""
    name = f"modaliasd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(f"\0{name}")
        monkeypatch.setattr(posix, "environ", {b"NOTIFY_SOCKET": f"@{name}".encode()})
        told = open_supervisor(-1)
        assert told is not None
        told.status("a\nREADY=1")
        assert words(ours) == ["STATUS=a\\x0aREADY=1"] or words(ours) == []


@pytest.mark.parametrize("address", [b"", b"vsock:2:9999", b"relative"])
def test_nobody_is_told(address: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, one of another kind, or nonsense: no supervisor."""
    monkeypatch.setattr(posix, "environ", {b"NOTIFY_SOCKET": address})
    assert open_supervisor(-1) is None


def test_a_socket_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    """A supervisor that cannot be told has no say."""
    Supervisor(str(tmp_path / "none").encode(), -1).ready("walking")


def test_a_closed_descriptor_is_wrong_usage() -> None:
    """A number that nobody has opened is the caller's mistake."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(UsageError, match="Bad file descriptor"):
        open_supervisor(writing)
