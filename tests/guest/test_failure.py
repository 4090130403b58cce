"""What becomes of an error that ends a command, and of a daemon that fails again and again."""

import json
import posix
import sys
from pathlib import Path

import pytest

from modaliasd import cli, failure
from modaliasd.cli import main
from modaliasd.core.errors import WorldError
from modaliasd.failure import describe, read_mark, report, wait_before_start, wait_s


class Machine:
    """A /run and a kernel's log of a test's own, a clock that a test sets, and init for a parent."""

    def __init__(self, root: Path) -> None:
        self.run = root / "run"
        self.kmsg = root / "kmsg"
        self.kmsg.touch()
        self.now = 100.0
        self.slept: list[float] = []

    def said(self) -> list[str]:
        """The lines in the kernel's log."""
        text = self.kmsg.read_text()
        assert not text or text.endswith("\n"), "the kernel keeps back a record without its newline"
        return [line.removeprefix("<3>") for line in text.splitlines()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(failure, "RUN_DIRECTORY", str(made.run))
    monkeypatch.setattr(failure, "FAILURE", str(made.run / "failure"))
    monkeypatch.setattr(cli, "FAILURE", str(made.run / "failure"))
    monkeypatch.setattr(failure, "CRASH", str(made.run / "crash"))
    monkeypatch.setattr(failure, "LEDGER", str(made.run / "ledger.jsonl"))
    monkeypatch.setattr(failure, "LOCK", str(made.run / "lock"))
    monkeypatch.setattr(failure, "KMSG", str(made.kmsg))
    monkeypatch.setattr(failure, "clock_gettime", lambda _clock: made.now)
    monkeypatch.setattr(failure, "sleep", made.slept.append)
    monkeypatch.setattr(posix, "getppid", lambda: 1)

    def append(path: str, content: bytes, *_flags: int) -> bool:
        """A file instead of the device: records come one after the other."""
        if path != str(made.kmsg):
            return write(path, content, *_flags)
        with made.kmsg.open("ab") as stream:
            stream.write(content)
        return True

    write = failure._write
    monkeypatch.setattr(failure, "_write", append)
    return made


def crash() -> Exception:
    """An error that arose in the daemon, with its traceback."""
    try:
        failure.read_mark(None)  # type: ignore[arg-type]
    except AttributeError as e:
        return e
    raise AssertionError


def test_an_unexpected_error_is_one_line_with_its_place() -> None:
    """Type, message, and the innermost line of the daemon's own; never more than one line."""
    error = crash()
    text = describe(error)
    assert text.startswith(
        "unexpected AttributeError: 'NoneType' object has no attribute 'decode' (failure.py, line "
    )
    assert describe(WorldError("no\nsys")) == "no sys"
    assert (
        describe(OSError(28, "No space left on device", "/x/y"))
        == "unexpected OSError: /x/y: No space left on device"
    )
    assert describe(KeyError()) == "unexpected KeyError"


def test_the_waits_grow_up_to_half_a_minute() -> None:
    """The first failure is tried again at once; then 2, 4, 8, 16 and 30 s."""
    assert [wait_s(count) for count in (0, 1, 2, 3, 4, 5, 6, 1000)] == [0, 0, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("content", [b"", b"x", b"3", b"3 x y", b"\xff\xfe", b"1e5 2 z"])
def test_a_mark_that_is_none_counts_nothing(content: bytes) -> None:
    """Somebody else's bytes in the mark's place delay nothing."""
    assert read_mark(content)[0] == 0


def test_a_daemon_that_cannot_start_says_it_once(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line in the kernel's log for any number of failures, a warning in the ledger, the traceback in a file."""
    for _ in range(5):
        assert report("run", crash()) == 111
        machine.now += 10
    [line] = machine.said()
    assert "the daemon failed: unexpected AttributeError" in line
    assert str(machine.run / "crash") in line
    assert capsys.readouterr().err == ""
    assert (machine.run / "crash").read_text().startswith("Traceback (most recent call last)")
    [record] = map(json.loads, (machine.run / "ledger.jsonl").read_text().splitlines())
    assert (record["type"], record["what"]) == ("warning", "daemon failed")
    assert "unexpected AttributeError" in record["message"]


def test_another_reason_is_said_again(machine: Machine) -> None:
    """What is new is news; an error that is expected has no traceback."""
    report("run", WorldError("no /sys"))
    report("run", WorldError("no /sys"))
    report("run", WorldError("no socket"))
    assert [line.partition(": ")[2].partition(" - ")[0] for line in machine.said()] == [
        "the daemon failed: no /sys",
        "the daemon failed: no socket",
    ]
    assert not (machine.run / "crash").exists()


def test_each_start_waits_longer_and_only_after_failures(machine: Machine) -> None:
    """The wait counts from the failure; long after it there is none; and a daemon that worked begins anew."""
    wait_before_start()
    for _ in range(7):
        report("run", WorldError("no /sys"))
        wait_before_start()
    assert machine.slept == pytest.approx([2, 4, 8, 16, 30, 30], abs=0.02)
    machine.now += 31  # a death that is no failure, a while later
    wait_before_start()
    assert len(machine.slept) == 6
    machine.now += failure.FORGOTTEN_S
    report("run", WorldError("no /sys"))
    assert read_mark((machine.run / "failure").read_bytes())[0] == 1
    assert len(machine.said()) == 2


def test_without_a_log_it_is_said_on_the_console(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No /dev/kmsg and a /run that cannot be written: the line goes to standard error, and nothing else breaks."""
    monkeypatch.setattr(failure, "_write", lambda *_arguments: False)
    monkeypatch.setattr(failure, "LEDGER", "/proc/no/ledger.jsonl")
    assert report("run", WorldError("no /sys")) == 111
    assert capsys.readouterr().err == "modaliasd: the daemon failed: no /sys\n"


def test_by_hand_it_is_said_every_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever starts `modaliasd run` in a shell gets the reason each time, and leaves no mark for init's daemon."""
    monkeypatch.setattr(posix, "getppid", lambda: 4711)
    for _ in range(2):
        assert report("run", WorldError("no /sys")) == 111
    assert capsys.readouterr().err == "modaliasd: no /sys\n" * 2
    assert not machine.run.exists()
    assert machine.said() == []


def test_under_systemd_it_is_said_every_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`systemctl status` shows the reason of each start; when the next one comes is the unit's affair."""
    monkeypatch.setitem(posix.environ, b"INVOCATION_ID", b"5f0e6c2d9d2b4b0f8b1a3c4d5e6f7a8b")
    for _ in range(2):
        assert report("run", WorldError("no /sys")) == 111
    assert capsys.readouterr().err == "modaliasd: no /sys\n" * 2
    assert machine.said() == []


@pytest.mark.parametrize("command", [name for _group, commands in cli.COMMANDS for name, *_ in commands])
def test_no_command_ends_in_a_traceback(
    command: str, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a command trips over: one line, status 111; MODALIASD_DEBUG adds the traceback; ^C is 130."""
    monkeypatch.setattr(posix, "getppid", lambda: 4711)

    def broken(_arguments: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'collections.abc'", name="collections.abc")

    def interrupted(_arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", broken)
    assert main([command]) == 111
    err = capsys.readouterr().err
    assert err.startswith("modaliasd: unexpected ModuleNotFoundError: No module named 'collections.abc'")
    assert err.count("\n") == 1
    monkeypatch.setitem(posix.environ, b"MODALIASD_DEBUG", b"1")
    assert main([command]) == 111
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setattr(cli, "_run", interrupted)
    assert main([command]) == 130


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("modaliasd.debug", True),
        ("modaliasd.debug=1", True),
        ('"modaliasd.debug=y"', True),
        ("quiet", False),
        ("modaliasd.debug modaliasd.debug=0", False),
        ("x.modaliasd.debug", False),
    ],
)
def test_the_debug_word_counts_as_the_settings_have_it(
    words: str,
    wanted: bool,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every way to write the switch shows the traceback, and only these."""
    monkeypatch.setattr("modaliasd.linux.config.read_command_line", lambda: f"ro {words} quiet")
    report("tree", crash())
    assert ("Traceback (most recent call last)" in capsys.readouterr().err) == wanted


def test_a_boot_without_failures_reads_no_mark(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no daemon has failed, the module that deals with failures is not even imported."""
    monkeypatch.delitem(sys.modules, "modaliasd.failure")
    monkeypatch.setattr("modaliasd.service.boot.serve", lambda: 7)
    assert main(["run"]) == 7
    assert "modaliasd.failure" not in sys.modules
