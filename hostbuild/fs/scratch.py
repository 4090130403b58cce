"""Directories for half-done work, which are gone at the end, however that comes.

Each is locked (flock) by the process that works in it. Whoever makes the next one in the same place removes those of
this user's that nobody holds any more: their process was killed, or the machine went down.
"""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.fs.room import room_in

_NAME = "hostbuild-scratch-"
_OURS = re.compile(rf"\.?{_NAME}[a-z0-9_]{{8}}")  # as mkdtemp names them


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory below `parent` (the system's place for temporary files where None), then remove it.

    Unlike tempfile's, it is also removed if the signal that ends the work comes while it is being removed.
    Raises WorldError where it cannot be made, or where the disk is full.
    """
    variable = "XDG_CACHE_HOME" if parent else "TMPDIR"
    try:
        path, lock = _make(parent)
    except OSError as e:
        where = parent or (e.filename and Path(e.filename).parent)
        place = f"a directory for temporary files in {where}" if where else "a directory for temporary files"
        raise WorldError(
            f"cannot make {place}: {e.strerror}",
            hint=f"set {variable} to a directory with room that is yours",
        ) from e
    try:
        _sweep(path.parent)
        with room_in(path.parent, variable):
            yield path
    finally:
        try:
            _remove(path)
        except BaseException:
            _remove(path)
            raise
        finally:
            os.close(lock)


def _make(parent: Path | None) -> tuple[Path, int]:
    """Make a directory and lock it; a sweep that came in between may have taken it away, then another one."""
    import tempfile

    while True:
        path = Path(tempfile.mkdtemp(prefix=f".{_NAME}" if parent else _NAME, dir=parent))
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a sweep was quicker than the lock
        with suppress(OSError):  # where nothing can be locked nothing is swept either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_dir() and os.path.samestat(os.fstat(lock), path.stat()):
            return path, lock
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove the directories of processes that are no more. What cannot be removed stays."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(lock)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700:
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    finally:
        os.close(lock)


def _remove(path: str | Path) -> None:
    """Remove a directory, also where what was unpacked into it has directories that nobody may look into."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        for parent, below, _ in os.walk(path):
            for name in below:
                where = os.path.join(parent, name)
                if not os.path.islink(where):
                    os.chmod(where, 0o700)
    shutil.rmtree(path, ignore_errors=True)
