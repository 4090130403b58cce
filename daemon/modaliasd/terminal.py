"""What standard output is: a terminal that takes colours, how wide it is."""

from __future__ import annotations

import posix

from modaliasd.core.errors import UsageError
from modaliasd.core.treetext import WIDTH

NARROWEST, WIDEST = 40, 160
_COLORS = ("auto", "always", "never")


def wants_color(choice: str) -> bool:
    """Is the output to have colours? `auto`: on a terminal, unless NO_COLOR is set or TERM is dumb.

    Raises UsageError for a word that is none of auto, always, never.
    """
    if choice not in _COLORS:
        raise UsageError(f"`--color` takes one of {', '.join(_COLORS)}; got `{choice}`")
    if choice != "auto":
        return choice == "always"
    environ = posix.environ
    return posix.isatty(1) and not environ.get(b"NO_COLOR") and environ.get(b"TERM") != b"dumb"


def width() -> int:
    """The columns of the terminal; WIDTH where there is none or it does not know (a serial console)."""
    try:
        columns = posix.get_terminal_size(1).columns
    except OSError:
        return WIDTH
    return min(columns, WIDEST) if columns >= NARROWEST else WIDTH
