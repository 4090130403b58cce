"""The command `ledger`: prints the ledger, and follows it as it grows."""

from __future__ import annotations

import posix
import sys
from functools import partial
from time import sleep

from modaliasd.commands.ledgerfile import tell_skipped
from modaliasd.commands.options import COLOR_OPTION, LEDGER_OPTION, Option, Syntax, parse
from modaliasd.commands.terminal import wants_color
from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.ledger import read
from modaliasd.core.ledger.text_line import record_line
from modaliasd.core.ledger.write import to_json
from modaliasd.linux.paths import LEDGER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from modaliasd.core.ledger.door import Record

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
        for line, record in lines_of(path, (lambda: sleep(POLL_S)) if follow else None):
            sys.stdout.write((_raw(line, record) if raw else record_line(record, color=color)) + "\n")
            if follow:
                sys.stdout.flush()
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except FormatError as e:
        raise WorldError(f"{path} is not a ledger: {e}") from e
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell counts
    return 0


def _raw(line: bytes, record: Record) -> str:
    """Return the line as it is, unless it has blanks between its words that would move a terminal's cursor."""
    text = line.decode("ascii")
    return text if text.isprintable() else to_json(record)


def lines_of(path: str, wait: Callable[[], None] | None) -> Iterator[tuple[bytes, Record]]:
    """Yield the file's whole lines, each with its record; lines that are none are skipped, and told of on stderr.

    Where the file ends, `wait` is called and it is looked at again (None: the end). The daemon may put a shorter file
    in its place, and somebody may cut it: what comes behind the last line that was read follows then. Raises
    FormatError where it is not a ledger.
    """
    reader = read.LedgerReader()
    told = 0
    file = open(path, "rb")  # noqa: SIM115 - it is closed below, and may be another one by then
    try:
        while True:
            if data := file.read(read.PIECE):
                yield from reader.feed_lines(data)
                read.require_ledger(reader)
                continue
            if reader.skipped.count > told or wait is None:
                read.require_records(reader)
                tell_skipped(path, reader.skipped)
                told = reader.skipped.count
            if wait is None:
                return
            if _is_another(file, path):
                file.close()
                file = open(path, "rb")  # noqa: SIM115
                there = iter(partial(file.readline, read.LINE_LIMIT), b"")
                place, lines = read.place_behind(reader.last, there)
                file.seek(place)
                reader.go_on_behind(lines)
            else:
                wait()
    finally:
        file.close()


def _is_another(file: BinaryIO, path: str) -> bool:
    """Is another file there, or less of this one than has been read?"""
    try:
        there = posix.stat(path)
    except FileNotFoundError:
        return False  # it may come back
    return (there.st_dev, there.st_ino) != _identity(file) or there.st_size < file.tell()


def _identity(file: BinaryIO) -> tuple[int, int]:
    found = posix.fstat(file.fileno())
    return found.st_dev, found.st_ino
