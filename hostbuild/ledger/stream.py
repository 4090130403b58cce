"""A ledger as it comes over a serial line: records out of bytes, in whatever pieces these arrive. Pure."""

from typing import Any

from modaliasd.core.ledger import read

Record = dict[str, Any]  # what the ledger's door admits (modaliasd.core.ledger.door)


class LedgerReader(read.LedgerReader):
    """A reader whose stream has an end."""

    def finish(self) -> None:
        """Count what is left as skipped: the line has ended in the middle of a record."""
        if self._rest.strip() or self._too_long:
            self._number += 1
            self.skipped.note(self._number, "it was cut off by the end", bytes(self._rest))
        self._rest.clear()
        self._too_long = False
