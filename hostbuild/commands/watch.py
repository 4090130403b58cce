"""hostbuild watch: follows a ledger that is being written, and shows the boot as it happens."""

import json
import os
import sys
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import InputError
from hostbuild.formats.sniff import Kind, instead, use_of
from hostbuild.fs.files import read_error
from hostbuild.fs.path_types import InputPath
from hostbuild.ledger.watch import Watch
from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.read import (
    LINE_LIMIT,
    PIECE,
    LedgerReader,
    place_behind,
    require_ledger,
    require_records,
)
from modaliasd.core.ledger.text_line import record_line

_POLL_S = 0.1  # how soon a new line is seen
_EPILOG = """Ends with the guest, on Ctrl-C, or with --until-settled at the first settle. Where standard output is
not a terminal, it prints one line per record.

\b
Example, in two terminals:
  hostbuild run micro.img --machine q35 --ledger-out boot.jsonl
  hostbuild watch boot.jsonl
"""


@click.command("watch", epilog=_EPILOG)
@click.argument("ledger", type=InputPath())
@click.option("--until-settled", is_flag=True, help="End when the guest has settled.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S", help="End after S seconds without a new line."
)
@_options.as_json("the records as they come, one a line,")
def command(ledger: Path, until_settled: bool, timeout: float | None, as_json: bool) -> int:
    """Show the boot that writes LEDGER; the file may not be there yet."""
    watch = Watch()
    records = follow(ledger, timeout)
    if as_json or not sys.stdout.isatty():
        for record in records:
            ui.line(json.dumps(record) if as_json else record_line(record))
            sys.stdout.flush()
            watch.hear(record)
            if watch.ended or (until_settled and watch.settled):
                return 0
        return 0
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(watch.screen(), console=console, refresh_per_second=8) as live:
        for record in records:
            watch.hear(record)
            live.update(watch.screen())
            if watch.ended or (until_settled and watch.settled):
                break
    return 0


def follow(path: Path, timeout: float | None) -> Generator[dict[str, Any]]:
    """Yield the records of a growing file, as they come; ends after `timeout` seconds without one (None: never).

    Where it has become another file (a daemon has cut its ledger, docs/ledger.md; a new boot writes there) or a shorter
    one, what stands there behind the last line follows. Lines that are no records are skipped, and told of on stderr.
    Raises InputError where the file is not a ledger.
    """
    quiet_since = time.monotonic()
    while not path.exists():
        if timeout is not None and time.monotonic() - quiet_since >= timeout:
            raise InputError(f"there is no ledger {path}, and none came in {timeout:g} s")
        time.sleep(_POLL_S)
    if other := instead(path, Kind.LEDGER, Kind.TEXT, Kind.EMPTY):
        raise InputError(other, hint=use_of(path))
    reader = LedgerReader()
    told = 0
    file = _open(path)
    try:
        while True:
            if data := file.read(PIECE):
                yield from reader.feed(data)
                _require_ledger(reader, path)
                quiet_since = time.monotonic()
                continue
            if _is_another(file, path):
                file.close()
                file = _open(path)
                place, lines = place_behind(reader.last, iter(partial(file.readline, LINE_LIMIT), b""))
                file.seek(place)
                reader.go_on_behind(lines)
                continue
            if reader.skipped.count > told:
                told = reader.skipped.count
                ui.note(f"in {path}, {reader.skipped}")
            if timeout is not None and time.monotonic() - quiet_since >= timeout:
                return
            time.sleep(_POLL_S)
    finally:
        file.close()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise read_error(path, "the ledger", e) from e


def _is_another(file: BinaryIO, path: Path) -> bool:
    """Is another file there, or less of this one than has been read?"""
    try:
        there = path.stat()
    except OSError:
        return False  # it may come back
    here = os.fstat(file.fileno())
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < file.tell()


def _require_ledger(reader: LedgerReader, path: Path) -> None:
    try:
        require_ledger(reader)
        require_records(reader)
    except FormatError as e:
        raise InputError(f"{path} is not a ledger: {e}") from e
