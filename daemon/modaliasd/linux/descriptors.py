"""Files that are opened for a moment, even when the process has no descriptor left: one is kept for them.

Clients and children keep descriptors, and a limit (RLIMIT_NOFILE) may be low or be lowered. What the daemon knows
comes from files of /sys and /proc that it opens, reads and closes one after the other, so a single descriptor in
reserve is enough for all of them; without it a device would seem to be gone, and a module not to be in. The shells
build on this module.
"""

from __future__ import annotations

import posix
from errno import EMFILE, ENFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

EXHAUSTED = (EMFILE, ENFILE)
_UNWANTED, _SPENT = -2, -1


class _Reserve:
    """The process's reserve."""

    descriptor = _UNWANTED  # the one that is kept, or one of the above


def keep_reserve() -> None:
    """Keep a descriptor in reserve from now on; nothing while there is none to be had."""
    if _Reserve.descriptor < 0:
        try:
            _Reserve.descriptor = posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            _Reserve.descriptor = _SPENT


def spend_reserve() -> bool:
    """Set the reserve free for what opens a file next; False if there is none. Then: `keep_reserve`."""
    if _Reserve.descriptor < 0:
        return False
    posix.close(_Reserve.descriptor)
    _Reserve.descriptor = _SPENT
    return True


def open_file(path: str) -> int:
    """Open for reading, out of the reserve if need be. To be closed by `close_file`, before the next is opened."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as e:
        if e.errno not in EXHAUSTED or not spend_reserve():
            raise
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        keep_reserve()
        raise


def close_file(descriptor: int) -> None:
    """Close what `open_file` gave."""
    posix.close(descriptor)
    if _Reserve.descriptor == _SPENT:
        keep_reserve()


def with_reserve(act: Callable[[], T]) -> T:
    """Do what needs a descriptor for a moment, an import for one, with the reserve set free."""
    spent = spend_reserve()
    try:
        return act()
    finally:
        if spent:
            keep_reserve()


def list_directory(path: str) -> list[str]:
    """Return the names in a directory, in no order; out of the reserve if need be."""
    try:
        return posix.listdir(path)
    except OSError as e:
        if e.errno not in EXHAUSTED:
            raise
    return with_reserve(lambda: posix.listdir(path))
