"""The ledger's text read back into records, for whoever explains it; not on the boot path."""

from __future__ import annotations

from json import loads

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.write import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_ledger(data: bytes) -> list[dict[str, Any]]:
    """Parse the records in order. A last line without its newline was still being written, and is left out.

    Raises FormatError for what is not ASCII, not JSON, no record with a type, or of another format.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as e:
        raise FormatError(f"byte {e.start} is not ASCII") from e
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            record = loads(line)
        except ValueError as e:
            raise FormatError(f"line {number} is not JSON: {e}") from e
        if not isinstance(record, dict) or not isinstance(record.get("type"), str):
            raise FormatError(f"line {number} is not a record with a type")
        if record["type"] == "start" and record.get("format") != FORMAT:
            raise FormatError(
                f"line {number} is of format {record.get('format')}; this program reads format {FORMAT}"
            )
        records.append(record)
    return records
