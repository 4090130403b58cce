"""The verb `tree`: the boot as a tree."""

from __future__ import annotations

import posix
import sys

from modaliasd.core.errors import UsageError
from modaliasd.core.story import UNKNOWN, tell
from modaliasd.core.treetext import WIDTH, render_tree
from modaliasd.ledgerfile import read_records
from modaliasd.paths import LEDGER

HELP = """\
usage: modaliasd tree [--by device|module|time] [--ledger FILE] [--color auto|always|never] [--full] [--new]

Prints what the ledger tells as a tree: each device with its modalias, the alias that matched, the modules
that this loaded with those they need, and the driver that took it. Devices that have nothing to tell are
folded.

  --by device    devices below the devices they hang on, so that cascades show (the default)
  --by module    modules by name, why each was loaded, what it drives
  --by time      in the order in which it happened
  --new          only what came after the first settle
  --full         cut no line
  --ledger FILE  read FILE instead of /run/modaliasd/ledger.jsonl
"""
_ORDERS = ("device", "module", "time")
_COLORS = ("auto", "always", "never")


def run(arguments: list[str]) -> int:
    """Print the tree."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP)
        return 0
    by, path, color, full, new = "device", LEDGER, "auto", False, False
    words = iter(arguments)
    for word in words:
        if word == "--by":
            by = _one_of(next(words, ""), _ORDERS, word)
        elif word == "--color":
            color = _one_of(next(words, ""), _COLORS, word)
        elif word == "--ledger":
            path = next(words, "")
        elif word == "--full":
            full = True
        elif word == "--new":
            new = True
        else:
            raise UsageError(
                f"`modaliasd tree` does not know `{word}`; `modaliasd tree --help` lists what it does"
            )
    story = tell(read_records(path))
    width = 0 if full else terminal_width()
    since_us = max(0, story.settled_us) if new else UNKNOWN
    sys.stdout.write(render_tree(story, by, color=wants_color(color), width=width, since_us=since_us))
    return 0


def wants_color(choice: str) -> bool:
    """Is the output to have colours? `auto`: on a terminal, unless NO_COLOR is set or TERM is dumb."""
    if choice != "auto":
        return choice == "always"
    environ = posix.environ
    return posix.isatty(1) and not environ.get(b"NO_COLOR") and environ.get(b"TERM") != b"dumb"


def terminal_width() -> int:
    """The columns of the terminal, at most those of the tree's own width."""
    try:
        columns = posix.get_terminal_size(1).columns
    except OSError:
        return WIDTH
    return min(columns, 160) if columns >= 40 else WIDTH  # a serial console says 0


def _one_of(word: str, choices: tuple[str, ...], option: str) -> str:
    if word not in choices:
        raise UsageError(f"`{option}` takes one of {', '.join(choices)}; got `{word}`")
    return word
