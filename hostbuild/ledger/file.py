"""Reads and writes a ledger file, as `hostbuild run --ledger-out` and the guest write it (docs/ledger.md)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.formats.sniff import Kind, instead, require_there, use_of
from hostbuild.fs.files import read_input, write_file
from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.read import parse_ledger


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the records in order; a last line without its newline is left out.

    Raises InputError where the file cannot be read, is empty, or is not a ledger.
    """
    require_there(path, "ledger")
    if other := instead(path, Kind.LEDGER, Kind.TEXT, Kind.EMPTY):
        raise InputError(other, hint=use_of(path))
    data = read_input(path, "the ledger")
    try:
        records = parse_ledger(data)
    except FormatError as e:
        raise InputError(f"{path} is not a ledger: {e}") from e
    if not records:
        raise InputError(
            f"the ledger {path} is empty", hint="hostbuild run IMAGE --exit-when-settled --ledger-out FILE"
        )
    return records


def write_ledger(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records, a line each, or leave what was there. Raises UsageError or WorldError."""
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    write_file(path, lines.encode("ascii"), "the ledger")
