"""Progress (hostbuild/ui.py, hostbuild/fs/growth.py): percentages on a terminal, nothing elsewhere."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hostbuild.fs.growth import growth_of

SCRIPT = """
import time
from hostbuild import ui
report = ui.reporter()
with report.step("Packing", 1000) as advance:
    advance(420)
    time.sleep(0.3)
    with report.step("Inside", 10) as inside:
        inside(7)
        time.sleep(0.3)
with report.step("Booting"):
    time.sleep(0.3)
"""


def on_a_terminal(script: str) -> str:
    """What a script draws on the terminal that is its stderr."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", script], stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    drawn = b""
    try:
        while block := os.read(ours, 65536):
            drawn += block
    except OSError:  # EIO: the other end is closed
        pass
    os.close(ours)
    assert child.wait(timeout=20) == 0
    return drawn.decode()


@pytest.mark.slow
def test_percentages_where_the_total_is_known() -> None:
    """A bar has a percentage if its step has a total, also inside another's; without a total there is none."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_a_terminal(SCRIPT))
    assert re.search(r"Packing .* 42%", text)
    assert re.search(r"Inside .* 70%", text)
    [*_, booting] = re.findall(r"Booting .*", text)
    assert "%" not in booting


@pytest.mark.slow
def test_nothing_where_nobody_looks() -> None:
    """Where stderr is no terminal, nothing is drawn."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_growth_is_counted(tmp_path: Path) -> None:
    """What a program writes into a directory is told while it comes, and all of it at the end."""
    told: list[int] = []
    (tmp_path / "before").write_bytes(b"x" * 5)
    with growth_of(tmp_path, told.append):
        (tmp_path / "partial").mkdir()
        (tmp_path / "partial/a.deb").write_bytes(b"x" * 1000)
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sum(told) == 1000
        (tmp_path / "partial/a.deb").rename(tmp_path / "a.deb")
        (tmp_path / "b.deb").write_bytes(b"x" * 50)
    assert sum(told) == 1050
