"""A full disk where hostbuild itself chose to write (its cache, the place for temporary files), said in words.

A kernel's source takes 1.4 GiB, its objects from 0.5 GiB (few drivers) to 15 (all).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hostbuild.errors import CommandError, WorldError
from hostbuild.fs.files import FULL, room

# tar says the last one where a part of its block still went in
_WORDS = ("No space left on device", "Disk quota exceeded", ": Wrote only ")


@contextlib.contextmanager
def room_in(directory: Path, variable: str = "XDG_CACHE_HOME") -> Iterator[None]:
    """Turn the failure of whatever writes below a directory into a WorldError, if the disk is full.

    variable: which one of the environment moves the directory elsewhere.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in FULL:
            raise
        raise _full(directory, variable, str(e)) from e
    except CommandError as e:
        if not any(words in f"{e} {e.stderr}" for words in _WORDS):
            raise
        raise _full(directory, variable, str(e)) from e


def _full(directory: Path, variable: str, what: str) -> WorldError:
    return WorldError(
        f"no room is left in {directory}: {what}",
        hint=f"{room(directory)}; make room, or set {variable} to a larger disk, and start again",
    )
