"""control.py and the clients: clients that are slow, many, gone or rude, and what they ask for."""

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modaliasd.core.device import Device
from modaliasd.core.errors import UsageError, WorldError
from modaliasd.core.settlement import GRACE_US, Advice
from modaliasd.linux.control import MOST_CLIENTS, Control, ask
from modaliasd.linux.netlink import Datagram, Oddity
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.intake import EVENTS_A_TURN
from modaliasd.service.loop import Service
from tests.support.fakeworld import FakeLoader, Fakes, FakeSupervisor, FakeUevents
from tests.support.fuzzing import examples
from tests.support.privileges import descriptors
from tests.support.simkernel import SimKernel

DISK = Device("/devices/pci0/disk", "block", "", "sd", "disk", "vda")


class Daemon:
    """A service on fakes that serves a real control socket in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.fakes = Fakes(now_us=1)
        self.fakes.sysfs.devices = [DISK]
        self.control = Control(self.path, os.geteuid())
        self.fakes.control = self.control
        self.fakes.supervisor = self.supervisor = FakeSupervisor()
        self.fakes.clock = lambda: time.monotonic_ns() // 1000
        self.service = self.fakes.service()
        self.thread = threading.Thread(target=self.service.run, daemon=True)
        self.thread.start()

    def ask(self, *words: str) -> dict[str, Any]:
        """One request and its answer."""
        answer: dict[str, Any] = json.loads(ask(self.path, list(words), 20))
        return answer

    def connect(self) -> socket.socket:
        """A client that has said nothing yet."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(self.path)  # blocks while many stand in line
        client.settimeout(20)
        return client


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("control") / "control")
    yield running
    running.supervisor.end()
    running.thread.join(20)
    assert not running.thread.is_alive()


def test_settle_and_status(daemon: Daemon) -> None:
    """A settle is answered at once where nothing is to do; the status counts devices."""
    assert daemon.ask("settle")["ok"]
    status = daemon.ask("status")
    assert (status["devices"], status["bound"], status["lost"]) == (1, 1, 0)


def test_a_settle_that_does_not_come_in_time(daemon: Daemon) -> None:
    """While something loads, a settle with a limit is answered at the limit, with what is still loading."""
    daemon.fakes.loader.wanted.append("never")
    daemon.fakes.loader.start_jobs = lambda **_how: []  # type: ignore[method-assign]
    try:
        answer = daemon.ask("settle", "0.05")
        assert (answer["ok"], answer["error"]) == (False, "not settled in time")
    finally:
        daemon.fakes.loader.wanted.clear()
    assert daemon.ask("settle")["ok"]


@pytest.mark.parametrize(
    "what", ["/dev/vda", "/devices/pci0/disk", "/sys/devices/pci0/disk", "subsystem:block", "driver:sd"]
)
def test_wait_for_what_is_there(daemon: Daemon, what: str) -> None:
    """Whatever it is called by, a device that is there is found at once, with its path."""
    assert daemon.ask("wait", "5", what) == {"ok": True, "found": "/devices/pci0/disk"}


def test_wait_for_what_comes(daemon: Daemon) -> None:
    """Who waits is answered when the uevent of the device is handled."""
    with daemon.connect() as client:
        client.sendall(b"wait 0 /dev/sdz\n")
        while not daemon.service._clients._waiters._for_device:  # type: ignore[union-attr]
            time.sleep(0.01)
        daemon.fakes.uevents.event("/devices/late", 1, SUBSYSTEM="block", DEVNAME="sdz")
        daemon.fakes.uevents.ring()
        assert json.loads(client.recv(1000)) == {"ok": True, "found": "/devices/late"}


