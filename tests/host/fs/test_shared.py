"""Outputs in directories that everybody may write to: what another user plants there gets nothing and does nothing."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.errors import HostbuildError, UsageError, WorldError
from hostbuild.fs.files import check_output, growing_file, write_file
from hostbuild.fs.shared import parent_of
from hostbuild.main import hostbuild as command
from tests.support.ledgers import Q35

NOBODY = 65534


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory as /tmp is, beside one that is ours with a file in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make what belongs to another user")
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/victim").write_text("keep")
    return place


def plant(path: Path, target: Path, owner: int = NOBODY) -> Path:
    """A symlink of another user's."""
    path.symlink_to(target)
    os.lchown(path, owner, owner)
    return path


def grow(path: Path) -> None:
    """Write a file as its content comes."""
    with growing_file(path, "the ledger") as file:
        file.write(b"evil")


WRITERS: dict[str, Callable[[Path], None]] = {
    "whole": lambda path: write_file(path, b"evil", "the file"),
    "growing": grow,
    "checked": lambda path: check_output(path, "the file"),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("target", ["victim", "new", "."])
def test_another_users_link_is_not_followed(writer: str, target: str, shared: Path) -> None:
    """To a file, to a name that is free, to a directory: it is said whose it is, and nothing is written."""
    link = plant(shared / "out", shared.parent / "ours" / target)
    with pytest.raises(UsageError, match=r"shared/out is a symlink of another user's"):
        WRITERS[writer](link)
    assert [one.name for one in (shared.parent / "ours").iterdir()] == ["victim"]
    assert (shared.parent / "ours/victim").read_text() == "keep"
    assert list(shared.iterdir()) == [link]


@pytest.mark.parametrize("writer", WRITERS)
def test_nor_is_one_in_the_middle_of_a_path(writer: str, shared: Path) -> None:
    """The kernel looks at a path's last part only; /tmp/build is as easily planted."""
    plant(shared / "build", shared.parent / "ours")
    with pytest.raises(UsageError, match="shared/build is a symlink of another user's"):
        WRITERS[writer](shared / "build/victim")
    assert (shared.parent / "ours/victim").read_text() == "keep"


def test_nor_one_that_a_link_of_ours_leads_to(shared: Path) -> None:
    """Each link of a chain is looked at, also when `..` is in it."""
    plant(shared / "out", shared.parent / "ours/victim")
    (shared.parent / "ours/way").symlink_to("../shared/../shared/out")
    with pytest.raises(UsageError, match="symlink of another user's"):
        write_file(shared.parent / "ours/way", b"evil", "the file")
    assert (shared.parent / "ours/victim").read_text() == "keep"


@pytest.mark.parametrize("owner", [0, 1000])
def test_links_of_ours_and_of_the_directorys_owner_are_followed(owner: int, shared: Path) -> None:
    """The kernel's rule has these two exceptions; and in directories of one's own all links are followed."""
    os.chown(shared, owner, owner)
    plant(shared / "out", shared.parent / "ours/victim", owner)
    write_file(shared / "out", b"new", "the file")
    assert (shared.parent / "ours/victim").read_text() == "new"
    assert (shared / "out").is_symlink()
    plant(shared.parent / "ours/link", Path("victim"))
    write_file(shared.parent / "ours/link", b"newer", "the file")
    assert (shared.parent / "ours/victim").read_text() == "newer"


def test_a_file_that_was_there_first_gives_nothing_away(shared: Path) -> None:
    """Another user's file under our name is replaced by one of ours, without the mode that lets him write to it."""
    path = shared / "out"
    path.write_text("before")
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o666)
    write_file(path, b"ours", "the file")
    status = path.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode) & 0o022) == (0, 0)


@pytest.mark.parametrize("make", [lambda path: path.touch(), os.mkfifo], ids=["file", "FIFO"])
def test_a_ledger_is_not_written_into_what_is_anothers(make: Callable[[Path], None], shared: Path) -> None:
    """A growing file is written in its place: another user's file would be read and changed, his FIFO would hold us."""
    path = shared / "boot.jsonl"
    make(path)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(UsageError, match="a file of another user's"):
        grow(path)
    if path.is_file():
        assert path.read_bytes() == b""


