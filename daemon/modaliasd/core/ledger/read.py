"""The ledger's text read back into records, for whoever explains it; not on the boot path.

A line that is no record costs that line: it is skipped and counted. Records come one at a time, so that a long ledger
takes no more memory than its longest line.
"""

from __future__ import annotations

from json import loads

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.write import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    class Lines(Protocol):
        """A file open for reading bytes."""

        def readline(self, size: int, /) -> bytes:
            """Up to so many bytes, up to the next newline."""


LINE_LIMIT = 4 << 20  # bytes; the daemon's longest lines have some hundred causes


class LedgerText:
    """The records of an open ledger, in order; to be gone through once.

    skipped: how many lines were no records; first: which the first of them was, and why. A last line without its
    newline was still being written, and is left out.
    """

    def __init__(self, file: Lines) -> None:
        self.skipped = 0
        self.first = ""
        self._file = file

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records. Raises FormatError for another format, and at the end if there was not one record."""
        number = known = 0
        while line := self._file.readline(LINE_LIMIT):
            number += 1
            whole = line.endswith(b"\n")
            if not whole and len(line) < LINE_LIMIT:
                break
            if not whole:
                self._skip_line()
            try:
                record = parse_record(line) if whole else _refuse("too long")
            except FormatError as e:
                self.skipped += 1
                self.first = self.first or f"line {number} is {e}"
                continue
            if record["type"] == "start" and record.get("format") != FORMAT:
                raise FormatError(
                    f"line {number} is of format {record.get('format')}; this program reads format {FORMAT}"
                )
            known += 1
            yield record
        if self.skipped and not known:
            raise FormatError(self.first)

    def _skip_line(self) -> None:
        while (line := self._file.readline(LINE_LIMIT)) and not line.endswith(b"\n"):
            pass

    @property
    def summary(self) -> str:
        """What was skipped, for people; "" for nothing."""
        if not self.skipped:
            return ""
        if self.skipped == 1:
            return f"skipped a line: {self.first}"
        return f"skipped {self.skipped} lines: {self.first}, the first of them"


def parse_record(line: bytes) -> dict[str, Any]:
    """Parse one line. Raises FormatError, "not JSON", for what is no record of any format."""
    try:
        record = loads(line.decode("ascii"))
    except UnicodeDecodeError:
        return _refuse("not ASCII")
    except (ValueError, RecursionError):
        return _refuse("not JSON")
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        return _refuse("not a record with a type")
    if not isinstance(record.get("t_us"), int):
        return _refuse("a record without its time")
    return record


def _refuse(what: str) -> dict[str, Any]:
    raise FormatError(what)