@pytest.mark.parametrize("name", ["x" * 4074, "a\0b", "../..", "a/b", "\udcff"])
def test_wait_for_what_no_module_can_be_called(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A name that the kernel's files cannot have is one that does not come; the daemon goes on."""
    monkeypatch.setattr(daemon.fakes.sysfs, "is_live", Sysfs("/sys").is_live)
    with daemon.connect() as client:
        client.sendall(f"wait 0.05 module:{name}\n".encode("utf-8", "surrogateescape"))
        assert json.loads(client.recv(100_000))["error"].endswith(" did not appear in time")
    assert daemon.ask("status")["ok"]


def test_wait_has_an_end(daemon: Daemon) -> None:
    """What does not come in time is told so by its name."""
    assert daemon.ask("wait", "0.05", "driver:none")["error"] == "driver:none did not appear in time"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "nonsense",
        "settle soon",
        "settle nan",
        "settle -1",
        "wait",
        "wait 5",
        "exit",
        "exit 256",
        "exit " + "0" * 4001,
        "exit " + "9" * 4080,
        "exit ²",
        "settled-script",
        "settled-script 5",
        "settled-script x /etc/settled.d/a",
        "load",
    ],
)
def test_requests_without_sense(daemon: Daemon, words: str) -> None:
    """Unknown requests and invalid numbers get an answer that says so."""
    with daemon.connect() as client:
        client.sendall(words.encode() + b"\n")
        answer = json.loads(client.recv(1000))
        assert answer["ok"] is False
        assert answer["error"]


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200))
def test_no_bytes_stop_the_daemon(daemon: Daemon, noise: bytes) -> None:
    """Any line of bytes is answered or waits; the next client is served."""
    if noise.startswith((b"exit", b"freeze")):
        return
    with daemon.connect() as client:
        client.sendall(noise + b"\n")
    assert daemon.ask("status")["ok"]


@pytest.mark.parametrize(
    ("request_", "path", "message"),
    [
        ("settled-script 5 /etc/settled.d/10-a", "/etc/settled.d/10-a", "it ended with status 5"),
        (
            "settled-script 126 /etc/settled.d/a b",
            "/etc/settled.d/a b",
            "it is not executable, and was not run",
        ),
    ],
)
def test_a_failed_program_is_written_down(daemon: Daemon, request_: str, path: str, message: str) -> None:
    """A program of settled.d that failed stands in the ledger by its path, spaces and all."""
    assert daemon.ask(*request_.split(" "))["ok"]
    warning = daemon.fakes.records()[-1]
    assert (warning["what"], warning["path"], warning["message"]) == ("settled.d", path, message)


def test_a_request_that_ends_too_late(daemon: Daemon) -> None:
    """A line is too long even if the read that makes it so brings its newline."""
    with daemon.connect() as client:
        client.sendall(b"exit " + b"1" * 4091)
        time.sleep(0.1)
        client.sendall(b"1" * 900 + b"\n")
        assert client.recv(1000) == b""
    assert daemon.ask("status")["ok"]


def test_a_request_that_does_not_end(daemon: Daemon) -> None:
    """A client that sends without a newline beyond the limit is hung up on."""
    with daemon.connect() as client:
        try:
            for _ in range(3):
                client.sendall(b"x" * 4000)
            assert client.recv(10) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert daemon.ask("status")["ok"]


def test_a_thousand_silent_clients_keep_nobody_out(daemon: Daemon) -> None:
    """With a thousand connections that say nothing or half a word, a request in between is answered."""
    with descriptors(2 * 1000):  # both ends are this process's
        _crowd(daemon, 1000)


def _crowd(daemon: Daemon, size: int) -> None:
    silent: list[socket.socket] = []
    slowest = 0.0
    try:
        for number in range(size):
            client = daemon.connect()
            if number % 2:
                client.send(b"stat")
            silent.append(client)
            if number % 100 == 0:
                begun = time.monotonic()
                assert daemon.ask("status")["ok"]
                slowest = max(slowest, time.monotonic() - begun)
        assert len(daemon.control._clients) <= MOST_CLIENTS
    finally:
        for client in silent:
            client.close()
    assert daemon.ask("status")["ok"]
    assert slowest < 20


