"""Regular files read without a wait: a FIFO, a socket or a device by the name of a file is an error, not a read.

Trees of modules and firmware come from anybody; a FIFO called x.ko would hold whoever opens it for ever.
"""

import errno
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_regular(path: Path) -> bytes:
    """Read a regular file, links followed. Raises OSError, EINVAL for what is not a regular file."""
    _require(path, os.stat(path).st_mode)  # some devices act on being opened
    descriptor = os.open(
        path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    )  # it may have become a FIFO meanwhile
    with os.fdopen(descriptor, "rb") as stream:
        _require(path, os.fstat(descriptor).st_mode)
        return stream.read()


def is_regular(path: Path) -> bool:
    """Tell whether a path leads to a regular file; not where it cannot be looked at."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def kind_of_mode(mode: int) -> str:
    """Say what st_mode tells of: "a FIFO"."""
    return next((words for test, words in _KINDS if test(mode)), "a regular file")


def _require(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {kind_of_mode(mode)}, not a regular file", str(path))
