"""Who loads modules and writes the ledger: one process at a time, by a lock that the kernel drops when it ends.

A record lock of fcntl(2) on a file of its own. The kernel drops it however the process ends, a child does not inherit
it, and it says itself whose it is, so that nothing written down can be out of date. It also goes when its owner closes
any other descriptor of the file: nobody but this module opens it.
"""

from __future__ import annotations

import posix
from _struct import Struct
from fcntl import F_GETLK, LOCK_EX, LOCK_NB, fcntl, lockf

from modaliasd.core.errors import WorldError

FLOCK = Struct("@hhqqi0q")  # struct flock: type, whence, start, length, pid (asm-generic/fcntl.h)
F_WRLCK, F_UNLCK = 1, 2
SEEK_SET = 0


class HeldError(WorldError):
    """Another process has the lock; `pid` is its number, 0 if it is in another PID namespace."""

    def __init__(self, pid: int) -> None:
        who = f"process {pid}" if pid > 0 else "a process that is not seen from here"
        super().__init__(f"another modaliasd loads modules and writes the ledger: {who}")
        self.pid = pid


def acquire(path: str) -> int:
    """Take the lock for this process's life; gives its descriptor, to be kept open.

    -1 where there can be no lock file (/run full or read-only): a daemon must not fail for that. Raises HeldError.
    """
    descriptor = _open(path)
    if descriptor < 0:
        return -1
    try:
        lockf(descriptor, LOCK_EX | LOCK_NB)
    except (BlockingIOError, PermissionError) as e:  # EAGAIN, or EACCES: POSIX allows either
        pid = _owner(descriptor)
        posix.close(descriptor)
        raise HeldError(pid) from e
    except OSError:
        posix.close(descriptor)
        return -1
    return descriptor


def _open(path: str) -> int:
    _make_directory(path[: path.rfind("/")])
    try:
        return posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o600)
    except OSError:
        return -1


def _make_directory(path: str) -> None:
    try:
        posix.mkdir(path, 0o755)
    except OSError:
        return  # it is there, or opening the file fails as well


def _owner(descriptor: int) -> int:
    """Whose the lock is; 0 if unknown, or if it has been dropped meanwhile."""
    try:
        answer = fcntl(descriptor, F_GETLK, FLOCK.pack(F_WRLCK, SEEK_SET, 0, 0, 0))
    except OSError:
        return 0
    kind, _whence, _start, _length, pid = FLOCK.unpack(answer)
    return 0 if kind == F_UNLCK else int(pid)
