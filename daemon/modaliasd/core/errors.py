"""The guest side's errors, named for whose fault they are.

A message says what was tried, on what, and why it failed.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

EXIT_USAGE = 100  # the caller's fault: unknown command or option
EXIT_WORLD = 111  # the world's fault: no /sys, no netlink socket, no module tree


class ModaliasdError(Exception):
    """Base of all errors that modaliasd raises on purpose; `exit_status` is what the process ends with."""

    exit_status = 1


class UsageError(ModaliasdError):
    """The command line asked for something that does not exist."""

    exit_status = EXIT_USAGE


class WorldError(ModaliasdError):
    """The running system lacks what the daemon cannot do without."""

    exit_status = EXIT_WORLD


class FormatError(ModaliasdError):
    """A file is not of the format it claims: damaged, truncated, or of another version."""


class Problem(NamedTuple):
    """A line of an input that has no effect, or not the one it seems to have; the rest of its file counts.

    line: counted from 1; 0 for the file as a whole.
    """

    file: str
    line: int
    message: str