def test_clients_that_never_read(daemon: Daemon) -> None:
    """Two hundred clients that ask and do not take their answers cost nobody theirs."""
    clients = [daemon.connect() for _ in range(200)]
    for client in clients:
        try:
            client.sendall(b"status\n")
        except BrokenPipeError:
            continue  # it had to make room
    assert daemon.ask("settle")["ok"]
    for client in clients:
        client.close()


def test_who_waits_keeps_the_place(daemon: Daemon) -> None:
    """A client that waits for its answer is not among those that make room for others."""
    with daemon.connect() as waiting:
        waiting.sendall(b"wait 0 driver:kept\n")
        while not daemon.service._clients._waiters._for_device:  # type: ignore[union-attr]
            time.sleep(0.01)
        crowd = [daemon.connect() for _ in range(MOST_CLIENTS + 10)]
        daemon.ask("status")
        daemon.fakes.uevents.event("/devices/kept", 2, "bind", DRIVER="kept")
        daemon.fakes.uevents.event("/devices/kept", 3, "add", DRIVER="kept")
        daemon.fakes.uevents.ring()
        assert json.loads(waiting.recv(1000))["found"] == "/devices/kept"
        for client in crowd:
            client.close()


def test_a_name_that_was_left_behind(tmp_path: Path) -> None:
    """A daemon that was killed while it set its socket up leaves a name that the next one takes over."""
    path = tmp_path / "control"
    Control(str(path))
    (tmp_path / "control.new").touch()
    Control(str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["control"]
    nowhere = Control(str(tmp_path / "no" / "control"))
    assert (nowhere.fileno(), nowhere.problem.partition(" at ")[0]) == (-1, "cannot listen")
    (tmp_path / "no").mkdir()
    assert nowhere.listen()
    assert nowhere.fileno() >= 0


def test_other_users_are_not_heard(tmp_path: Path) -> None:
    """A client of another user than the one that is heard is hung up on, whatever the socket's mode lets through."""
    control = Control(str(tmp_path / "control"), os.geteuid() + 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "control"))
        assert control.accept() == ([], [])
        client.settimeout(5)
        assert client.recv(10) == b""
    assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600


def test_no_daemon(tmp_path: Path) -> None:
    """Where none answers, the message says how to start one."""
    with pytest.raises(WorldError, match="modaliasd run"):
        ask(str(tmp_path / "control"), ["status"], 1)


@pytest.mark.parametrize(
    "arguments",
    [[], ["vda"], ["/tmp/x"], ["driver:"], ["bus:pci"], ["/dev/vda", "5"], ["/dev/vda", "--timeout", "soon"]],
)
def test_what_nobody_can_wait_for_is_refused(arguments: list[str]) -> None:
    """A device that is named in no known way is wrong usage, not an endless wait."""
    from modaliasd.commands import ask

    with pytest.raises(UsageError):
        ask.wait(arguments)


