"""The gate for files that people name: whole or not at all on the way out, and every failure in words.

A file is written under a temporary name in its own directory, brought to the disk and renamed: whoever looks sees the
old file or the new one, and neither an error nor a signal leaves anything else. Whose fault a failure is follows from
its errno: a place where nothing can be written is the caller's (UsageError), a full or broken disk is not (WorldError).
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hostbuild.errors import HostbuildError, InputError, UsageError, WorldError
from hostbuild.log import debug

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


def read_input(path: Path, what: str, *, hint: str = "") -> bytes:
    """Read a file that somebody named; `what` is its part in the work ("the ledger"). Raises InputError."""
    debug("read", str(path))
    try:
        return path.read_bytes()
    except OSError as e:
        raise read_error(path, what, e, hint=hint) from e


def read_error(path: Path, what: str, error: OSError, *, hint: str = "") -> InputError:
    """Say that a named file cannot be read, and why."""
    return InputError(f"cannot read {what} {path}: {error.strerror or error}", hint=hint)


def check_output(path: Path, what: str, *, directory: bool = False, parents: bool = False) -> None:
    """Refuse before the work what would fail after it. Raises UsageError.

    directory: a directory is to be written, not a file. parents: those that are missing will be made.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except OSError as e:
        raise write_error(path, what, e) from e
    if stat.S_ISDIR(mode) and not directory:
        raise write_error(path, what, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if mode and not stat.S_ISDIR(mode) and directory:
        raise UsageError(f"cannot write {what} {path}: it is a file, not a directory")
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return  # a pipe, /dev/null: written to as it is
    place = path if stat.S_ISDIR(mode) else Path(os.path.realpath(path)).parent
    while parents and not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise write_error(path, what, OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
    if not os.access(place, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
        raise write_error(path, what, OSError(number, os.strerror(number), str(place)))


def write_error(path: Path, what: str, error: OSError) -> HostbuildError:
    """Turn the failure to write a named file into words, and into an error of whoever is at fault."""
    cannot = f"cannot write {what} {path}"
    parent = path.parent
    if error.errno == errno.EISDIR:
        return UsageError(f"{cannot}: it is a directory", hint=f"name a file, for example {path / 'NAME'}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        existing = next((one for one in (parent, *parent.parents) if one.exists()), parent)
        if not existing.is_dir():
            return UsageError(f"{cannot}: {existing} is a file, not a directory", hint="choose another place")
        if parent.is_dir():  # as in /proc
            return UsageError(f"{cannot}: cannot create a file in {parent}", hint="choose another place")
        return UsageError(f"{cannot}: there is no directory {parent}", hint=f"mkdir -p {parent}")
    if error.errno == errno.EFBIG:
        return WorldError(
            f"{cannot}: {error.strerror}", hint="raise the limit on files' sizes: ulimit -f unlimited"
        )
    if error.errno in FULL:
        return WorldError(
            f"{cannot}: {error.strerror}", hint=f"{room(parent)}; make room, or choose another place"
        )
    if error.errno in _PLACE:
        place = error.filename if isinstance(error.filename, str) else str(parent)
        reason = {
            errno.EACCES: f"no permission to write in {place}",
            errno.EPERM: f"no permission to write in {place}",
            errno.EROFS: f"the file system of {place} is read-only",
        }.get(error.errno, error.strerror)
        return UsageError(f"{cannot}: {reason}", hint="choose another place")
    return WorldError(f"{cannot}: {error.strerror or error}")


def room(directory: Path) -> str:
    """Say how much room a directory has."""
    try:
        return f"{directory} has {shutil.disk_usage(directory).free >> 20} MiB free"
    except OSError:
        return f"{directory} has no room"


class Output:
    """A file that is being written; its failures are errors with its name."""

    def __init__(self, stream: BinaryIO, path: Path, what: str) -> None:
        self._stream = stream
        self._path = path
        self._what = what

    def write(self, data: bytes) -> None:
        """Write `data`. Raises UsageError or WorldError."""
        with self._named():
            self._stream.write(data)

    def finish(self) -> None:
        """Bring what was written to the disk, where a lack of room may first show, and close."""
        if self._stream.closed:
            return
        with self._named():
            self._stream.flush()
            with contextlib.suppress(OSError) if not _is_regular(self._stream) else contextlib.nullcontext():
                os.fsync(self._stream.fileno())
            self._stream.close()

    def abandon(self) -> None:
        """Close, whatever happens to what is still in the buffer."""
        with contextlib.suppress(OSError):
            self._stream.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as e:
            raise write_error(self._path, self._what, e) from e


@contextlib.contextmanager
def replace_file(path: Path, what: str) -> Iterator[Output]:
    """Write a file that gets its name when the block has ended well; otherwise all is as it was.

    A symlink stays one, and an existing file's mode is kept. What is not a regular file (a pipe, /dev/null) is written
    to as it is. Raises UsageError or WorldError.
    """
    check_output(path, what)
    target = Path(os.path.realpath(path))
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        device = _opened(target, path, what, os.O_WRONLY)
        try:
            yield device
            device.finish()
        finally:
            device.abandon()
        return
    staging = target.with_name(f".hostbuild-{secrets.token_hex(6)}.part")
    output: Output | None = None
    try:
        output = _opened(staging, path, what, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        yield output
        output.finish()
        try:
            if mode is not None:
                staging.chmod(stat.S_IMODE(mode))
            staging.replace(target)
        except OSError as e:
            raise write_error(path, what, e) from e
    finally:
        if output is not None:
            output.abandon()
        with contextlib.suppress(OSError):
            staging.unlink(missing_ok=True)


def write_file(path: Path, data: bytes, what: str) -> None:
    """Write a whole file, or leave what was there. Raises UsageError or WorldError."""
    with replace_file(path, what) as output:
        output.write(data)


class Growing:
    """A file that others read while it grows. It never raises: `trouble` is the first failure, after it all is lost."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.trouble: OSError | None = None

    def write(self, data: bytes) -> None:
        """Append `data`, to be seen at once; from any thread."""
        if self.trouble is None:
            try:
                while data:
                    data = data[self._stream.write(data) :]
            except OSError as e:
                self.trouble = e


@contextlib.contextmanager
def growing_file(path: Path, what: str) -> Iterator[Growing]:
    """Write a file as its content comes, in its place from the start.

    If it could not be written to its end it is removed, and that is an error once the block has ended; where the block
    itself failed, it is a note on that failure.
    """
    check_output(path, what)
    try:
        stream = path.open("wb", buffering=0)
    except OSError as e:
        raise write_error(path, what, e) from e
    growing = Growing(stream)
    try:
        with stream:
            yield growing
    except BaseException as e:
        if growing.trouble is not None:
            _remove_stump(path)
            e.add_note(str(write_error(path, what, growing.trouble)))
        raise
    if growing.trouble is not None:
        _remove_stump(path)
        raise write_error(path, what, growing.trouble) from growing.trouble


def _remove_stump(path: Path) -> None:
    if path.is_file():
        with contextlib.suppress(OSError):
            Path(os.path.realpath(path)).unlink()


def _opened(target: Path, named: Path, what: str, flags: int) -> Output:
    try:
        return Output(os.fdopen(os.open(target, flags | os.O_CLOEXEC, 0o666), "wb"), named, what)
    except OSError as e:
        raise write_error(named, what, e) from e


def _is_regular(stream: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
