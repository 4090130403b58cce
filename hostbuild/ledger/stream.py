"""A ledger as it comes over a serial line: records out of bytes, in whatever pieces these arrive. Pure."""

import json
from typing import Any

Record = dict[str, Any]  # a JSON object with a "type"


class LedgerReader:
    """Ledger records out of a serial line's bytes, in whatever pieces these arrive.

    torn: the lines that are no JSON object with a `type`, kept as they came. An empty line is nothing.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.torn: list[bytes] = []

    def feed(self, data: bytes) -> list[Record]:
        """Take the next bytes; return the records whose lines they complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for line in lines if (record := self._record(line)) is not None]

    def finish(self) -> None:
        """Count what is left as torn: the line has ended in the middle of a record."""
        if self._rest.strip():
            self.torn.append(self._rest)
        self._rest = b""

    def _record(self, line: bytes) -> Record | None:
        if not line.strip():
            return None
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            self.torn.append(line)
            return None
        return value
