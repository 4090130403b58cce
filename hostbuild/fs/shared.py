"""Outputs in directories that others write into, such as /tmp: what somebody else has planted there is not followed.

The kernel's rule (fs.protected_symlinks, proc_sys_fs(5)), for each part of a path and not the last alone: a symlink in
a directory that everybody may write to is followed only if whoever owns it is us or owns the directory. The same goes
for files that are written as they are (fs.protected_regular, protected_fifos). Resolving a path and then opening the
result would pass the kernel by; so a path is walked with a descriptor for each directory, and what was looked at is
what is used.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_LINKS = 40  # MAXSYMLINKS
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class PlantedError(OSError):
    """Something of another user's is in the way, in a directory that everybody may write to. filename: what."""

    def __init__(self, kind: str, path: str) -> None:
        super().__init__(
            errno.EPERM, f"{path} is {kind} of another user's, in a directory where anybody can make one"
        )
        self.filename = path


@contextmanager
def parent_of(path: Path) -> Iterator[tuple[int, str]]:
    """Open the directory in which a path ends, all symlinks followed, also the last; give it with the name in it.

    Nothing needs to be there under that name. Raises PlantedError for a symlink that is not to be followed, OSError
    for a directory that is not there or cannot be entered.
    """
    parts = _parts(os.path.abspath(path))
    directory = os.open("/", _LOOK)
    try:
        links = 0
        while parts:
            name = parts.pop(0)
            entry, status = _look(name, directory, needed=bool(parts))
            if status is None or not (parts or stat.S_ISLNK(status.st_mode)):
                os.close(entry) if entry >= 0 else None
                yield directory, name
                return
            if stat.S_ISLNK(status.st_mode):
                try:
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if is_planted(directory, status):
                        raise PlantedError("a symlink", _named(directory, name))
                    target = os.readlink("", dir_fd=entry)
                finally:
                    os.close(entry)
                parts = _parts(target) + parts
                if target.startswith("/"):
                    os.close(directory)
                    directory = os.open("/", _LOOK)
                continue
            os.close(directory)
            directory = entry
        yield directory, "."
    finally:
        os.close(directory)


def is_planted(directory: int, status: os.stat_result) -> bool:
    """Tell whether what is in a directory may be somebody else's trap: not ours, nor the directory's owner's."""
    around = os.fstat(directory)
    return bool(around.st_mode & stat.S_IWOTH) and status.st_uid not in (os.geteuid(), around.st_uid)


def is_anybodys(path: Path) -> bool:
    """Tell whether a directory may be somebody else's trap, or is one that everybody may write to. Raises OSError."""
    with parent_of(path) as (directory, name):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return bool(status.st_mode & stat.S_IWOTH) or is_planted(directory, status)


def require_own(directory: int, name: str, status: os.stat_result) -> None:
    """Refuse what is about to be written as it is, if it may be a trap. Raises PlantedError."""
    if is_planted(directory, status):
        raise PlantedError("a file", _named(directory, name))


def _look(name: str, directory: int, *, needed: bool) -> tuple[int, os.stat_result | None]:
    try:
        entry = os.open(name, _LOOK, dir_fd=directory)
    except FileNotFoundError:
        if needed:
            raise
        return -1, None
    return entry, os.fstat(entry)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _named(directory: int, name: str) -> str:
    return os.path.join(os.readlink(f"/proc/self/fd/{directory}"), name)
