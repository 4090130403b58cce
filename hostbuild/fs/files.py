"""The gate for files that people name: whole or not at all on the way out, and every failure in words.

A file is written under a temporary name in its own directory, brought to the disk and renamed: whoever looks sees the
old file or the new one, and neither an error nor a signal leaves anything else. All of it happens in the directory that
was looked at (shared.py), wherever its path leads meanwhile. Whose fault a failure is follows from its errno: a place
where nothing can be written is the caller's (UsageError), a full or broken disk is not (WorldError).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hostbuild.errors import HostbuildError, InputError, UsageError, WorldError
from hostbuild.fs.shared import PlantedError, is_planted, parent_of, require_own
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
    _require_unplanted(path, what, mode)
    if stat.S_ISDIR(mode) and not directory:
        raise write_error(path, what, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if mode and not stat.S_ISDIR(mode) and directory:
        raise UsageError(f"cannot write {what} {path}: it is a file, not a directory")
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return  # a pipe, /dev/null: written to as it is
    try:
        place = path if stat.S_ISDIR(mode) else Path(os.path.realpath(path)).parent
    except OSError as e:  # a symlink that goes away between a look at it and reading it
        raise write_error(path, what, e) from e
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
    if isinstance(error, PlantedError):
        return UsageError(f"{cannot}: {error.strerror}", hint="choose a directory of your own")
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
        status = os.statvfs(directory)
        return f"{directory} has {status.f_bavail * status.f_frsize >> 20} MiB free"
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
    mode = _mode_of(path)
    if mode is not None and not stat.S_ISREG(mode):
        device = _opened(os.fspath(path), path, what, os.O_WRONLY | os.O_NOCTTY)
        try:
            yield device
            device.finish()
        finally:
            device.abandon()
        return
    with _directory_of(path, what) as (directory, name):
        staging = f".hostbuild-{os.urandom(6).hex()}.part"
        output: Output | None = None
        try:
            output = _opened(staging, path, what, os.O_WRONLY | os.O_CREAT | os.O_EXCL, directory)
            yield output
            output.finish()
            try:
                _keep_mode(staging, name, directory)
                os.replace(staging, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as e:
                raise write_error(path, what, e) from e
        finally:
            if output is not None:
                output.abandon()
            with contextlib.suppress(OSError):
                os.unlink(staging, dir_fd=directory)


def write_file(path: Path, data: bytes, what: str) -> None:
    """Write a whole file, or leave what was there. Raises UsageError or WorldError."""
    with replace_file(path, what) as output:
        output.write(data)


class Growing:
    """A file that others read while it grows. It never raises: `trouble` is the first failure, after it all is lost."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.trouble: OSError | None = None

    def write(self, data: bytes) -> None:
        """Append `data`, to be seen at once; from any thread."""
        if self.trouble is None:
            try:
                while data:
                    data = data[self.stream.write(data) :]
            except OSError as e:
                self.trouble = e


@contextlib.contextmanager
def growing_file(path: Path, what: str) -> Iterator[Growing]:
    """Write a file as its content comes, in its place from the start.

    If it could not be written to its end it is removed, and that is an error once the block has ended; where the block
    itself failed, it is a note on that failure.
    """
    check_output(path, what)
    with _directory_of(path, what) as (directory, name):
        growing = Growing(_emptied(path, what, directory, name))
        try:
            with growing.stream:
                yield growing
        except BaseException as e:
            if growing.trouble is not None:
                _remove_stump(directory, name)
                e.add_note(str(write_error(path, what, growing.trouble)))
            raise
        if growing.trouble is not None:
            _remove_stump(directory, name)
            raise write_error(path, what, growing.trouble) from growing.trouble


def _emptied(path: Path, what: str, directory: int, name: str) -> BinaryIO:
    """Open a file that is written in its place, and empty it once it is known whose it is."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    if not stat.S_ISREG(_mode_of(path) or stat.S_IFREG):
        return os.fdopen(_descriptor(os.fspath(path), path, what, flags), "wb", buffering=0)
    stream = os.fdopen(_descriptor(name, path, what, flags | os.O_NOFOLLOW, directory), "wb", buffering=0)
    try:
        require_own(directory, name, os.fstat(stream.fileno()))
        stream.truncate(0)
    except OSError as e:
        stream.close()
        raise write_error(path, what, e) from e
    return stream


def _remove_stump(directory: int, name: str) -> None:
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=directory)


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _require_unplanted(path: Path, what: str, mode: int) -> None:
    """Refuse a path that somebody else has turned, and what is written as it is if it is somebody else's."""
    try:
        with parent_of(path) as (directory, name):
            if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                require_own(directory, name, os.stat(name, dir_fd=directory, follow_symlinks=False))
    except PlantedError as e:
        raise write_error(path, what, e) from e
    except OSError:
        pass  # told below, in the words for it


@contextlib.contextmanager
def _directory_of(path: Path, what: str) -> Iterator[tuple[int, str]]:
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(parent_of(path))
        except OSError as e:
            raise write_error(path, what, e) from e
        yield found


def _keep_mode(staging: str, name: str, directory: int) -> None:
    """Give a new file the mode of the one that it replaces; not that of another user's, who may have left it open."""
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and not is_planted(directory, status):
            os.chmod(staging, stat.S_IMODE(status.st_mode), dir_fd=directory)


def _opened(target: str, named: Path, what: str, flags: int, directory: int | None = None) -> Output:
    descriptor = _descriptor(target, named, what, flags | os.O_CLOEXEC, directory)
    return Output(os.fdopen(descriptor, "wb"), named, what)


def _descriptor(target: str, named: Path, what: str, flags: int, directory: int | None = None) -> int:
    try:
        return os.open(target, flags, 0o666, dir_fd=directory)
    except OSError as e:
        e.filename = None if directory is not None else e.filename
        raise write_error(named, what, e) from e


def _is_regular(stream: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
