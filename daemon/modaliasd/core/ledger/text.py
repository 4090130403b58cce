"""How things are called in text for people: spans, names of devices, causes, colours."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.history import DeviceHistory, History, LoadHistory

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


def duration(us: int) -> str:
    """A span of time for people: `0.4 ms`, `17 ms`, `1.34 s`; `?` if it is unknown."""
    if us < 0:
        return "?"
    if us < 10_000:
        return f"{us / 1000:.1f} ms"
    if us < 999_500:
        return f"{us / 1000:.0f} ms"
    return f"{us / 1e6:.2f} s"


def shorten(text: str, width: int) -> str:
    """The text in at most `width` columns, an ellipsis in place of its middle; 0: as it is."""
    if not width or len(text) <= width:
        return text
    tail = max(1, width // 3)
    return f"{text[: max(1, width - tail - 1)]}…{text[-tail:]}"


def node_of(device: DeviceHistory) -> str:
    """How user space reaches it: its network interface, or its node in /dev; "" if there is neither."""
    if device.ifname:
        return device.ifname
    return f"/dev/{device.devname}" if device.devname else ""


def printable(text: str) -> str:
    """The text without control characters and undecodable bytes, which a device's strings may hold."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c) & 0xFF:02x}" for c in text)


def style_of(color: bool) -> Callable[[str, str], str]:
    """What puts a style's escape sequences around a text; without `color` it puts none."""
    return _colored if color else _plain


def _colored(style: str, text: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _plain(style: str, text: str) -> str:  # noqa: ARG001 - the counterpart of _colored
    return text


def cause_text(history: History, load: LoadHistory) -> str:
    """Why a module was loaded, in words: its first cause, and how many more there are."""
    if not load.causes:
        return "nobody knows why"
    cause = load.causes[0]
    more = f" and {len(load.causes) - 1} more" if len(load.causes) > 1 else ""
    if cause.devpath:
        device = history.devices.get(cause.devpath)
        name = printable(cause.devpath.rpartition("/")[2])
        node = f" ({node_of(device)})" if device is not None and node_of(device) else ""
        return f"{cause.subsystem or 'device'} {name}{node} by {printable(cause.alias)}{more}"
    if cause.module:
        return f"{cause.module} needs it{more}"
    if cause.softdep:
        return f"{cause.softdep} has it as a softdep{more}"
    return f"asked for by {cause.request}{more}"
