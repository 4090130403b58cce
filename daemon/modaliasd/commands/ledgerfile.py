"""Reads a ledger file back: for the commands that explain, not on the boot path."""

from __future__ import annotations

import sys

from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.ledger.history import history_of
from modaliasd.core.ledger.read import LedgerText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.history import History


def read_history(path: str) -> History:
    """Read what the ledger tells; lines that are no records are counted on standard error.

    Raises WorldError where the file cannot be read or is not a ledger.
    """
    try:
        with open(path, "rb") as file:
            text = LedgerText(file)
            history = history_of(text)
    except OSError as e:
        raise WorldError(f"cannot read the ledger {path}: {e.strerror}") from e
    except FormatError as e:
        raise WorldError(f"{path} is not a ledger: {e}") from e
    if text.skipped:
        sys.stderr.write(f"modaliasd: {path}: {text.summary}\n")
    return history
