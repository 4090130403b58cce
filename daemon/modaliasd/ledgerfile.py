"""Reads a ledger file back: for the verbs that explain, not on the boot path."""

from __future__ import annotations

from json import loads

from modaliasd.core.errors import WorldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_records(path: str) -> list[dict[str, Any]]:
    """The ledger's records in order. A last line without its newline is still being written: left out.

    Raises WorldError where the file cannot be read or a line is no record.
    """
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise WorldError(f"{path} is no ledger: byte {e.start} is not ASCII") from e
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            record = loads(line)
        except ValueError as e:
            raise WorldError(f"{path} is no ledger: line {number} is not JSON: {e}") from e
        if not isinstance(record, dict) or "type" not in record:
            raise WorldError(f"{path} is no ledger: line {number} is no record with a type")
        records.append(record)
    return records
