"""hostbuild.fs.sealed and hostbuild.fs.scratch: the cache is used as it was written, and half-done work goes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostbuild.fs import sealed
from hostbuild.fs.scratch import scratch_directory


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A sealed directory with two files, a link and a directory."""
    complete = tmp_path / "complete"
    root = sealed.root_of(complete)
    (root / "d").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "d/b").write_text("b")
    (root / "l").symlink_to("a")
    sealed.publish(complete, tmp_path / "kept")
    return tmp_path / "kept"


def _same_size_and_time(root: Path) -> None:
    """As somebody does who does not want it to be seen."""
    before = (root / "a").stat()
    (root / "a").write_text("x")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


def _other_link(root: Path) -> None:
    (root / "l").unlink()
    (root / "l").symlink_to("b")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (lambda root: (root / "a").write_text("other"), "a has been changed"),
    "content, size and time kept": (_same_size_and_time, "a has been changed"),
    "mode": (lambda root: (root / "a").chmod(0o755), "a has been changed"),
    "added": (lambda root: (root / "d/c").write_text("c"), "d/c has been added"),
    "a directory linked in": (lambda root: (root / "e").symlink_to("/etc"), "e has been added"),
    "removed": (lambda root: (root / "d/b").unlink(), "d/b is missing"),
    "link": (_other_link, "l has been changed"),
    "listing": (lambda root: (root.parent / "files.json").write_text("{"), "is damaged"),
    "listing gone": (lambda root: (root.parent / "files.json").unlink(), "is damaged"),
    "emptied": (shutil.rmtree, "is damaged"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_not_used(change: str, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change of any kind is said and the directory removed, so that it is made anew."""
    do, said = CHANGES[change]
    do(sealed.root_of(kept))
    assert sealed.find(kept) is None
    assert said in capsys.readouterr().err
    assert not kept.exists()
    assert list(kept.parent.iterdir()) == []


def test_what_was_copied_is_used(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cache that was copied has other inodes and times, and the same content; it is compared once."""
    copy = kept.with_name("copy")
    shutil.copytree(kept, copy, symlinks=True)
    for _ in range(2):
        assert sealed.find(copy) == sealed.root_of(copy)
    assert capsys.readouterr().err == ""


def _start(code: str) -> subprocess.Popen[str]:
    script = f"from pathlib import Path\nfrom hostbuild.fs.scratch import scratch_directory\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def test_a_killed_process_leaves_nothing_for_long(tmp_path: Path) -> None:
    """What kill -9 left goes with the next scratch directory; that of a living process, and other things, stay."""
    other = tmp_path / ".hostbuild-scratch-file"
    other.mkdir()
    code = f"""
with scratch_directory(Path({str(tmp_path)!r})) as made:
    (made / "x").mkdir()
    print(made, flush=True)
    input()
"""
    killed, living = _start(code), _start(code)
    try:
        paths = [Path(one.stdout.readline().strip()) for one in (killed, living) if one.stdout]
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
        assert paths[0].is_dir()
        with scratch_directory(tmp_path) as mine:
            assert sorted(tmp_path.iterdir()) == sorted([other, paths[1], mine])
        living.communicate("\n", timeout=10)
        assert list(tmp_path.iterdir()) == [other]
    finally:
        for one in (killed, living):
            one.kill()
            one.communicate()


def test_files_get_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    """Under umask 077 what hostbuild writes is nobody else's to read."""
    from hostbuild.fs.files import write_file

    before = os.umask(0o077)
    try:
        write_file(tmp_path / "x", b"x", "the file")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_a_sweep_may_come_before_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sweeps may take a new directory away before it is locked: another one is made then."""
    made: list[Path] = []
    make = tempfile.mkdtemp

    def swept_once(**how: Any) -> str:
        made.append(Path(make(**how)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr("tempfile.mkdtemp", swept_once)
    with scratch_directory(tmp_path) as path:
        assert path == made[1]
        assert path.is_dir()
