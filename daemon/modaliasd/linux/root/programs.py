"""Runs a program to its end, by the guest's gate for child processes."""

from __future__ import annotations

import posix
from select import POLLIN, poll

from modaliasd.linux.process import Ended, reap, start

_PLACES = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")


def run(path: str, *arguments: str) -> Ended:
    """Return how it ended, and what it said. OSError where it cannot be started."""
    child = start(path, list(arguments))
    poller = poll()
    poller.register(child.pidfd, POLLIN)
    poller.poll()
    return reap(child)


def find_program(name: str) -> str:
    """Return its path; "" where the image does not have it."""
    for place in _PLACES:
        path = f"{place}/{name}"
        if posix.access(path, posix.X_OK):
            return path
    return ""
