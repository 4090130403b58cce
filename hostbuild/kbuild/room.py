"""A full disk, said in words: a kernel's source takes 1.4 GiB, its objects from 0.5 GiB (few drivers) to 15 (all)."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from hostbuild.errors import CommandError, WorldError

_WORDS = "No space left on device"


@contextlib.contextmanager
def room_in(directory: Path) -> Iterator[None]:
    """Turn the failure of whatever writes below a directory into a WorldError, if the disk is full."""
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(directory, str(e)) from e
    except CommandError as e:
        if _WORDS not in f"{e} {e.stderr}":
            raise
        raise _full(directory, str(e)) from e


def _full(directory: Path, what: str) -> WorldError:
    free = shutil.disk_usage(directory).free >> 20
    return WorldError(
        f"no room is left: {what}",
        hint=f"{directory} has {free} MiB free; make room, or set XDG_CACHE_HOME to a larger disk, and start again",
    )
