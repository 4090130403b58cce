"""The gate for files that people name (hostbuild/fs/files.py): whole or not at all, and failures in words."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from hostbuild.errors import GuestError, UsageError, WorldError
from hostbuild.fs.files import check_output, growing_file, replace_file, write_error, write_file


def test_a_link_stays_a_link_and_modes_are_kept(tmp_path: Path) -> None:
    """What a symlink points to is replaced, with its mode; a new file gets what the umask leaves."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to("real")
    write_file(link, b"new", "the file")
    assert link.is_symlink()
    assert (real.read_text(), stat.S_IMODE(real.stat().st_mode)) == ("new", 0o640)
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "fresh", b"", "the file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    """/dev/null stays what it is, and whoever reads a FIFO gets the file."""
    write_file(Path("/dev/null"), b"x", "the file")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_file(fifo, b"through the pipe", "the file")
    assert os.read(reader, 100) == b"through the pipe"
    os.close(reader)
    with pytest.raises(WorldError, match="No space left on device"):
        write_file(Path("/dev/full"), b"x", "the file")


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit(143), ValueError])
def test_whatever_ends_the_work_leaves_the_old_file(tmp_path: Path, end: BaseException) -> None:
    """An interrupt, a signal or an error inside the block: the old file, and nothing beside it."""
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> NoReturn:
        with replace_file(path, "the file") as out:
            out.write(b"half")
            raise end

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        write()
    assert caught.type is (end if isinstance(end, type) else type(end))
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_leave_no_stump(tmp_path: Path, number: int, status: int) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end a command that writes with a shell's status, and no file."""
    script = """
import signal, sys, time
from pathlib import Path
from hostbuild import main
from hostbuild.fs.files import replace_file
# what the tests' own shell has ignored (nohup; Ctrl-C for what runs in the background) is inherited
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
def work(*_, **__):
    with replace_file(Path(sys.argv[1]), "the file") as out:
        out.write(b"x" * 100000)
        print("ready", flush=True)
        time.sleep(60)
main.hostbuild.main = work
main.main()
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "x")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == status
    assert b"Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_growing_file_is_seen_as_it_grows(tmp_path: Path) -> None:
    """What is written can be read at once, and stays when the guest is lost."""
    path = tmp_path / "boot.jsonl"

    def lose() -> NoReturn:
        with growing_file(path, "the ledger") as out:
            out.write(b"one\n")
            assert path.read_bytes() == b"one\n"
            raise GuestError("the guest is lost")

    with pytest.raises(GuestError):
        lose()
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("lost", [False, True])
def test_a_growing_file_without_room(lost: bool) -> None:
    """A full disk does not disturb the boot; it is told at its end, and on a guest that was lost as a note."""
    words = "cannot write the ledger /dev/full: No space left on device"

    def boot() -> None:
        with growing_file(Path("/dev/full"), "the ledger") as out:
            out.write(b"one\n")
            out.write(b"two\n")
            if lost:
                raise GuestError("the guest is lost")

    with pytest.raises(GuestError if lost else WorldError) as caught:
        boot()
    assert words in (caught.value.__notes__ if lost else [str(caught.value)])


def test_a_growing_stump_is_removed(tmp_path: Path) -> None:
    """A ledger that lacks its end is removed."""
    script = f"""
import resource, signal
from pathlib import Path
from hostbuild.fs.files import growing_file
from hostbuild.errors import WorldError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with growing_file(Path({str(tmp_path / "x")!r}), "the ledger") as out:
        out.write(b"x" * 10000)
except WorldError as e:
    print(e)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    assert "File too large" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.EACCES, UsageError, "no permission to write in"),
        (errno.EROFS, UsageError, "is read-only"),
        (errno.EISDIR, UsageError, "it is a directory"),
        (errno.ENAMETOOLONG, UsageError, "File name too long"),
        (errno.ENOSPC, WorldError, "No space left on device"),
        (errno.EDQUOT, WorldError, "Disk quota exceeded"),
        (errno.EIO, WorldError, "Input/output error"),
    ],
)
def test_whose_fault_it_is(tmp_path: Path, number: int, kind: type[Exception], reason: str) -> None:
    """A place that cannot be written to is the caller's fault; a full or broken disk is the world's."""
    error = write_error(tmp_path / "x", "the file", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert reason in str(error)
    assert str(tmp_path / "x") in str(error)


def test_names_of_any_length(tmp_path: Path) -> None:
    """A name of 255 bytes can be written; one more is the caller's fault."""
    write_file(tmp_path / ("n" * 255), b"", "the file")
    with pytest.raises(UsageError, match="File name too long"):
        check_output(tmp_path / ("n" * 256), "the file")