def test_a_fifo_of_anothers_is_written_to_by_nobody(shared: Path) -> None:
    """Nor is it waited for."""
    os.mkfifo(shared / "out")
    os.chown(shared / "out", NOBODY, NOBODY)
    with pytest.raises(UsageError, match="a file of another user's"):
        write_file(shared / "out", b"secret", "the report")


@pytest.mark.parametrize("writer", ["whole", "growing"])
@pytest.mark.slow
def test_a_race_is_lost_by_who_plants(writer: str, shared: Path) -> None:
    """A link that comes and goes while files are written gets none of them through, at whatever moment."""
    victim, path, over = shared.parent / "ours/victim", shared / "out", threading.Event()

    def attack() -> None:
        spare = shared / "spare"
        while not over.is_set():
            for target in (victim, Path("elsewhere")):
                with contextlib.suppress(OSError):
                    spare.symlink_to(target)
                    os.lchown(spare, NOBODY, NOBODY)
                    spare.rename(path)
                with contextlib.suppress(OSError):
                    path.unlink()

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        written = 0
        for _ in range(400):
            with contextlib.suppress(HostbuildError):
                WRITERS[writer](path)
                written += 1
    finally:
        over.set()
        attacker.join()
    assert written
    assert victim.read_text() == "keep"
    assert not (shared / "elsewhere").exists()


def test_a_link_that_goes_away_while_it_is_read_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race's one moment that seldom comes: realpath(3) has seen a link, and readlink(2) finds none."""

    def gone(path: Path) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(os.path, "realpath", gone)
    with pytest.raises(HostbuildError, match=r"cannot write the file .*/out"):
        check_output(tmp_path / "out", "the file")


def test_a_directory_swapped_meanwhile_is_written_to_where_it_is(shared: Path) -> None:
    """Between look and rename the directory becomes a link to another one: the file comes into the one looked at."""
    ours, place = shared.parent / "ours", shared / "place"
    place.mkdir()
    with parent_of(place / "out") as (directory, name):
        place.rename(shared / "moved")
        plant(shared / "place", ours)
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    assert [one.name for one in ours.iterdir()] == ["victim"]
    assert (shared / "moved/out").exists()


@pytest.mark.parametrize("name", ["x.img", "x.img.manifest.json", "x.img.vmlinuz"])
def test_all_three_files_of_an_image_are_looked_at(name: str, shared: Path) -> None:
    """make-image refuses before it builds, whichever of its outputs was planted."""
    plant(shared / name, shared.parent / "ours/victim")
    with pytest.raises(UsageError, match="symlink of another user's"):
        command.main(["make-image", "-o", str(shared / "x.img")], standalone_mode=False)
    assert (shared.parent / "ours/victim").read_text() == "keep"


@pytest.mark.parametrize(
    "call", [["report", str(Q35), "-o"], ["capture", "--from", str(Q35), "-o"]], ids=["report", "capture"]
)
def test_reports_and_captures_are_no_exception(call: list[str], shared: Path) -> None:
    """One gate for all outputs."""
    plant(shared / "out.html", shared.parent / "ours/victim")
    with pytest.raises(UsageError, match="symlink of another user's"):
        command.main([*call, str(shared / "out.html")], standalone_mode=False)
    assert (shared.parent / "ours/victim").read_text() == "keep"


@pytest.mark.parametrize("trap", ["another user's", "everybody's", "linked"])
def test_a_cache_that_others_can_change_is_not_used(
    trap: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in it is run, busybox for one: it must be ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared))
    cache = shared / "hostbuild"
    if trap == "linked":
        plant(cache, shared.parent / "ours")
    else:
        cache.mkdir()
        os.chown(cache, *((NOBODY, NOBODY) if trap == "another user's" else (0, 0)))
        cache.chmod(0o777 if trap == "everybody's" else 0o755)
    with pytest.raises(WorldError, match=r"another user") as caught:
        debs.cache_directory()
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_sweeping_takes_no_orders(shared: Path) -> None:
    """A scratch directory's name that leads to ours by a planted link removes nothing there."""
    plant(shared / "hostbuild-scratch-abcdefgh", shared.parent / "ours")
    script = "from hostbuild.fs.scratch import scratch_directory\nwith scratch_directory(): pass\n"
    environment = {**os.environ, "TMPDIR": str(shared)}
    subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, timeout=30, cwd=Path(__file__).parents[3]
    )
    assert (shared.parent / "ours/victim").read_text() == "keep"
