"""Reads and writes a ledger file, as `hostbuild run --ledger-out` and the guest write it (docs/ledger.md)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError

FORMAT = 1


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The records in order. A last line without its newline was still being written, and is left out.

    Raises InputError where the file cannot be read, holds what is no record, or is of another format.
    """
    try:
        text = path.read_text(encoding="ascii")
    except OSError as e:
        raise InputError(f"cannot read the ledger {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is no ledger: byte {e.start} is not ASCII") from e
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError as e:
            raise InputError(f"{path} is no ledger: line {number} is not JSON: {e}") from e
        if not isinstance(record, dict) or not isinstance(record.get("type"), str):
            raise InputError(f"{path} is no ledger: line {number} is no record with a type")
        if record["type"] == "start" and record.get("format") != FORMAT:
            raise InputError(
                f"{path} is a ledger of format {record.get('format')}; this hostbuild reads {FORMAT}"
            )
        records.append(record)
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
