"""Reads and writes a ledger file, as `hostbuild run --ledger-out` and the guest write it (docs/ledger.md)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.formats.sniff import Kind, instead, require_there, use_of
from modaliasd.core.errors import FormatError
from modaliasd.core.ledgertext import parse_ledger


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The records in order; a last line without its newline is left out.

    Raises InputError where the file cannot be read, is empty, or is no ledger.
    """
    require_there(path, "ledger")
    if other := instead(path, Kind.LEDGER, Kind.TEXT, Kind.EMPTY):
        raise InputError(other, hint=use_of(path))
    try:
        records = parse_ledger(path.read_bytes())
    except OSError as e:
        raise InputError(f"cannot read the ledger {path}: {e.strerror}") from e
    except FormatError as e:
        raise InputError(f"{path} is no ledger: {e}") from e
    if not records:
        raise InputError(
            f"the ledger {path} is empty", hint="hostbuild run IMAGE --exit-when-settled --ledger-out FILE"
        )
    return records


def write_ledger(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records, a line each. Raises InputError where the file cannot be written."""
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    try:
        path.write_text(lines, encoding="ascii")
    except OSError as e:
        raise InputError(f"cannot write the ledger to {path}: {e.strerror}") from e
