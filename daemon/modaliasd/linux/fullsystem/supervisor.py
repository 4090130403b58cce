"""Tells whoever started the daemon how it does: systemd's sd_notify(3), s6's notification descriptor.

    NOTIFY_SOCKET=/run/systemd/notify    datagrams of NAME=VALUE lines: READY=1, STATUS=..., STOPPING=1
    --ready-fd N                         a newline on descriptor N once, which is closed then

s6: https://skarnet.org/software/s6/notifywhenup.html. A socket whose name begins with `@` is an abstract one (unix(7)).
Not imported where nobody wants to be told. A supervisor that cannot be told has no say in what the daemon does.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SOCK_DGRAM
from _socket import socket as RawSocket
from signal import SIGTERM, set_wakeup_fd
from signal import signal as set_handler

from modaliasd.core.errors import UsageError
from modaliasd.core.printable import printable

SOCK_CLOEXEC = 0o2000000
NOTIFY_SOCKET = b"NOTIFY_SOCKET"


class Supervisor:
    """Who is told. address: of systemd's socket, b"" for none. ready_fd: s6's descriptor, -1 for none."""

    def __init__(self, address: bytes, ready_fd: int) -> None:
        self._address = address
        self._ready_fd = ready_fd
        self._socket = RawSocket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC) if address else None
        self._ended, self._end = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)

    def catch_end(self) -> None:
        """Have SIGTERM make `fileno()` readable, and do nothing else."""
        set_handler(SIGTERM, _ignore)
        set_wakeup_fd(self._end)

    def fileno(self) -> int:
        """Return a descriptor that is readable once the daemon is to end."""
        return self._ended

    def ready(self, status: str) -> None:
        """Say that the daemon serves: it hears uevents and its clients."""
        self._notify(f"READY=1\nMAINPID={posix.getpid()}\nSTATUS={_line(status)}")
        if self._ready_fd >= 0:
            _write_newline(self._ready_fd)
            self._ready_fd = -1

    def status(self, text: str) -> None:
        """Say in a line what it does now."""
        self._notify(f"STATUS={_line(text)}")

    def stopping(self) -> None:
        """Say that it is about to end."""
        self._notify("STOPPING=1")

    def _notify(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:
            return


def open_supervisor(ready_fd: int) -> Supervisor | None:
    """Return who is to be told, by the environment and `--ready-fd`; None for nobody.

    ready_fd: -1 for none. Raises UsageError where it is no open descriptor. Children get neither.
    """
    address = posix.environ.pop(NOTIFY_SOCKET, b"")
    if ready_fd >= 0:
        try:
            posix.set_inheritable(ready_fd, False)
        except OSError as e:
            raise UsageError(
                f"run: --ready-fd {ready_fd}: {e.strerror}; whoever starts the daemon has to open this descriptor"
            ) from e
    if address[:1] == b"@":
        address = b"\0" + address[1:]
    elif address[:1] != b"/":
        address = b""  # vsock:, of a virtual machine's manager, or nonsense
    return Supervisor(address, ready_fd) if address or ready_fd >= 0 else None


def _write_newline(descriptor: int) -> None:
    """Write it and close the descriptor."""
    try:
        posix.write(descriptor, b"\n")
    except OSError:
        return  # nobody reads it any more
    finally:
        posix.close(descriptor)


def _ignore(_signal: int, _frame: object) -> None:
    """Stand for a signal's default action, which would end the process."""


def _line(text: str) -> str:
    return printable(text).replace("\n", " ")
