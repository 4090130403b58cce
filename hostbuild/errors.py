"""The host side's errors, named for whose fault they are.

A message says what was tried, on what, and why it failed; the hint, where there is one, what fixes it.
The statuses are the guest's (modaliasd.core.errors): 100 for the caller's fault, 111 for the world's; 112 and
124 tell of a guest that was lost or not in time.
"""

import re

from modaliasd.core.errors import EXIT_USAGE, EXIT_WORLD


class HostbuildError(Exception):
    """Base of all errors that hostbuild raises on purpose; `exit_status` is what the process ends with."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(HostbuildError):
    """The command line asked for something that does not exist or does not go together."""

    exit_status = EXIT_USAGE


class InputError(HostbuildError):
    """What the caller named is not what it has to be: absent, damaged, of another version."""

    exit_status = EXIT_USAGE


EXIT_GUEST_LOST = 112  # the guest panicked, vanished, or does not answer
EXIT_TIME_LIMIT = 124  # the guest was still running at the time limit; timeout(1) ends with the same

_CONSOLE_LINES = 25
# Where a kernel's report begins (kernel/panic.c, lib/bug.c, arch/x86/kernel/dumpstack.c); it is shown from there on.
_TROUBLE = re.compile(
    r"Kernel panic - |BUG: |Oops: |general protection fault|Unable to handle kernel|\bWARNING: CPU"
)
_REPORT_LINES = 100


class GuestError(HostbuildError):
    """The guest did not do what it had to: it panicked, vanished, does not answer, or refuses a device.

    console: what it wrote on its console; its last lines are part of the message.
    """

    exit_status = EXIT_GUEST_LOST

    def __init__(self, message: str, *, console: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.console = console

    def __str__(self) -> str:
        message = super().__str__()
        lines = _last_lines(self.console)
        return "\n".join([f"{message}; the console's last lines:", *lines]) if lines else message


def _last_lines(console: str) -> list[str]:
    lines = [line for line in console.splitlines() if line.strip()][-_REPORT_LINES:]
    first = next((number for number, line in enumerate(lines) if _TROUBLE.search(line)), len(lines))
    return lines[max(0, min(first, len(lines) - _CONSOLE_LINES)) :]


class GuestTimeoutError(GuestError):
    """The guest, or what was waited for in it, did not come to an end in time."""

    exit_status = EXIT_TIME_LIMIT


class WorldError(HostbuildError):
    """This machine lacks what the work needs: a tool, a package, the network, room on a disk."""

    exit_status = EXIT_WORLD


class ClosedPipeError(HostbuildError):
    """Whoever read our standard output has gone away, as `head` does. The command ends, and nothing is said."""

    exit_status = 128 + 13  # SIGPIPE, as a shell counts

    def __init__(self) -> None:
        super().__init__("standard output was closed")


class ToolMissingError(WorldError):
    """A program that hostbuild starts is not installed; the hint names the Debian package."""


class CommandError(WorldError):
    """A program that hostbuild started failed.

    status: its exit status, -N if signal N ended it, None if it was stopped at the time limit.
    stderr: the last lines of what it wrote there.
    """

    def __init__(
        self, message: str, *, argv: tuple[str, ...], status: int | None, stderr: str, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv
        self.status = status
        self.stderr = stderr
