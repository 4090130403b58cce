"""What one daemon leaves to the next in the same boot: marks in /run, and whom the kernel asks for modules."""

from __future__ import annotations

import posix

from modaliasd.core.device import Phase
from modaliasd.linux.paths import FROZEN_HELPER, FROZEN_MARK, HOTPLUG_MARK, KERNEL_HELPER, LIVES, SETTLED_MARK


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
    """Where the boot is: a respawned daemon goes on where its predecessor was.

    Frozen if there is any doubt: /run may have had no room for the mark, or cannot be read now.
    """
    if _exists(FROZEN_MARK) or _is_closed():
        return Phase.FROZEN
    return Phase.HOTPLUG if _exists(SETTLED_MARK) or _exists(HOTPLUG_MARK) else Phase.COLDPLUG


def end_coldplug() -> None:
    """Have a respawned daemon know that the coldplug has ended, though the boot has not settled."""
    _write(HOTPLUG_MARK, posix.O_CREAT, b"")


def freeze() -> str:
    """Have the kernel's own requests judged, and a respawned daemon know; what could not be done, else "".

    The door is closed first, since that needs no room in /run; a respawned daemon sees that it is, mark or not. It
    stays open where there is nothing to call instead (a full system without the image's files): no request would be
    answered.
    """
    if _exists(FROZEN_HELPER):
        open_door = _write(KERNEL_HELPER, 0, FROZEN_HELPER.encode())
    else:
        open_door = f"there is no {FROZEN_HELPER}"
    unmarked = _write(FROZEN_MARK, posix.O_CREAT, b"")
    if not open_door:
        return ""
    return f"{open_door}: the kernel's own requests are not judged" + (f"; {unmarked}" if unmarked else "")


def first_settle() -> bool:
    """Is this the boot's first settle? A respawned daemon finds the mark of its predecessor.

    Where there is no room for a mark, it is: a hook that runs again does less harm than one that never runs.
    """
    try:
        posix.close(posix.open(SETTLED_MARK, posix.O_CREAT | posix.O_EXCL | posix.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    except OSError:
        return not _exists(SETTLED_MARK)
    return True


def _is_closed() -> bool:
    """Return whether the kernel calls the helper that asks the policy; also if that cannot be told."""
    try:
        return _read_file(KERNEL_HELPER).strip() == FROZEN_HELPER.encode()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _read(path: str) -> bytes:
    """Return what the file holds; nothing where it cannot be read."""
    try:
        return _read_file(path)
    except OSError:
        return b""


def _read_file(path: str) -> bytes:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(descriptor, 256)
    finally:
        posix.close(descriptor)


def _exists(path: str) -> bool:
    """Is the mark there? So it is if that cannot be told."""
    try:
        posix.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
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
