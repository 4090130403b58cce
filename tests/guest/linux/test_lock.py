"""lock.py: one process writes the ledger, by a lock of the kernel's; whoever comes second is told who has it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modaliasd import failure
from modaliasd.cli import main
from modaliasd.commands import ask as ask_command
from modaliasd.core.errors import WorldError
from modaliasd.linux.ledger import Ledger
from modaliasd.linux.lock import HeldError, acquire
from modaliasd.service import boot

DAEMON = Path(__file__).resolve().parents[3] / "daemon"
HOLD = """import sys, time
from modaliasd.linux.lock import acquire
print(acquire(sys.argv[1]) >= 0, flush=True)
time.sleep(60)"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    environment = {**os.environ, "PYTHONPATH": str(DAEMON)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        yield other
        other.kill()


def test_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    """The number of the process that has it comes from the kernel: there is nothing in the file."""
    path = tmp_path / "run" / "lock"
    with holder(path) as other:
        with pytest.raises(HeldError, match=f"process {other.pid}") as caught:
            acquire(str(path))
        assert caught.value.pid == other.pid
        assert path.read_bytes() == b""


def test_a_killed_holder_has_it_no_more(tmp_path: Path) -> None:
    """SIGKILL leaves nothing that keeps the next one out."""
    path = tmp_path / "lock"
    with holder(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=20)
        os.close(acquire(str(path)))


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    """A modprobe that outlives its daemon keeps no other daemon out."""
    path = tmp_path / "lock"
    with holder(path) as other:
        pass
    held = acquire(str(path))
    child = os.fork()
    if not child:
        try:
            acquire(str(path))
        except HeldError as e:
            os._exit(0 if e.pid == os.getppid() else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(held)
    assert other.returncode is not None


def test_where_there_can_be_no_lock_the_daemon_goes_on(tmp_path: Path) -> None:
    """A /run that takes no file, and a link that somebody has put in its place, keep no daemon from its work."""
    (tmp_path / "file").touch()
    assert acquire(str(tmp_path / "file" / "lock")) == -1
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    assert acquire(str(tmp_path / "lock")) == -1
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /run of the test's own; whoever subscribes to uevents, listens or writes fails the test."""

    def refuse(*_arguments: object) -> None:
        raise AssertionError("the second process has touched what is the first's")

    monkeypatch.setattr(boot, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(boot, "read_command_line", lambda: "")
    for name in ("subscribe", "Ledger", "_control", "count_life"):
        monkeypatch.setattr(boot, name, refuse)
    return tmp_path


def test_a_second_daemon_ends_with_111(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the first, and has touched neither the uevent socket nor the control socket nor the ledger."""
    with holder(run / "lock") as other:
        assert main(["run"]) == 111
    assert capsys.readouterr().err == (
        f"modaliasd: another modaliasd loads modules and writes the ledger: process {other.pid}\n"
    )


def test_a_second_daemon_of_inits_leaves_the_ledger_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What init's daemon writes down when it fails does not go into a ledger that another one writes."""
    for name in ("LOCK", "LEDGER", "FAILURE", "KMSG"):
        monkeypatch.setattr(failure, name, str(run / name.lower()))
    monkeypatch.setattr(failure, "RUN_DIRECTORY", str(run))
    monkeypatch.setattr(failure, "_is_inits", lambda: True)
    ledger = Ledger(str(run / "ledger"))
    with holder(run / "lock"):
        assert main(["run"]) == 111
    assert ledger.size == (run / "ledger").stat().st_size == 0


@pytest.mark.parametrize(("failed", "status"), [(0, 0), (2, 1)])
def test_coldplug_once_beside_a_daemon_asks_it(
    failed: int, status: int, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon walks /sys again, and whether a load failed is the exit status, as without a daemon."""
    asked: list[list[str]] = []

    def ask(_path: str, words: list[str], _timeout: float | None) -> str:
        asked.append(words)
        return f'{{"ok":true,"failed":{failed}}}'

    monkeypatch.setattr(ask_command, "ask", ask)
    with holder(run / "lock"):
        assert main(["coldplug", "--once"]) == status
    assert asked == [["coldplug"]]


def test_coldplug_once_beside_another_says_who_it_is(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody answers, as when the other one is a `coldplug --once` too, the lock's holder is named."""

    def ask(*_arguments: object) -> str:
        raise WorldError("no daemon answers")

    monkeypatch.setattr(ask_command, "ask", ask)
    with holder(run / "lock") as other:
        assert main(["coldplug", "--once"]) == 111
    assert f"process {other.pid}" in capsys.readouterr().err
