"""The gate for child processes, and how errors become exit statuses."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from hostbuild import main
from hostbuild.errors import CommandError, ToolMissingError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.run import find_program, run, spawn


def test_output_and_input() -> None:
    """What a command reads and writes are bytes."""
    assert run(["cat"], stdin=b"\0\xff", timeout=5).stdout == b"\0\xff"


def test_failure_says_command_status_and_stderr() -> None:
    """A CommandError has all that one needs to see what went wrong."""
    with pytest.raises(CommandError, match=r"sh -c .* ended with status 3:\nbad") as caught:
        run(["sh", "-c", "echo bad >&2; exit 3"], timeout=5)
    assert (caught.value.status, caught.value.stderr) == (3, "bad")


def test_unchecked_failure_is_a_result() -> None:
    """With check=False the status is the caller's business."""
    assert run(["false"], timeout=5, check=False).status == 1


def test_signals_are_named() -> None:
    """A command that a signal ended is told apart from one that exited."""
    with pytest.raises(CommandError, match="was ended by SIGKILL and said nothing"):
        run(["sh", "-c", "kill -9 $$"], timeout=5)


def test_time_limit() -> None:
    """A command that does not end is killed, and what it said until then is shown."""
    with pytest.raises(CommandError, match=r"did not end within 0\.2 s and was killed:\nbusy") as caught:
        run(["sh", "-c", "echo busy >&2; exec sleep 60"], timeout=0.2)
    assert caught.value.status is None


def test_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing tool is one line with the command that fixes it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for start in (partial(run, timeout=5), spawn):
        with pytest.raises(ToolMissingError, match="mksquashfs is not installed") as caught:
            start(["mksquashfs"])
        assert caught.value.hint == "sudo apt-get install --no-install-recommends squashfs-tools"


def test_the_administrators_programs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """depmod is found with the PATH that a Debian user has, by the gate, by who looks first, and by children."""
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games")
    assert shutil.which("depmod") is None
    assert find_program("depmod") == "/usr/sbin/depmod"
    assert b"kmod version" in run(["depmod", "--version"], timeout=5).stdout
    assert b"kmod version" in run(["sh", "-c", "depmod --version"], timeout=5).stdout
    assert spawn(["depmod", "--version"], stdout=subprocess.DEVNULL).wait(5) == 0
    given = run(["sh", "-c", "command -v depmod"], env={"PATH": "/bin"}, timeout=5).stdout
    assert given == b"/usr/sbin/depmod\n"


def test_a_users_own_programs_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the PATH has is taken before what is in /usr/sbin."""
    (tmp_path / "depmod").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "depmod").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert run(["depmod"], timeout=5).stdout == b"mine\n"
    assert find_program("depmod") == str(tmp_path / "depmod")


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["nonsense"], 100, "No such command 'nonsense'"),
        (["make-image"], 100, "Missing option '-o'"),
        (
            ["inspect", "/nowhere"],
            100,
            "hostbuild: cannot read the image /nowhere: No such file or directory",
        ),
        (["make-image", "-o", "/nowhere/x"], 100, "there is no directory /nowhere"),
        (["make-image", "-o", "/"], 100, "it is a directory"),
        (["make-image", "-o", "/dev/null"], 100, "it is not a regular file"),
    ],
)
def test_errors_become_statuses(
    argv: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage ends with 100, a line on stderr, nothing on stdout and no traceback."""
    assert main.status_of(argv) == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (PermissionError(13, "Permission denied", "/etc/secret"), 111, "/etc/secret: Permission denied"),
        (OSError(5, "Input/output error"), 111, "Input/output error"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 100, "invalid start byte"),
        (UnicodeEncodeError("ascii", "\xe9", 0, 1, "ordinal not in range(128)"), 111, "LC_ALL=C.UTF-8"),
        (MemoryError(), 111, "not enough memory"),
        (RecursionError(), 100, "nested too deeply"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_no_command_foresaw(
    error: BaseException,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of the system that comes as far as the command line is a message with its path and a status."""

    def fail(_path: object) -> None:
        raise error

    monkeypatch.setattr("hostbuild.commands.tree.read_history", fail)
    assert main.status_of(["tree", "boot.jsonl"]) == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_help_lists_commands_without_importing_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command whose module exists is in --help with its line."""
    assert main.status_of(["--help"]) == 0
    out = capsys.readouterr().out
    assert "make-image" in out
    assert "List what is inside an image" in out


def test_scratch_is_removed_also_when_its_removal_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that ends the work in the midst of clearing up leaves no directory behind."""
    real = shutil.rmtree
    calls = []

    def interrupted(path: Path, *, ignore_errors: bool) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise SystemExit(143)
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("hostbuild.fs.scratch.shutil.rmtree", interrupted)
    with pytest.raises(SystemExit), scratch_directory(tmp_path) as directory:
        (directory / "x").touch()
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_in_order(tmp_path: Path) -> None:
    """At SIGTERM the process ends with 143, and what it had begun is cleared up."""
    script = """
import sys, time
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from hostbuild import main
from hostbuild.fs import scratch
def work(_):
    with scratch.scratch_directory(Path(sys.argv[1])):
        print("ready", flush=True)
        time.sleep(60)
main.status_of = work
main.main()
"""
    process = spawn([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        assert process.wait(timeout=20) == 143
    assert list(tmp_path.iterdir()) == []


def test_a_closed_standard_input_is_an_empty_one() -> None:
    """Some supervisors start programs without descriptor 0: it is no terminal, and there is nothing to read."""
    script = "import sys; from hostbuild import streams; streams.guard(); print(sys.stdin.isatty())"
    argv = ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, script]
    assert run(argv, timeout=20).stdout == b"False\n"
