"""What standard output is: a terminal that takes colours, how wide it is."""

from __future__ import annotations

import posix

from modaliasd.core.ledger.text_tree import WIDTH

NARROWEST, WIDEST = 40, 160


def wants_color(choice: str) -> bool:
    """Return whether the output is to have colours.

    choice: always, never, or auto: on a terminal, unless NO_COLOR is set or TERM is dumb.
    """
    if choice != "auto":
        return choice == "always"
    environ = posix.environ
    return posix.isatty(1) and not environ.get(b"NO_COLOR") and environ.get(b"TERM") != b"dumb"


def width() -> int:
    """Return the columns of the terminal; WIDTH where there is none or it does not know (a serial console)."""
    try:
        columns = posix.get_terminal_size(1).columns
    except OSError:
        return WIDTH
    return min(columns, WIDEST) if columns >= NARROWEST else WIDTH
