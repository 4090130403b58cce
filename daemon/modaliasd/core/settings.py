"""The daemon's settings: the `modaliasd.*` words of the kernel's command line.

WORDS is the one table of them; docs/settings.md shows it, and a test holds the two together. The command line is taken
apart as the kernel does it for its own parameters (lib/cmdline.c, next_arg; kernel/params.c, parameq): words end at
white space outside double quotes, a quote around a value or around the whole word is dropped, and `-` and `_` are the
same in names. What cannot be used is left at its default and becomes a Problem, which the daemon writes to the ledger
when it starts: a mistyped word must not stop a boot, nor be passed over in silence.
"""

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KERNEL_COMMAND_LINE = "kernel command line"  # in place of a file where something is wrong with it
PREFIX = "modaliasd."
MOST_JOBS = 1 << 15  # /proc/sys/kernel/pid_max's default: more processes there never are
MOST_BYTES = (1 << 31) - 1  # setsockopt(2) takes an int
LEAST_LEDGER = 64 << 10  # bytes: a boot's own part has to have room
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
_SPACES = " \t\n\v\f\r"  # isspace() of lib/ctype.c, of what is ASCII
_TRUE, _FALSE = ("", "y", "Y", "1", "on"), ("n", "N", "0", "off")  # lib/kstrtox.c, kstrtobool


class Settings(NamedTuple):
    """What the command line asks of the daemon; the defaults where it asks nothing.

    off: load nothing, only stay. jobs: how many modprobes at once, 0 for the daemon's own choice. first, last,
    sequential: module names with underscores. load: names or modaliases to load at the start. kernel_log: say in the
    kernel's log what is loaded. channel: a device that gets a copy of the ledger, "" for none. receive_buffer: bytes
    of the uevent socket's buffer, 0 for the daemon's own choice. ledger_limit: bytes of the ledger, 0 as well.
    poweroff: end the machine once settled. root_stays: go on when the root file system has been handed over to.
    debug: show the traceback of an unexpected error on the console.
    """

    off: bool = False
    jobs: int = 0
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    sequential: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    kernel_log: bool = True
    channel: str = ""
    receive_buffer: int = 0
    ledger_limit: int = 0
    poweroff: bool = False
    root_stays: bool = False
    debug: bool = False
    problems: tuple[Problem, ...] = ()


class Word(NamedTuple):
    """A word of the command line. shown: as the docs write it; field: of Settings; parse: raises ValueError with
    what is expected, value None for a word without `=`. adds_up: several add up; else the last one counts.
    """

    name: str
    shown: str
    meaning: str
    default: str
    field: str
    parse: Callable[[str | None], object]
    adds_up: bool = False


def _switch(value: str | None) -> bool:
    text = value or ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("expected no value, or 1 or 0")


def _number(most: int) -> Callable[[str | None], int]:
    def parse(value: str | None) -> int:
        text = value or ""
        # at most 10 digits: what is longer is beyond every limit here
        if text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= most:
            return int(text)
        raise ValueError(f"expected a number from 1 to {most}")

    return parse


def _size(value: str | None) -> int:
    text = value or ""
    digits = text.rstrip("KkMm")
    unit = _UNITS.get(text[len(digits) :].upper(), 0)
    if digits.isascii() and digits.isdigit() and len(digits) <= 10:
        size = int(digits) * unit
        if LEAST_LEDGER <= size <= MOST_BYTES:
            return size
    raise ValueError("expected a size from 64K to 2047M, such as 512K or 16M")


def _names(value: str | None) -> tuple[str, ...]:
    if value is None:
        raise ValueError("expected names, separated by commas")
    return tuple(name for name in value.split(",") if name)


def _modules(value: str | None) -> tuple[str, ...]:
    return tuple(name.replace("-", "_") for name in _names(value))


def _log(value: str | None) -> bool:
    if value not in ("ledger", "kernel"):
        raise ValueError("expected ledger or kernel")
    return value == "kernel"


def _device(value: str | None) -> str:
    if value is None or (value and not value.startswith("/")):
        raise ValueError("expected the path of a device, such as /dev/ttyS1")
    return value


def _poweroff(value: str | None) -> bool:
    if value != "settled":
        raise ValueError("expected settled")
    return True


def _root(value: str | None) -> bool:
    if value not in ("end", "stay"):
        raise ValueError("expected end or stay")
    return value == "stay"