class Storm(FakeUevents):
    """600 events. At the 200th a client asks; `passed` is how many more came until its answer was there."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.passed = -1
        self._came = 0
        for seqnum in range(1, 601):
            self.event(f"/devices/many/{seqnum % 50}", seqnum)
        self.ring()

    def receive(self) -> Datagram | Oddity:
        """The next event."""
        self._came += 1
        if self._came == 200:
            self.client.connect(str(self.path))
            self.client.sendall(b"status\n")
        if self._came > 200 and self.passed < 0 and select.select([self.client], [], [], 0)[0]:
            self.passed = self._came - 200
        return super().receive()


def test_a_client_in_a_storm_is_served_between_two_batches(tmp_path: Path) -> None:
    """Who asks in a storm waits for three turns at most: the one under way, one to be let in, one to be heard."""
    path = tmp_path / "control"
    fakes = Fakes(uevents=Storm(path), now_us=1)
    fakes.sysfs.seqnums.append(600)
    fakes.control = Control(str(path), os.geteuid())
    service = fakes.service()
    thread = threading.Thread(target=service.run, kwargs={"once": True}, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    storm = fakes.uevents
    turn = 2 * EVENTS_A_TURN  # a turn reads a batch, and one more when it looks whether all is settled
    assert isinstance(storm, Storm)
    assert 0 < storm.passed <= 3 * turn
    answer = json.loads(storm.client.recv(65536))
    assert 200 <= answer["seqnum"] <= 200 + 3 * turn
    assert 0 < answer["busiest_turn"] <= turn
    storm.client.close()
    assert len([r for r in fakes.records() if r["type"] == "device" and "seqnum" in r]) == 600


@pytest.fixture
def between_lives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The client asks, as root, at a socket of which nobody has heard yet."""
    from modaliasd import patience
    from modaliasd.commands import ask

    for module in (ask, patience):
        monkeypatch.setattr(module, "CONTROL", str(tmp_path / "control"))
    monkeypatch.setattr("posix.geteuid", lambda: 0)
    return tmp_path / "control"


@pytest.mark.parametrize("left", [False, True])
def test_a_daemon_that_is_being_started_is_waited_for(between_lives: Path, left: bool) -> None:
    """`settle` in the gap between two lives is answered by the next one, whether or not a dead socket lies there."""
    from modaliasd.commands import ask

    if left:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(str(between_lives))
    begun = threading.Timer(0.4, Daemon, [between_lives])
    begun.daemon = True
    begun.start()
    assert ask.settle(["--timeout", "20"]) == 0


