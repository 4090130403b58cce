"""A keeper and its clients over their socket, with an agent of this machine for the guest's."""

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from hostbuild.errors import GuestError, GuestTimeoutError, InputError
from hostbuild.guest.agent import Agent
from hostbuild.guest.command import Command, Ended, request, run_to_end
from hostbuild.live import keeper as keeper_module
from hostbuild.live import names
from hostbuild.live.client import connected
from hostbuild.live.keeper import BoundedLog, Keeper
from tests.support.agentrig import Rig, agent_rig

if TYPE_CHECKING:
    from hostbuild.qemu.vm import VM


class FakeVM:
    """What a keeper asks of a machine."""

    pid = 4711
    ledger: list[dict[str, object]] = []  # noqa: RUF012 - one that stays empty

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def agent(self) -> Agent:
        """The one that is there."""
        return self._agent


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A guest named box, and its keeper; in a directory whose path is too long for a socket's."""
    home = tmp_path / ("long" * 30)
    home.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    with names.claim("box") as place, agent_rig() as made:
        keeper = Keeper(cast("VM", FakeVM(made.agent)), place)
        yield made
        keeper.close()


def test_commands_through_the_keeper(rig: Rig) -> None:
    """Bytes, status and both outputs of commands, of two clients at a time and however much it is."""
    data = os.urandom(700_000)
    with connected("box") as one, connected("box") as other:
        done = run_to_end(
            one.agent,
            request(["sh", "-c", "cat; echo err >&2; exit 4"], directory="/"),
            stdin=data,
            timeout=60,
        )
        assert done is not None
        assert (done.status, done.stderr) == (4, b"err\n")
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
        beside = run_to_end(other.agent, request(["echo", "beside"]), timeout=20)
        assert beside is not None
        assert beside.stdout == b"beside\n"
        missing = run_to_end(other.agent, request(["no-such-program"]), timeout=20)
        assert missing is not None
        assert missing.status == 127


def test_a_client_that_goes_takes_its_commands_along(rig: Rig, tmp_path: Path) -> None:
    """A command whose client has hung up gets SIGHUP; others go on."""
    marker = tmp_path / "hung-up"
    script = f"trap 'echo > {marker}; exit' HUP; echo up; while :; do sleep 0.05; done"
    with connected("box") as guest:
        command = Command(guest.agent, request(["sh", "-c", script]))
        assert command.next(20) is not None
    for _ in range(200):
        if marker.exists():
            break
        time.sleep(0.05)
    assert marker.exists()
    with connected("box") as guest:
        assert run_to_end(guest.agent, request(["true"]), timeout=20) is not None


def test_signals_through_the_keeper(rig: Rig) -> None:
    """A signal's way is the same as the command's."""
    with connected("box") as guest:
        command = Command(guest.agent, request(["sleep", "60"]))
        time.sleep(0.3)
        command.signal(15)
        assert command.next(20) == Ended(143, 15)


def test_requests(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's answer, or the error that it met, arrives as it was."""

    def refuse(_vm: object, _agent: object, device: str) -> dict[str, object]:
        raise InputError(f"no {device}", hint="another")

    monkeypatch.setattr(keeper_module, "plug", refuse)
    with connected("box") as guest:
        assert guest.ask("status") == {"records": 0, "qemu": 4711}
        with pytest.raises(InputError, match="no e1001") as caught:
            guest.ask("plug", device="e1001")
        assert caught.value.hint == "another"


@pytest.mark.slow
def test_the_guest_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is connected hears it at once: commands are lost, and the reason is the place's."""
    monkeypatch.setattr("hostbuild.live.client._END_S", 0.1)  # the keeper is this process, and does not end
    with connected("box") as guest:
        command = Command(guest.agent, request(["sleep", "60"]))
        time.sleep(0.2)
        rig.process.kill()
        event = command.next(20)
        assert event is not None
        assert not isinstance(event, Ended)
        guest.place.write("ended", {"status": 112, "message": "it panicked"})
        assert isinstance(guest.ended(), GuestError)


def test_nonsense_on_the_socket(rig: Rig) -> None:
    """Bytes that are no frames, and frames that ask for nothing, harm nobody."""
    place = names.place_of("box")
    with names.in_directory(place.directory) as directory, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{directory}/socket")
        connection.sendall(os.urandom(10_000))
        with connected("box") as guest:
            assert guest.ask("status")["qemu"] == 4711


def test_a_guest_that_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken and has no socket yet is booting: said so, not waited for."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with names.claim("box"), pytest.raises(GuestError, match="not ready yet"), connected("box"):
        pass


def test_a_log_is_bounded(tmp_path: Path) -> None:
    """A console that never stops fills no disk: the last part of it is kept."""
    log = BoundedLog(tmp_path / "log", most=100)
    for number in range(100):
        log.write(b"%09d\n" % number)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 200
    assert (tmp_path / "log").read_bytes().endswith(b"000000099\n")


def test_too_late_is_a_timeout() -> None:
    """The kinds of errors that cross the socket are those that the statuses come from."""
    assert GuestTimeoutError("x").exit_status == 124