WORDS = (
    Word(
        "off",
        "off",
        "load nothing, and write no ledger; `modaliasd coldplug --once` still works",
        "load",
        "off",
        _switch,
    ),
    Word(
        "load",
        "load=A,B",
        "load these at the start, by name or modalias, whatever devices there are; several add up",
        "none",
        "load",
        _names,
        adds_up=True,
    ),
    Word("first", "first=A,B", "load these modules before all others", "none", "first", _modules),
    Word("last", "last=A,B", "load these modules after all others", "none", "last", _modules),
    Word(
        "sequential",
        "sequential=A,B",
        "while one of these modules is loading, load nothing else: for drivers that fail in company",
        "none",
        "sequential",
        _modules,
    ),
    Word(
        "jobs",
        "jobs=N",
        "run at most N modprobes at once",
        "24, and 8 more for each CPU",
        "jobs",
        _number(MOST_JOBS),
    ),
    Word(
        "log",
        "log=ledger",
        "write nothing into the kernel's log; `log=kernel` is the default",
        "kernel",
        "kernel_log",
        _log,
    ),
    Word(
        "channel",
        "channel=DEVICE",
        "copy the ledger to DEVICE, where a host reads it; `hostbuild run` sets this",
        "none",
        "channel",
        _device,
    ),
    Word(
        "ledger",
        "ledger=SIZE",
        "let the ledger have at most SIZE bytes, as 512K or 16M; beyond that its oldest part after the boot goes",
        "an eighth of /run, from 1M to 8M",
        "ledger_limit",
        _size,
    ),
    Word(
        "rcvbuf",
        "rcvbuf=BYTES",
        "size of the uevent socket's buffer ([hotplug.md](hotplug.md))",
        "134217728",
        "receive_buffer",
        _number(MOST_BYTES),
    ),
    Word(
        "poweroff",
        "poweroff=settled",
        "switch the machine off after the first settle and /etc/settled.d",
        "stay up",
        "poweroff",
        _poweroff,
    ),
    Word(
        "root",
        "root=stay",
        "go on loading once the root file system's init has begun ([root.md](root.md)); `root=end` is the default",
        "end then",
        "root_stays",
        _root,
    ),
    Word(
        "debug",
        "debug",
        "show the traceback of an unexpected error on the console, too",
        "only in /run/modaliasd/crash",
        "debug",
        _switch,
    ),
)


def parse_settings(command_line: str) -> Settings:
    """Parse the settings on a kernel command line (/proc/cmdline), with what is wrong in `problems`."""
    if PREFIX not in command_line:
        return Settings()  # most boots
    known = {word.name: word for word in WORDS}
    values: dict[str, Any] = {}
    texts: dict[str, str | None] = {}
    problems: list[str] = []
    for full, text in next_args(command_line):
        if not full.startswith(PREFIX):
            continue
        name = full[len(PREFIX) :].replace("-", "_")
        shown = full if text is None else f"{full}={text}"
        if name not in known:
            problems.append(_unknown(shown, name))
            continue
        word = known[name]
        try:
            value = word.parse(text)
        except ValueError as e:
            problems.append(f"`{shown}` is ignored: {e}")
            continue
        if word.adds_up:
            value = values.get(word.field, ()) + value
        elif texts.get(name, text) != text:
            problems.append(f"`{PREFIX}{name}` is given more than once; the last one counts: `{shown}`")
        texts[name] = text
        values[word.field] = value
    found = tuple(Problem(KERNEL_COMMAND_LINE, 0, message) for message in problems)
    return Settings()._replace(problems=found, **values)


def next_args(text: str) -> list[tuple[str, str | None]]:
    """Split a kernel command line into (name, value), quotes dropped; value None for a word without `=`."""
    args: list[tuple[str, str | None]] = []
    for word in split_words(text):
        quoted = word.startswith('"')
        body = word[1:] if quoted else word
        equals = body.find("=", 1)  # next_arg takes `=` at the very beginning for a part of the name
        if equals < 0:
            args.append((body.removesuffix('"') if quoted else body, None))
            continue
        name, value = body[:equals], body[equals + 1 :]
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        elif quoted:
            value = value.removesuffix('"')
        args.append((name, value))
    return args


def split_words(text: str) -> list[str]:
    """Split the kernel's command line at white space that is not inside double quotes."""
    if '"' not in text and text.rstrip("\n").isprintable():
        return (
            text.split()
        )  # its only white space is the blank: what str.split takes for more is not printable
    words, word, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if quoted or character not in _SPACES:
            word += character
        elif word:
            words.append(word)
            word = ""
    return [*words, word] if word else words


def _unknown(shown: str, name: str) -> str:
    from modaliasd.core.near import nearest

    near = nearest(name, [word.name for word in WORDS])
    hint = (
        f"; did you mean `{PREFIX}{near}`?" if near else f"; known: {', '.join(word.name for word in WORDS)}"
    )
    return f"`{shown}` is ignored: there is no such setting{hint}"
