"""The command `ledger`: prints the ledger, and follows it as it grows."""

from __future__ import annotations

import sys
from json import loads
from time import sleep

from modaliasd.commands.options import COLOR_OPTION, LEDGER_OPTION, Option, Syntax, parse
from modaliasd.commands.terminal import wants_color
from modaliasd.core.errors import WorldError
from modaliasd.core.ledger.text_line import record_line
from modaliasd.linux.paths import LEDGER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEDGER_SYNTAX = Syntax(
    "ledger",
    "Prints the ledger, one line per record: seconds since boot, the record's type, its content.\n",
    (
        ("ledger", "what has happened so far"),
        ("ledger --follow", "and what happens from now on"),
        ("ledger --json", "for programs (docs/ledger.md)"),
    ),
    (
        Option("--follow", "go on as the ledger grows, until interrupted or until the guest ends"),
        Option("--json", "print the records as they are, one JSON object per line"),
        LEDGER_OPTION,
        COLOR_OPTION,
    ),
)
POLL_S = 0.1  # how soon a follower sees a new line


def run(arguments: list[str]) -> int:
    """Print the ledger."""
    given = parse(LEDGER_SYNTAX, arguments)
    path = given.value("--ledger", LEDGER)
    follow, raw = given.given("--follow"), given.given("--json")
    color = wants_color(given.value("--color", "auto"))
    try:
        for line in lines_of(path, (lambda: sleep(POLL_S)) if follow else None):
            sys.stdout.write(line if raw else record_line(loads(line), color=color) + "\n")
            if follow:
                sys.stdout.flush()
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except ValueError as e:
        raise WorldError(f"{path} is not a ledger: {e}") from e
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell counts
    return 0


def lines_of(path: str, wait: Callable[[], None] | None) -> Iterator[str]:
    """Yield the file's whole lines; where it ends, `wait` is called and it is looked at again (None: the end)."""
    with open(path, encoding="ascii") as file:
        partial = ""
        while True:
            partial += file.readline()
            if partial.endswith("\n"):
                yield partial
                partial = ""
            elif wait is None:
                return
            else:
                wait()
