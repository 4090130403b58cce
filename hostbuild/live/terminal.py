"""The user's terminal as a guest's serial console: raw mode, and the escape key.

Every key goes to the guest, Ctrl-C too. Ctrl-A is kept back, as QEMU and screen do: Ctrl-A x ends the
machine, Ctrl-A Ctrl-A sends one Ctrl-A, Ctrl-A h shows this. Any other key after Ctrl-A is swallowed with
it.
"""

import contextlib
import os
import termios
import threading
import tty
from collections.abc import Callable, Iterator

ESCAPE = 0x01  # Ctrl-A
HELP = b"\r\nCtrl-A x  end the machine\r\nCtrl-A Ctrl-A  send Ctrl-A\r\nCtrl-A h  this help\r\n"


class Keys:
    """Takes what is typed apart: what is for the guest, and what is for us.

    quit: Ctrl-A x was typed. help: Ctrl-A h was, in the last piece.
    """

    def __init__(self) -> None:
        self.quit = False
        self.help = False
        self._escaped = False

    def feed(self, data: bytes) -> bytes:
        """Take typed bytes and return those for the guest."""
        self.help = False
        out = bytearray()
        for byte in data:
            if not self._escaped:
                self._escaped = byte == ESCAPE
                if not self._escaped:
                    out.append(byte)
                continue
            self._escaped = False
            if byte == ESCAPE:
                out.append(ESCAPE)
            self.quit |= byte in b"xX"
            self.help |= byte in b"hH?"
        return bytes(out)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Let the terminal pass every key on, and put it back afterwards."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def start_typing(
    fd: int, send: Callable[[bytes], None], show: Callable[[bytes], None], end: Callable[[], None]
) -> None:
    """Pass what is typed on `fd` to `send` from now on, in a thread; `end` is called for Ctrl-A x."""

    def pump() -> None:
        keys = Keys()
        while data := _read(fd):
            send(keys.feed(data))
            if keys.help:
                show(HELP)
            if keys.quit:
                end()
                return

    # A daemon: nothing wakes it from reading a terminal on which nobody types.
    threading.Thread(target=pump, name="keyboard", daemon=True).start()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # the terminal is gone
        return b""
