"""A /run without inodes, without blocks, read-only: the daemon starts, freezes and starts again all the same.

In user and mount namespaces with a tmpfs of their own; skipped where the kernel refuses these.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modaliasd.core.device import Phase
from modaliasd.linux import bootstate
from tests.support import fullrun

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
MOUNT = 'mount -t tmpfs -o nr_inodes=12,size=256k run "$1" && shift && exec "$@"'
REMOUNT = 'mount -o remount,ro "$1" && mount -o remount,rw "$1"'


def in_full_run(tmp_path: Path, without: str) -> dict[str, Any]:
    """What tests/support/fullrun.py says."""
    run = tmp_path / "run"
    run.mkdir()
    unshare = ["unshare", "-r", "-m", "sh", "-c", MOUNT, "sh", str(run)]
    probe = subprocess.run(
        [*unshare, "sh", "-c", REMOUNT, "sh", str(run)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if probe.returncode:
        pytest.skip(f"no tmpfs to remount in a namespace here: {probe.stderr.strip()}")
    command = [*unshare, sys.executable, fullrun.__file__, str(run), without]
    environment = {**os.environ, "PYTHONPATH": str(DAEMON)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("without", ["inodes", "blocks", "writing", "nothing at all"])
def test_a_life_without_room(tmp_path: Path, without: str) -> None:
    """The helper is closed and the next daemon is frozen; the ledger's lines are written once there is room."""
    said = in_full_run(tmp_path, without)
    assert said["before"] == "coldplug"
    assert (said["freeze"], said["helper"], said["after"]) == (
        "",
        str(tmp_path / "frozen-modprobe"),
        "frozen",
    )
    assert said["lives"] == 0
    assert said["hook"] is True
    assert said["late"] == '{"type":"frozen"}\n'
    assert said["listens"] is True
    if without in {"inodes", "blocks"}:
        assert (said["ledger"], said["control"]) == ("", ""), "what a predecessor left is enough"
    if without == "writing":
        assert "Read-only file system" in said["ledger"]
        assert "Read-only file system" in said["control"]
    if without == "nothing at all":
        assert "No space left on device" in said["ledger"]
        assert "cannot listen" in said["control"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which all the marks and the kernel's helper stand."""
    for name in ("LIVES", "FROZEN_MARK", "SETTLED_MARK", "HOTPLUG_MARK", "KERNEL_HELPER", "FROZEN_HELPER"):
        monkeypatch.setattr(bootstate, name, str(tmp_path / name))
    (tmp_path / "KERNEL_HELPER").write_text("/sbin/modprobe\n")
    (tmp_path / "FROZEN_HELPER").touch()
    return tmp_path


def test_a_freeze_that_cannot_be_kept_is_told(kept: Path) -> None:
    """Where the kernel's requests cannot be judged, that is said; the mark has the next daemon frozen all the same."""
    (kept / "KERNEL_HELPER").unlink()
    (kept / "KERNEL_HELPER").mkdir()
    assert "the kernel's own requests are not judged" in bootstate.freeze()
    assert bootstate.phase() is Phase.FROZEN


def test_a_freeze_leaves_a_full_system_its_modprobe(kept: Path) -> None:
    """Where the image's helper is not there, the kernel goes on calling what it called; that is told."""
    (kept / "FROZEN_HELPER").unlink()
    assert bootstate.freeze() == f"there is no {kept}/FROZEN_HELPER: the kernel's own requests are not judged"
    assert (kept / "KERNEL_HELPER").read_text() == "/sbin/modprobe\n"
    assert bootstate.phase() is Phase.FROZEN


@pytest.mark.parametrize("name", ["KERNEL_HELPER", "FROZEN_MARK"])
def test_frozen_if_in_doubt(kept: Path, name: str) -> None:
    """A helper that cannot be read, or a mark that cannot be looked for, is no proof that nobody has frozen."""
    path = kept / name
    path.unlink(missing_ok=True)
    path.symlink_to(path)  # ELOOP
    assert bootstate.phase() is Phase.FROZEN


def test_the_phase_is_kept(kept: Path) -> None:
    """A daemon started again goes on where its predecessor was: no helper at all, the coldplug given up, settled."""
    (kept / "KERNEL_HELPER").unlink()
    assert bootstate.phase() is Phase.COLDPLUG
    bootstate.end_coldplug()
    assert bootstate.phase() is Phase.HOTPLUG
    (kept / "HOTPLUG_MARK").unlink()
    assert bootstate.first_settle()
    assert not bootstate.first_settle()
    assert bootstate.phase() is Phase.HOTPLUG
