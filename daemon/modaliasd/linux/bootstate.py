"""What one daemon leaves to the next in the same boot: marks in /run, and whom the kernel asks for modules."""

from __future__ import annotations

import posix

from modaliasd.core.device import Phase
from modaliasd.linux.paths import FROZEN_HELPER, FROZEN_MARK, KERNEL_HELPER, LIVES, SETTLED_MARK


def count_life() -> int:
    """Return how many lives the daemon has had before in this boot; counts this one, too."""
    try:
        lives = int(_read(LIVES) or b"0")
    except ValueError:
        lives = 0  # somebody else's bytes
    # Written over in one piece, not cut off first: who is killed in between leaves the old number. Nothing depends
    # on it where /run is full.
    _write(LIVES, posix.O_CREAT, b"%d\n" % (lives + 1))
    return lives


def phase() -> Phase:
    """Return where the boot is: a respawned daemon goes on where its predecessor was."""
    if _exists(FROZEN_MARK):
        return Phase.FROZEN
    return Phase.HOTPLUG if _exists(SETTLED_MARK) else Phase.COLDPLUG


def freeze() -> str:
    """Have a respawned daemon know, and the kernel's own requests judged; what could not be done, else ""."""
    for path, flags, content in (
        (FROZEN_MARK, posix.O_CREAT, b""),
        (KERNEL_HELPER, 0, FROZEN_HELPER.encode()),
    ):
        problem = _write(path, flags, content)
        if problem:
            return problem
    return ""


def first_settle() -> bool:
    """Return whether this is the boot's first settle; a respawned daemon finds the mark of its predecessor."""
    try:
        posix.close(posix.open(SETTLED_MARK, posix.O_CREAT | posix.O_EXCL | posix.O_WRONLY, 0o644))
    except OSError:
        return False
    return True


def _read(path: str) -> bytes:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(descriptor, 64)
    finally:
        posix.close(descriptor)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _write(path: str, flags: int, content: bytes) -> str:
    """Write to the file; what could not be done, else ""."""
    try:
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC | flags, 0o644)
    except OSError as e:
        return f"cannot write {path}: {e.strerror}"
    try:
        posix.write(descriptor, content)
    except OSError as e:
        return f"cannot write {path}: {e.strerror}"
    finally:
        posix.close(descriptor)
    return ""
