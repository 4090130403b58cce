"""The verb `ledger`: prints the ledger, and follows it as it grows."""

from __future__ import annotations

import sys
from json import loads
from time import sleep

from modaliasd.core.errors import UsageError, WorldError
from modaliasd.core.linetext import record_line
from modaliasd.paths import LEDGER
from modaliasd.terminal import wants_color

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELP = """\
usage: modaliasd ledger [--follow] [--json] [--ledger FILE] [--color auto|always|never]

Prints the ledger, a line a record: seconds since boot, the record's type, what it says.

  --follow  go on as the ledger grows, until interrupted or until the guest ends
  --json    print the records as they are, one JSON object a line (docs/ledger.md)
"""
POLL_S = 0.1  # how soon a follower sees a new line


def run(arguments: list[str]) -> int:
    """Print the ledger."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP)
        return 0
    path, choice, follow, raw = LEDGER, "auto", False, False
    words = iter(arguments)
    for word in words:
        if word == "--follow":
            follow = True
        elif word == "--json":
            raw = True
        elif word == "--ledger":
            path = next(words, "")
        elif word == "--color":
            choice = next(words, "")
        else:
            raise UsageError(f"`modaliasd ledger` does not know `{word}`; see `modaliasd ledger --help`")
    color = wants_color(choice)
    try:
        for line in lines_of(path, (lambda: sleep(POLL_S)) if follow else None):
            sys.stdout.write(line if raw else record_line(loads(line), color=color) + "\n")
            if follow:
                sys.stdout.flush()
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except ValueError as e:
        raise WorldError(f"{path} is no ledger: {e}") from e
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell counts
    return 0


def lines_of(path: str, wait: Callable[[], None] | None) -> Iterator[str]:
    """The file's whole lines; where it ends, `wait` is called and it is looked at again (None: the end)."""
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
