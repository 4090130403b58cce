"""The command `ledger`: prints the ledger, and follows it as it grows."""

from __future__ import annotations

import posix
import sys
from time import sleep

from modaliasd.commands.options import COLOR_OPTION, LEDGER_OPTION, Option, Syntax, parse
from modaliasd.commands.terminal import wants_color
from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.ledger.read import LINE_LIMIT, parse_record
from modaliasd.core.ledger.text_line import record_line
from modaliasd.linux.paths import LEDGER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

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
    known = skipped = 0
    first = ""
    try:
        for line in lines_of(path, (lambda: sleep(POLL_S)) if follow else None):
            try:
                record = parse_record(line)
            except FormatError as e:
                skipped += 1
                first = first or f"line {known + skipped} is {e}"
                if follow:
                    sys.stderr.write(f"modaliasd ledger: skipped a line: it is {e}\n")
                continue
            known += 1
            sys.stdout.write(line.decode("ascii") if raw else record_line(record, color=color) + "\n")
            if follow:
                sys.stdout.flush()
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell counts
    if skipped and not known:
        raise WorldError(f"{path} is not a ledger: {first}")
    if skipped:
        sys.stderr.write(f"modaliasd ledger: skipped {skipped} of {known + skipped} lines: {first}\n")
    return 0


def lines_of(path: str, wait: Callable[[], None] | None) -> Iterator[bytes]:
    """Yield the file's whole lines; where it ends, `wait` is called and it is looked at again (None: the end).

    The daemon may put a shorter file in its place, and somebody may cut it: what comes behind the last line that was
    given follows then.
    """
    file = open(path, "rb")  # noqa: SIM115 - it is closed below, and may be another one by then
    try:
        last = partial = b""
        while True:
            partial += file.readline(LINE_LIMIT)
            if partial.endswith(b"\n") or len(partial) >= LINE_LIMIT:
                last, partial = partial, b""
                yield last
            elif wait is None:
                return
            elif _is_another(file, path):
                file.close()
                file = open(path, "rb")  # noqa: SIM115
                file.seek(_behind(file, last))
                partial = b""
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


def _behind(file: BinaryIO, last: bytes) -> int:
    """Where the file goes on behind the line; if it has gone, where the file says so, or else its beginning."""
    at = place = 0
    for line in file:
        if line.startswith(b'{"type":"trimmed"'):
            place = at
        at += len(line)
        if line == last:
            place = at
    return place
