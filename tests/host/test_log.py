"""--debug, --quiet and NO_COLOR: what is told, and what is not."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from hostbuild import log, ui
from tests.support.commandline import hostbuild_argv
from tests.support.ledgers import Q35


def run(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own: what these options change is the process's."""
    return subprocess.run(
        hostbuild_argv(*words),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env=os.environ | more,
    )


@pytest.mark.slow
def test_debug_tells_files_and_commands(tmp_path: Path) -> None:
    """--debug names files read and commands run, with the time, on stderr; the result is the same."""
    told = run("run", "--list-devices", "--debug")
    plain = run("run", "--list-devices")
    assert told.stdout == plain.stdout
    assert "run: qemu-system-x86_64 -device help" in told.stderr
    assert plain.stderr == ""
    assert "run: qemu-system-x86_64 -device help" in run("--debug", "run", "--list-devices").stderr
    (tmp_path / "c.toml").write_text('machine = "q35"\n')
    told = run("--config", tmp_path / "c.toml", "tree", Q35)
    assert told.returncode == 0


@pytest.mark.slow
def test_quiet_leaves_remarks_out(tmp_path: Path) -> None:
    """--quiet keeps results and errors, and no remark."""
    assert "no guest with a name is running" in run("list", XDG_RUNTIME_DIR=str(tmp_path)).stderr
    quiet = run("list", "--quiet", XDG_RUNTIME_DIR=str(tmp_path))
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    before = run("--quiet", "list", XDG_RUNTIME_DIR=str(tmp_path))
    assert (before.returncode, before.stderr) == (0, "")
    assert "no guest named" in run("stop", "nobody", "--quiet", XDG_RUNTIME_DIR=str(tmp_path)).stderr


def test_no_color() -> None:
    """NO_COLOR, a dumb terminal and a pipe each mean no colours; --color does not ask."""
    coloured = run("tree", Q35, "--color", NO_COLOR="1")
    assert "\x1b[" in coloured.stdout
    code = "import sys; from hostbuild import ui; sys.stdout.isatty = lambda: True; print(ui.wants_color())"
    for variables, wanted in (({}, "True"), ({"NO_COLOR": "1"}, "False"), ({"TERM": "dumb"}, "False")):
        base = {"TERM": "xterm", "NO_COLOR": ""}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env=_path() | base | variables,
        )
        assert done.stdout.strip() == wanted, variables


def _path() -> dict[str, str]:
    return {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}


def test_a_line_is_one_line() -> None:
    """What is told holds no newline and no escape, and is cut where it is very long."""
    out = io.StringIO()
    log.enable()
    try:
        with redirect_stderr(out):
            log.debug("run", "a\nb\x1b[31m" + "x" * 5000)
    finally:
        log._Log.on = False
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue()) < 2100
    assert not isinstance(ui.reporter(), ui.Terminal)
