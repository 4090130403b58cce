"""The daemon's only child processes: modprobe, and once the hook that runs what waits for the first settle.

modprobe gets plain module names, always with -b, never through a shell: busybox's cuts a modalias at its
first dot and at 255 characters, and rewrites dashes inside brackets. With -b both modprobes mind the
blacklist for these names. A running modprobe is never killed: a device half probed is worse than a slow
one.
"""

from __future__ import annotations

import posix

from modaliasd.core.lean import Record

STDERR_LIMIT = 65536  # bytes kept of what one modprobe says
SAFE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
ENVIRONMENT = {"PATH": "/sbin:/usr/sbin:/bin:/usr/bin", "LC_ALL": "C"}


class Child(Record):
    """A running process: `pidfd` becomes readable when it ends, `words` is the reading end of its stderr."""

    pid: int
    pidfd: int
    words: int


class Ended(Record):
    """What is left of a process: waitstatus_to_exitcode's status, and its stderr."""

    status: int
    words: str


def is_safe_name(name: str) -> bool:
    """Can the name be nothing but a module's, whichever program reads it?

    No option, no path, no shell syntax.
    """
    return bool(name) and name[0] not in "-." and len(name) <= 255 and SAFE_NAME.issuperset(name)


def start(path: str, arguments: list[str]) -> Child:
    """Run `path ARGUMENTS...`, its standard output and error in one pipe.

    OSError where that cannot be done.
    """
    reading, writing = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        posix.set_blocking(writing, True)
        pid = posix.posix_spawn(
            path,
            [path, *arguments],
            ENVIRONMENT,
            file_actions=[
                (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
                (posix.POSIX_SPAWN_DUP2, writing, 1),
                (posix.POSIX_SPAWN_DUP2, writing, 2),
            ],
        )
    except BaseException:
        posix.close(reading)
        raise
    finally:
        posix.close(writing)
    return Child(pid, posix.pidfd_open(pid), reading)


def reap(child: Child) -> Ended:
    """Collect a process whose pidfd is readable."""
    _pid, wait_status = posix.waitpid(child.pid, 0)
    words = _read_all(child.words)
    posix.close(child.words)
    posix.close(child.pidfd)
    return Ended(posix.waitstatus_to_exitcode(wait_status), words.decode("utf-8", "surrogateescape"))


def _read_all(descriptor: int) -> bytes:
    """What the pipe holds now; a grandchild that keeps it open is not waited for."""
    chunks: list[bytes] = []
    size = 0
    while size < STDERR_LIMIT:
        try:
            chunk = posix.read(descriptor, STDERR_LIMIT - size)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)
