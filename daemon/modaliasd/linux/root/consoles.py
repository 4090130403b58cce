"""The consoles: what people are told before there is a shell, and a passphrase that they are asked for."""

from __future__ import annotations

import posix
from select import POLLIN, poll

from modaliasd.linux.root.blockdev import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONSOLES = "/sys/class/tty/console/active"
LONGEST = 4096  # characters of a line (N_TTY_BUF_SIZE)
_SHOWN_FROM_HERE = b"\x1b]micro;settled\x07"  # hostbuild/live/quiet.py


def show(lines: list[str]) -> None:
    """Write the lines on every console."""
    text = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "backslashreplace")
    for descriptor in _opened(posix.O_WRONLY):
        _write(descriptor, text)
        posix.close(descriptor)


def ask(question: str) -> bytes | None:
    """Ask on every console, and return the first line that comes, unseen; None where nobody can answer.

    What was typed before the question is thrown away.
    """
    _end_quiet()
    consoles = list(_opened(posix.O_RDWR))
    try:
        return _first_line(consoles, question.encode("utf-8", "backslashreplace"))
    finally:
        for descriptor in consoles:
            posix.close(descriptor)


def _end_quiet() -> None:
    """Have a host that filters the console show it from here on, as usr/lib/micro/settled does later."""
    if "micro.console=quiet" not in read_text("/proc/cmdline").split():
        return
    for path, text in (("/proc/sys/kernel/printk", b"4\n"), ("/dev/console", _SHOWN_FROM_HERE)):
        try:
            descriptor = posix.open(path, posix.O_WRONLY | posix.O_NOCTTY | posix.O_CLOEXEC)
        except OSError:
            continue
        _write(descriptor, text)
        posix.close(descriptor)


def _first_line(consoles: list[int], question: bytes) -> bytes | None:
    import termios

    before = {}
    poller = poll()
    for descriptor in consoles:
        try:
            modes = termios.tcgetattr(descriptor)
            before[descriptor] = [*modes]
            modes[0] |= termios.ICRNL
            modes[3] = modes[3] & ~termios.ECHO | termios.ICANON
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, modes)
        except termios.error:
            continue
        _write(descriptor, question)
        poller.register(descriptor, POLLIN)
    line = None
    try:
        waiting = set(before)
        while waiting and line is None:
            for descriptor, _events in poller.poll():
                data = _read(descriptor)
                if data:
                    line = data.rstrip(b"\r\n")
                    break
                poller.unregister(descriptor)  # hung up, or Ctrl-D
                waiting.discard(descriptor)
    finally:
        for descriptor, modes in before.items():
            _write(descriptor, b"\r\n")
            try:
                termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)
            except termios.error:
                continue
    return line


def _opened(flags: int) -> Iterator[int]:
    for name in read_text(CONSOLES).split() or ["console"]:
        try:
            descriptor = posix.open(
                f"/dev/{name}", flags | posix.O_NOCTTY | posix.O_NONBLOCK | posix.O_CLOEXEC
            )
        except OSError:
            continue
        try:
            posix.set_blocking(descriptor, True)
        except OSError:
            posix.close(descriptor)
            continue
        yield descriptor


def _read(descriptor: int) -> bytes:
    try:
        return posix.read(descriptor, LONGEST)
    except OSError:
        return b""


def _write(descriptor: int, text: bytes) -> None:
    try:
        posix.write(descriptor, text)
    except OSError:
        return
