"""How things are called in text for people: spans, names of devices, causes, colours."""

from __future__ import annotations

from modaliasd.core.loading.cause import Cause
from modaliasd.core.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.history import History, LoadHistory

# SGR parameters (ECMA-48, 8.3.117), from the 16 colours that every terminal has
_STYLES = {
    "name": "1",  # bold
    "faint": "2",
    "driver": "32",  # green
    "module": "36",  # cyan
    "node": "33",  # yellow
    "bad": "1;31",  # bold red
    "warn": "35",  # magenta
}

# What is said of a load that took no time of its own, by its outcome
UNTIMED = {
    "command": "left to its install line",
    "live": "was in the kernel already",
    "builtin": "is built into the kernel",
}


def duration(us: int) -> str:
    """Return a span of time for people: `0.4 ms`, `17 ms`, `1.34 s`; `?` if it is unknown."""
    if us < 0:
        return "?"
    if us < 10_000:
        return f"{us / 1000:.1f} ms"
    if us < 999_500:
        return f"{us / 1000:.0f} ms"
    return f"{us / 1e6:.2f} s"


def shorten(text: str, width: int) -> str:
    """Return the text in at most `width` columns, an ellipsis in place of its middle; 0: as it is."""
    if not width or len(text) <= width:
        return text
    tail = max(1, width // 3)
    return f"{text[: max(1, width - tail - 1)]}…{text[-tail:]}"


def style_of(color: bool) -> Callable[[str, str], str]:
    """Return what puts a style's escape sequences around a text; without `color` it puts none."""
    return _colored if color else _plain


def _colored(style: str, text: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _plain(style: str, text: str) -> str:  # noqa: ARG001 - the counterpart of _colored
    return text


def cause_text(history: History, load: LoadHistory, *, with_alias: bool = True) -> str:
    """Why a module was loaded, in words: its first cause, and how many more there are."""
    if not load.causes:
        return Cause().in_short()
    cause = load.causes[0] if with_alias else load.causes[0]._replace(alias="")
    device = history.devices.get(cause.devpath)
    node = device.node if device is not None else ""
    return printable(cause.in_short(node, len(load.causes) - 1))
