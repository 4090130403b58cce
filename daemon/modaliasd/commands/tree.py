"""The command `tree`: the boot as a tree."""

from __future__ import annotations

import sys

from modaliasd.commands.ledgerfile import read_here, read_history
from modaliasd.commands.options import COLOR_OPTION, JSON_OPTION, LEDGER_OPTION, Option, Syntax, parse
from modaliasd.commands.terminal import wants_color, width
from modaliasd.core.ledger.history import UNKNOWN
from modaliasd.core.ledger.text_tree import render_tree

TREE = Syntax(
    "tree",
    """\
Prints the ledger as a tree: each device with its modalias, the alias that matched, the modules loaded for it
with those they need, and the driver bound to it. Devices with nothing to show are folded.
""",
    (
        ("tree", "devices below the devices they hang on, so that cascades show"),
        ("tree --by time --new", "what happened after the first settle, in order"),
        ("tree --by=module --full", "why each module was loaded and what it drives, no line cut"),
        ("tree --json", "devices and loads, for programs"),
    ),
    (
        Option("--by", "order: device (the default), module, or time", "", ("device", "module", "time")),
        Option("--new", "only what came after the first settle"),
        Option("--full", "cut no line to the terminal's width"),
        LEDGER_OPTION,
        COLOR_OPTION,
        JSON_OPTION,
    ),
)


def run(arguments: list[str]) -> int:
    """Print the tree."""
    given = parse(TREE, arguments)
    color = wants_color(given.value("--color", "auto"))
    history = read_history(given.value("--ledger", "")) if given.given("--ledger") else read_here("tree")
    since_us = max(0, history.settled_us) if given.given("--new") else UNKNOWN
    if given.given("--json"):
        from json import dumps

        from modaliasd.core.ledger.answers.jsonable import tree_fields

        sys.stdout.write(dumps(tree_fields(history, since_us)) + "\n")
        return 0
    columns = 0 if given.given("--full") else width()
    by = given.value("--by", "device")
    sys.stdout.write(render_tree(history, by, color=color, width=columns, since_us=since_us))
    return 0
