"""Reads and writes a ledger file, as `hostbuild run --ledger-out` and the guest write it (docs/ledger.md)."""

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from hostbuild import ui
from hostbuild.errors import InputError
from hostbuild.formats.sniff import Kind, instead, require_there, use_of
from hostbuild.fs.files import read_error, write_file
from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.history import History, history_of
from modaliasd.core.ledger.read import PIECE, LedgerReader, read_records


def read_history(path: Path) -> History:
    """Return what the ledger tells; no more of it is held than that.

    Lines that are no records are skipped, and told of on stderr.
    Raises InputError where the file cannot be read, is empty, or is not a ledger.
    """
    require_there(path, "ledger")
    if other := instead(path, Kind.LEDGER, Kind.TEXT, Kind.EMPTY):
        raise InputError(other, hint=use_of(path))
    reader = LedgerReader()
    try:
        with path.open("rb") as file:
            records = read_records(reader, iter(lambda: file.read(PIECE), b""))
            first = next(records, None)
            history = history_of(chain([first] if first is not None else [], records))
    except OSError as e:
        raise read_error(path, "the ledger", e) from e
    except FormatError as e:
        raise InputError(f"{path} is not a ledger: {e}") from e
    if first is None:
        raise InputError(
            f"the ledger {path} is empty", hint="hostbuild run IMAGE --exit-when-settled --ledger-out FILE"
        )
    if reader.skipped.count:
        ui.note(f"in {path}, {reader.skipped}")
    return history


def write_ledger(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records, a line each, or leave what was there. Raises UsageError or WorldError."""
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    write_file(path, lines.encode("ascii"), "the ledger")
