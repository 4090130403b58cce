"""The daemon's child processes: modprobe and insmod, the shell for install and remove lines, and once the hook.

The hook runs what waits for the first settle. Which program gets which words is core/kmod/invocation.py's. No modprobe
ever gets a modalias: busybox's cuts one at its first dot and at 255 characters, and rewrites dashes inside brackets. A
running one is never killed: a device half probed is worse than a slow one.

When memory runs out (proc(5), oom_score_adj) the children are as any other process, and the daemon is spared: in a
small guest the interpreter is the largest process there is, so it would be the first to go, though what fills the
memory of an initramfs is files. systemd spares its udevd in the same way.
"""

from __future__ import annotations

import posix
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SHRINK, fcntl

from modaliasd.core.fasttypes import NamedTuple

WORDS_LIMIT = 65536  # bytes kept of what one child says
WORDS_ROOM = 1 << 20  # bytes that it can say at all; what follows is an error for its write(2)
SEEK_CUR = 1  # include/uapi/linux/fs.h
SAFE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
ENVIRONMENT = {"PATH": "/sbin:/usr/sbin:/bin:/usr/bin", "LC_ALL": "C"}


class Child(NamedTuple):
    """A running process: `pidfd` becomes readable when it ends, `words` is a file in memory with what it says."""

    pid: int
    pidfd: int
    words: int


class Ended(NamedTuple):
    """What is left of a process: waitstatus_to_exitcode's status, and its stderr."""

    status: int
    words: str


def is_safe_name(name: str) -> bool:
    """Return whether the name can be nothing but a module's, whichever program reads it.

    No option, no path, no shell syntax.
    """
    return bool(name) and name[0] not in "-." and len(name) <= 255 and SAFE_NAME.issuperset(name)


def spare_self() -> None:
    """Have the kernel end others when memory runs out; not where CAP_SYS_RESOURCE is missing."""
    _write_score("self", b"-1000")


def start(path: str, arguments: list[str], environment: tuple[tuple[str, str], ...] = ()) -> Child:
    """Run `path ARGUMENTS...`, its standard output and error in one file. `environment` adds to the usual one.

    It is a file in memory and no pipe, which would be full at 64 KiB and stop a child that nobody listens to. Nor does
    a child that says more and more fill the memory: the file is sealed at its full length, of which only what is
    written takes any. OSError where that cannot be done.
    """
    words = posix.memfd_create("words", posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING)
    try:
        posix.ftruncate(words, WORDS_ROOM)
        fcntl(words, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK)
        room = posix.dup(words)  # a place for the pidfd: a child that nobody can wait for must not begin
        try:
            pid = posix.posix_spawn(
                path,
                [path, *arguments],
                {**ENVIRONMENT, **dict(environment)},
                file_actions=[
                    (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
                    (posix.POSIX_SPAWN_DUP2, words, 1),
                    (posix.POSIX_SPAWN_DUP2, words, 2),
                ],
            )
        finally:
            posix.close(room)
        _write_score(str(pid), b"0")  # it inherits ours
        return Child(pid, posix.pidfd_open(pid), words)
    except BaseException:
        posix.close(words)
        raise


def _write_score(pid: str, score: bytes) -> None:
    try:
        descriptor = posix.open(f"/proc/{pid}/oom_score_adj", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        posix.write(descriptor, score)
    except OSError:
        pass
    finally:
        posix.close(descriptor)


def give_way(*, yielding: bool = True) -> None:
    """Never take the processor away from a child that has just been started, or do again; children are as ever.

    A process that has slept and wakes does that, even by the end of its own vfork(2), which is in the middle of the
    child's execve(2), unless it is SCHED_BATCH (kernel/sched/fair.c, check_preempt_wakeup). A policy that somebody else
    has chosen for the daemon stays.
    """
    if posix.sched_getscheduler(0) & ~posix.SCHED_RESET_ON_FORK not in (posix.SCHED_OTHER, posix.SCHED_BATCH):
        return
    policy = posix.SCHED_BATCH if yielding else posix.SCHED_OTHER
    try:
        posix.sched_setscheduler(0, policy | posix.SCHED_RESET_ON_FORK, posix.sched_param(0))
    except OSError:
        return


def split() -> int:
    """Make a second process of this one: 0 in the new one, its number in the old one. Nothing may be open yet."""
    return posix.fork()


def reap(child: Child) -> Ended:
    """Collect a process whose pidfd is readable."""
    _pid, wait_status = posix.waitpid(child.pid, 0)
    length = min(posix.lseek(child.words, 0, SEEK_CUR), WORDS_LIMIT)  # the offset is the child's, too
    words = posix.pread(child.words, length, 0)
    posix.close(child.words)
    posix.close(child.pidfd)
    return Ended(posix.waitstatus_to_exitcode(wait_status), words.decode("utf-8", "surrogateescape"))
