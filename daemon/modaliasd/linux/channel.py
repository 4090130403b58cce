"""The host's channel: a serial line that carries the ledger's bytes as they are, set as tty_ioctl(4) has it.

Debian's small interpreter has no termios, but fcntl. The ledger builds on this module.
"""

from __future__ import annotations

import posix
from _struct import Struct
from errno import EAGAIN
from fcntl import ioctl

# asm-generic/ioctls.h and termbits.h; the four flag words stand first in the kernel's struct termios
TCGETS, TCSETS, TCSBRK = 0x5401, 0x5402, 0x5409
TERMIOS_SIZE = 36
FLAGS = Struct("=4I")  # input, output, control, local


class Channel:
    """A line to the host; none where `path` is "" or cannot be opened. `broken`: has it failed while it was used?"""

    def __init__(self, path: str) -> None:
        self._line = open_if_there(path)
        self.broken = False
        if self._line >= 0:
            _make_raw(self._line)

    def fileno(self) -> int:
        """Return its descriptor, for poll; -1 while there is no channel."""
        return self._line

    def block(self) -> None:
        """From now on `send` waits until the line takes something."""
        posix.set_blocking(self._line, True)

    def send(self, data: bytes) -> int:
        """Give the line what it takes; how many bytes that is. A line that nobody reads any more is closed."""
        try:
            return posix.write(self._line, data)
        except OSError as e:
            if e.errno != EAGAIN:
                self.broken = True
                self.close()
            return 0

    def finish(self, last: bytes) -> None:
        """Send what is left, wait until all has gone out (tcdrain(3)), and close. OSError if it is no serial line."""
        try:
            if last:
                posix.write(self._line, last)
            ioctl(self._line, TCSBRK, 1)
        finally:
            self.close()

    def close(self) -> None:
        """Have no channel any more."""
        posix.close(self._line)
        self._line = -1


def open_if_there(path: str) -> int:
    """Return a descriptor for writing, not blocking; -1 where there is no such device."""
    if not path:
        return -1
    try:
        return posix.open(path, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError:
        return -1


def _make_raw(line: int) -> None:
    """Have a serial line carry bytes as they are: no carriage return before a newline, no echo."""
    try:
        settings = bytearray(ioctl(line, TCGETS, bytes(TERMIOS_SIZE)))
        *_, control, _local = FLAGS.unpack_from(settings)
        FLAGS.pack_into(settings, 0, 0, 0, control, 0)
        ioctl(line, TCSETS, bytes(settings))
    except OSError:
        return  # a FIFO or a file: nothing is made of its bytes anyway
