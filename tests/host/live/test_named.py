"""A guest with a name while somebody looks on: reached by others, recorded, its end told; with this machine's agent."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from hostbuild.errors import GuestError, InputError, UsageError
from hostbuild.guest.command import request, run_to_end
from hostbuild.live import names
from hostbuild.live.client import Guest, connected
from hostbuild.live.named import booted
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.lines import Line, Listener
from hostbuild.qemu.machine import Machine
from tests.support.agentrig import Rig, agent_rig

if TYPE_CHECKING:
    from hostbuild.qemu.session import Session


class FakeVM:
    """What the named guest asks of a machine; it has settled unless `lost`."""

    pid = 4711

    def __init__(self, rig: Rig, *, lost: bool = False) -> None:
        self.ledger: list[dict[str, object]] = []
        self._rig, self._lost = rig, lost

    def settled(self, *, timeout: float) -> None:  # noqa: ARG002
        """Say so."""
        if self._lost:
            raise GuestError("it has ended")

    def agent(self, *, timeout: float = 0) -> object:  # noqa: ARG002
        """The one that is there."""
        return self._rig.agent

    def take_port(self) -> None:
        """There is none."""


class FakeSession:
    """A session whose machine is the rig; its lines are whatever the test says."""

    def __init__(self, rig: Rig, *, lost: bool = False) -> None:
        self.made = FakeVM(rig, lost=lost)
        self.heard: dict[Line, Listener] = {}
        self.machine, self.boot = Machine(name="m"), Boot(Path("k"), Path("x.img"))

    @contextlib.contextmanager
    def vm(self, *, listeners: dict[Line, Listener]) -> Iterator[FakeVM]:
        """Run."""
        self.heard = listeners
        yield self.made


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """An agent, and a place for names of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with agent_rig() as made:
        yield made


@contextlib.contextmanager
def reached(name: str) -> Iterator[Guest]:
    """Connect once its keeper has begun."""
    deadline = time.monotonic() + 20
    while not names.place_of(name).socket.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with connected(name) as guest:
        yield guest


def session_of(fake: FakeSession) -> "Session":
    """The same to the type checker."""
    return cast("Session", fake)


def test_others_reach_it_while_it_runs(rig: Rig) -> None:
    """Commands run in it, its lines go to who looks on and into its place, and its end is told."""
    session, seen = FakeSession(rig), bytearray()
    with booted(session_of(session), "box", {Line.CONSOLE: seen.extend}):
        with reached("box") as guest:
            done = run_to_end(guest.agent, request(["echo", "hello"]), timeout=20)
            assert done is not None
            assert done.stdout == b"hello\n"
        session.heard[Line.CONSOLE](b"a line\n")
        session.heard[Line.CHANNEL](b"{}\n")
        place = names.require_alive("box")
        assert names.describe(place)["machine"] == "m"
        session.made.ledger.append({"type": "exit", "status": 3})
    assert (bytes(seen), place.console.read_bytes(), place.ledger.read_bytes()) == (
        *(b"a line\n", b"a line\n"),
        b"{}\n",
    )
    assert place.epitaph() == "it was switched off, with status 3"
    with pytest.raises(GuestError, match="has ended"):
        names.require_alive("box")


def test_two_of_one_name(rig: Rig) -> None:
    """The second is refused before it is booted, and the first lives on."""
    with (
        booted(session_of(FakeSession(rig)), "box", {}),
        pytest.raises(UsageError, match="running already"),
        booted(session_of(FakeSession(rig)), "box", {}),
    ):
        pass


def test_its_failure_is_kept(rig: Rig) -> None:
    """What ended it is said to others, too; one that never settles is nobody's to reach."""
    session = session_of(FakeSession(rig, lost=True))
    with booted(session, "box", {}), pytest.raises(GuestError, match="not ready yet"), connected("box"):
        pass
    with pytest.raises(GuestError), booted(session, "box", {}):
        raise GuestError("it panicked")
    place = names.place_of("box")
    assert place.epitaph() == "it panicked"
    with pytest.raises(KeyboardInterrupt), booted(session_of(FakeSession(rig)), "box", {}):
        raise KeyboardInterrupt
    assert "interrupted" in place.epitaph()


def test_its_place_cannot_be_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guest lives on, and who looks on is told."""

    asked = threading.Event()

    def refuse(*_: object) -> None:
        asked.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hostbuild.live.named.keep", refuse)
    with booted(session_of(FakeSession(rig)), "box", {}):
        assert asked.wait(20)
    assert "nobody can reach this guest by its name, box: [Errno 28] No space left" in capsys.readouterr().err


def test_without_a_name(rig: Rig) -> None:
    """Nothing of it is anywhere."""
    with booted(session_of(FakeSession(rig)), None, {}), pytest.raises(InputError), connected("box"):
        pass
