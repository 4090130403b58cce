"""What `--debug` tells: commands run, files read, QEMU's monitor; a line each on stderr, with the time."""

import sys
import time

from modaliasd.core.printable import printable

_BEGIN = time.monotonic()
_LONGEST = 2000  # characters of a line


class _Log:
    """Whether anybody wants to know."""

    on = False


def enable() -> None:
    """Tell from now on."""
    _Log.on = True


def debug(topic: str, text: str) -> None:
    """Tell a line, if somebody wants to know; one that is very long is cut."""
    if not _Log.on:
        return
    line = f"{time.monotonic() - _BEGIN:8.3f} {topic}: {text}"
    shown = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
    sys.stderr.write(printable(shown) + "\n")


def is_on() -> bool:
    """Return whether somebody wants to know: for what is dear to put into words."""
    return _Log.on
