"""No test can hold the run: tests/conftest.py gives each a time limit, which ends it, and it alone."""

import subprocess
import sys
from pathlib import Path

import pytest

HANGS = """\
import os
def test_hangs(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    open(tmp_path / "fifo")
def test_passes():
    pass
"""


def test_every_test_has_one(request: pytest.FixtureRequest) -> None:
    """Each test that was collected has a limit in seconds, longer for machines than for the rest."""
    if request.config.getoption("timeout") is not None:
        pytest.skip("--timeout was given")
    limits = [item.get_closest_marker("timeout") for item in request.session.items]
    assert None not in limits
    assert all(mark.args[0] >= 600 for mark in limits if mark)


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
@pytest.mark.slow
def test_a_test_that_hangs_fails(workers: tuple[str, ...], tmp_path: Path) -> None:
    """One that waits in open() for ever fails at its limit, with xdist too; the others go on."""
    (tmp_path / "test_it.py").write_text(HANGS)
    config = Path(__file__).resolve().parents[1] / "pyproject.toml"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(config),
        "--rootdir",
        str(tmp_path),
        "--timeout=1",
        *workers,
    ]
    done = subprocess.run(
        [*argv, tmp_path], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "Timeout" in done.stdout
