"""Runs a program to its end, by the guest's gate for child processes."""

from __future__ import annotations

import posix
from select import POLLIN, poll

from modaliasd.linux.process import Ended, reap, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NO_UDEV = (("DM_DISABLE_UDEV", "1"),)  # libdevmapper makes the nodes itself, and waits for nobody
_LONG_MS = 2000
_PLACES = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")


def run(
    path: str,
    *arguments: str,
    environment: tuple[tuple[str, str], ...] = (),
    slow: Callable[[], None] | None = None,
) -> Ended:
    """Return how it ended, and what it said. environment: adds to the usual one. slow: called once if it takes long.

    OSError where it cannot be started.
    """
    child = start(path, list(arguments), environment)
    poller = poll()
    poller.register(child.pidfd, POLLIN)
    if slow is not None and not poller.poll(_LONG_MS):
        slow()
    poller.poll()
    return reap(child)


def find_program(name: str) -> str:
    """Return its path; "" where the image does not have it."""
    for place in _PLACES:
        path = f"{place}/{name}"
        if posix.access(path, posix.X_OK):
            return path
    return ""
