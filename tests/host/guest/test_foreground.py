"""hostbuild.guest.foreground: a guest's command as if it ran here, with an agent of this machine for the guest's."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hostbuild.guest.command import Ended, Lost, request
from hostbuild.guest.foreground import run_here
from hostbuild.guest.refusal import Refusal
from tests.support.agentrig import Rig, agent_rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """An agent."""
    with agent_rig() as made:
        yield made


def later(work: Callable[[], object], *delays: float) -> None:
    """Do something in a while, several times."""

    def wait_and_do() -> None:
        for delay in delays:
            time.sleep(delay)
            work()

    threading.Thread(target=wait_and_do, daemon=True).start()


def test_both_outputs_are_here(rig: Rig, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Standard output goes to ours, standard error to ours, as bytes."""
    end = run_here(rig.agent, request(["sh", "-c", r"printf '\000\377'; echo err >&2; exit 3"]), stdin=None)
    assert end == Ended(3, 0)
    captured = capsysbinary.readouterr()
    assert (captured.out, captured.err) == (b"\0\xff", b"err\n")


def test_input_comes_from_a_descriptor(rig: Rig, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What has been read already comes first, then the rest, then the end."""
    outlet, inlet = os.pipe()
    os.write(inlet, b"second")
    os.close(inlet)
    assert run_here(rig.agent, request(["cat"]), stdin=outlet, before=b"first ") == Ended(0, 0)
    os.close(outlet)
    assert capsysbinary.readouterr().out == b"first second"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_are_passed_on(rig: Rig, number: signal.Signals) -> None:
    """A signal of ours ends the command, and not us; afterwards our handlers are as before."""
    before = signal.getsignal(number)
    later(lambda: os.kill(os.getpid(), number), 0.5)
    assert run_here(rig.agent, request(["sleep", "60"]), stdin=None) == Ended(128 + number, number)
    assert signal.getsignal(number) is before


@pytest.mark.slow
def test_the_third_interrupt_ends_the_wait(rig: Rig) -> None:
    """A command that ignores Ctrl-C is left at the third."""
    later(lambda: os.kill(os.getpid(), signal.SIGINT), 0.7, 0.3, 0.3)
    with pytest.raises(KeyboardInterrupt):
        run_here(rig.agent, request(["sh", "-c", "trap '' INT; sleep 60"]), stdin=None)


@pytest.mark.slow
def test_a_command_that_ignores_sigterm(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its grace the wait ends as the signal would have ended us."""
    monkeypatch.setattr("hostbuild.guest.foreground._GRACE_S", 0.5)
    later(lambda: os.kill(os.getpid(), signal.SIGTERM), 0.7)
    with pytest.raises(SystemExit) as caught:
        run_here(rig.agent, request(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]), stdin=None)
    assert caught.value.code == 143


@pytest.mark.slow
def test_what_cannot_be_started_and_who_goes(rig: Rig) -> None:
    """A refusal and a lost agent are values for the caller."""
    refusal = run_here(rig.agent, request(["no-such-program"]), stdin=None)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 127
    later(rig.process.kill, 0.5)
    assert isinstance(run_here(rig.agent, request(["sleep", "60"]), stdin=None), Lost)