def test_a_daemon_that_does_not_come_is_told(between_lives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patience ends, for other commands at once."""
    from modaliasd import patience
    from modaliasd.commands import ask

    monkeypatch.setattr(patience, "RESTART_LIMIT", 0.2)
    begun = time.monotonic()
    with pytest.raises(WorldError, match="no daemon answers"):
        ask.settle([])
    assert time.monotonic() - begun >= 0.2
    monkeypatch.setattr(patience, "RESTART_LIMIT", 1000.0)
    with pytest.raises(WorldError, match="no daemon answers"):
        ask.status([])


@pytest.fixture
def failing(between_lives: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A daemon that has failed: the mark's path. It is started again after 1.5 s, and given 1 s, less than that."""
    from modaliasd import failure, patience

    mark = between_lives.with_name("failure")
    monkeypatch.setattr(failure, "FAILURE", str(mark))
    monkeypatch.setattr(failure, "wait_s", lambda _count: 1.5)
    monkeypatch.setattr(patience, "RESTART_LIMIT", 1.0)
    _fail(mark, 4)
    return mark


def _fail(mark: Path, count: int) -> None:
    mark.write_text(f"{count} {time.clock_gettime(time.CLOCK_BOOTTIME):.2f} no /sys\n")


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--timeout", "20"]])
def test_a_daemon_that_failed_is_waited_for(
    failing: Path, between_lives: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as init takes to start it again, longer than one is given that has not failed; and it is said."""
    from modaliasd.commands import ask

    assert failing.exists()
    begun = threading.Timer(1.6, Daemon, [between_lives])
    begun.daemon = True
    begun.start()
    assert ask.settle(words) == 0
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(
        "modaliasd settle: the daemon failed (no /sys); waiting for the next one, which starts in "
    )


@pytest.mark.slow
def test_a_daemon_that_goes_on_failing(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The time limit counts from the beginning; without one, three more failures are enough. The reason is told."""
    from modaliasd.commands import ask

    begun = time.monotonic()
    with pytest.raises(WorldError, match=r"no daemon answers .*; the last one failed: no /sys"):
        ask.settle(["--timeout", "0.5"])
    assert time.monotonic() - begun < 1.5
    for count in (5, 6, 7):
        again = threading.Timer(0.3 * (count - 4), _fail, [failing, count])
        again.daemon = True
        again.start()
    with pytest.raises(WorldError, match="fails again and again: no /sys"):
        ask.wait(["/dev/vda"])
    assert capsys.readouterr().err.count("waiting for the next one") == 4


def serve_ready(service: Service) -> None:
    """What is ready now is dealt with."""
    for descriptor, _events in service._poll.poll(0):
        service._serve(descriptor)


class HeldLoader(FakeLoader):
    """Loads that end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()

    @property
    def idle(self) -> bool:
        """Not while one is held."""
        return not self.held and super().idle

    def is_pending(self, module: str) -> bool:
        """Whether it is held."""
        return module in self.held


class RecordingClients:
    """Notes as of when each settle was told."""

    leaving = considering = False

    def __init__(self) -> None:
        self.settles: list[int] = []

    def settled(self, fields: dict[str, Any], as_of_us: int) -> None:  # noqa: ARG002
        """It has settled."""
        self.settles.append(as_of_us)

    def attend(self) -> None:
        """Nobody waits."""

    def timeout_ms(self) -> int:
        """For ever."""
        return -1


def test_a_load_is_answered_when_its_own_modules_are_dealt_with(tmp_path: Path) -> None:
    """Though others keep it from settling: `load` waits for what it asked for, and its line is in the ledger then."""
    path = tmp_path / "control"
    supervisor = FakeSupervisor()
    fakes = Fakes(loader=HeldLoader(), supervisor=supervisor)
    fakes.control = Control(str(path), os.geteuid())
    service = fakes.service()
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    assert isinstance(fakes.loader, HeldLoader)
    fakes.loader.held.add("other")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        fakes.loader.held.add("mine")
        client.sendall(b"load mine\n")
        while "mine" not in fakes.loader.wanted:
            time.sleep(0.01)
        assert not select.select([client], [], [], 0.2)[0], "not before its end"
        fakes.loader.held.discard("mine")
        ask(str(path), ["status"], 5)  # something happens, and the loop turns
        assert json.loads(client.recv(1000)) == {"ok": True}
    assert fakes.loader.idle is False
    supervisor.end()
    thread.join(10)
    assert not thread.is_alive()


def test_a_settle_is_as_of_when_it_was_asked_for() -> None:
    """Who asks while a number is waited for that was missed before gets the settle after that, which soon follows."""
    kernel = SimKernel()
    kernel.eat(1)
    kernel.settle(2_000_000)
    kernel.eat(1)
    clients = RecordingClients()
    settlement = kernel.service._settlement
    settlement.asked()
    kernel.run(GRACE_US // 2)
    assert settlement.advice is Advice.LOOK_AGAIN
    asked_us = kernel.now_us
    kernel.service._clients = clients  # type: ignore[assignment]
    kernel.run(GRACE_US)
    assert [as_of < asked_us for as_of in clients.settles] == [True]


def test_who_has_asked_since_is_answered_by_the_next_settle(tmp_path: Path) -> None:
    """A settle as of an earlier time answers those that waited then, and has another one made for the rest."""
    path = tmp_path / "control"
    fakes = Fakes(now_us=100)
    fakes.control = Control(str(path), os.geteuid())
    service = fakes.service()
    clients, settlement = service._clients, service._settlement
    assert clients is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early:
        early.connect(str(path))
        early.sendall(b"settle\n")
        for _ in range(2):
            serve_ready(service)
        fakes.now_us = 200
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late:
            late.connect(str(path))
            late.sendall(b"settle\n")
            for _ in range(2):
                serve_ready(service)
            settlement.told()
            clients.settled({}, 150)
            assert json.loads(early.recv(100)) == {"ok": True}
            assert not select.select([late], [], [], 0)[0]
            assert settlement._awaited, "another settle is told, news or not"
            clients.settled({}, 200)
            assert json.loads(late.recv(100)) == {"ok": True}
