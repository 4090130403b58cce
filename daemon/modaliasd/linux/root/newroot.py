"""Looks into a mounted root file system: paths there, with its own links, and the program that is to be its first."""

from __future__ import annotations

import posix
from errno import ELOOP, ENOENT
from stat import S_ISDIR, S_ISLNK, S_ISREG

from modaliasd.core.root.program import HEAD, interpreter_of, why_not_run

MOST_LINKS = 40  # as the kernel follows (include/linux/namei.h, MAXSYMLINKS)
USUAL = ("/sbin/init", "/etc/init", "/bin/init", "/bin/sh")  # init/main.c, kernel_init


def inside(root: str, path: str) -> str:
    """Return where `path` of the file system mounted at `root` is, links followed as from within. Raises OSError."""
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del here[-1:]
            continue
        place = "/".join([root, *here, part])
        if not S_ISLNK(posix.lstat(place).st_mode):
            here.append(part)
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(ELOOP, posix.strerror(ELOOP))
        target = posix.readlink(place)
        if target.startswith("/"):
            here.clear()
        waiting += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return "/".join([root, *here])


def why_not_init(root: str, path: str) -> str:
    """Return why the program cannot be the first process; "" if nothing speaks against it."""
    try:
        place = inside(root, path)
        mode = posix.stat(place).st_mode
        if not S_ISREG(mode):
            return "it is a directory" if S_ISDIR(mode) else "it is not a file"
        if not mode & 0o111:
            return "it is not executable"
        head = _head(place)
        why = why_not_run(head, _head("/proc/self/exe")[18:20])
    except OSError as e:
        return "it is not there" if e.errno == ENOENT else (e.strerror or str(e))
    interpreter = interpreter_of(head)
    if why or not interpreter:
        return why
    try:
        inside(root, interpreter)
    except OSError:
        return f"it needs {interpreter}, which is not there"
    return ""


def _head(path: str) -> bytes:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(descriptor, HEAD)
    finally:
        posix.close(descriptor)
