"""The verb `tree`: the boot as a tree."""

from __future__ import annotations

import sys

from modaliasd.core.errors import UsageError
from modaliasd.core.story import UNKNOWN, tell
from modaliasd.core.treetext import render_tree
from modaliasd.ledgerfile import read_records
from modaliasd.paths import LEDGER
from modaliasd.terminal import wants_color, width

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
            color = next(words, "")
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
    since_us = max(0, story.settled_us) if new else UNKNOWN
    columns = 0 if full else width()
    sys.stdout.write(render_tree(story, by, color=wants_color(color), width=columns, since_us=since_us))
    return 0


def _one_of(word: str, choices: tuple[str, ...], option: str) -> str:
    if word not in choices:
        raise UsageError(f"`{option}` takes one of {', '.join(choices)}; got `{word}`")
    return word
