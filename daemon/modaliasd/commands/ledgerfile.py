"""Reads a ledger file back: for the commands that explain, not on the boot path."""

from __future__ import annotations

from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.ledger.read import parse_ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_records(path: str) -> list[dict[str, Any]]:
    """Read the ledger's records in order. Raises WorldError where the file cannot be read or is not a ledger."""
    try:
        with open(path, "rb") as file:
            return parse_ledger(file.read())
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except FormatError as e:
        raise WorldError(f"{path} is not a ledger: {e}") from e
