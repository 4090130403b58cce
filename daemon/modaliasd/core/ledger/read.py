"""The ledger's bytes read back into records, in whatever pieces they come; not on the boot path.

    reader = LedgerReader()
    records = reader.feed(piece)       # those whose lines the piece completes
    reader.skipped                     # the lines that were none, counted and named

A line is bounded, so that a stream without a newline takes no memory; door.py says which lines fit.
"""

from __future__ import annotations

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.door import ForeignFormatError, admit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modaliasd.core.ledger.door import Record

LINE_LIMIT = 1 << 20  # bytes: the longest lines of real ledgers have some thousands
PIECE = 1 << 16  # bytes that readers of files take at a time
_NAMED = 5  # skipped lines that are kept, with the reason
_SAMPLE = 200  # bytes kept of each


class Skipped:
    """The lines that were no records.

    count: how many. named: the first few, each with its number (from 1), the reason and its first bytes.
    """

    def __init__(self) -> None:
        self.count = 0
        self.named: list[tuple[int, str, bytes]] = []

    def note(self, number: int, reason: str, line: bytes) -> None:
        """Count a line."""
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append((number, reason, line[:_SAMPLE]))

    def __str__(self) -> str:
        """Return it in words: "2 lines were skipped: line 4: it has no devpath; line 9: it is not JSON: ..."."""
        words = "1 line was skipped" if self.count == 1 else f"{self.count} lines were skipped"
        named = [f"line {number}: {reason}" for number, reason, _line in self.named]
        more = [f"and {self.count - len(named)} more"] if self.count > len(named) else []
        return f"{words}: {'; '.join([*named, *more])}"


class LedgerReader:
    """Records out of bytes.

    skipped: the lines that were none; an empty line is nothing, and what follows the last newline is still being
    written. admitted: how many were. foreign: why the ledger is not for this program, "" if it is: its first `start`
    line is of another format. last: the last whole line, with or without a record; its beginning if it was too long.
    """

    def __init__(self) -> None:
        self.last = b""
        self.skipped = Skipped()
        self.admitted = 0
        self.foreign = ""
        self._number = 0
        self._started = False
        self._rest = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[Record]:
        """Take the next bytes; return the records whose lines they complete."""
        return [record for _line, record in self.feed_lines(data)]

    def feed_lines(self, data: bytes) -> Iterator[tuple[bytes, Record]]:
        """Yield the same, each record with its line as it came, without the newline."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._hold(piece)
            line, record = self._end_line()
            if record is not None:
                self.admitted += 1
                yield line, record
        self._hold(rest)

    def go_on_behind(self, lines: int) -> None:
        """Go on in another file, behind its first `lines` lines; what came of an unfinished line is forgotten."""
        self._number = lines
        self._rest.clear()
        self._too_long = False

    def _hold(self, piece: bytes) -> None:
        room = LINE_LIMIT - len(self._rest)
        self._too_long = self._too_long or len(piece) > room
        if self._too_long:
            del self._rest[_SAMPLE:]
        else:
            self._rest += piece

    def _end_line(self) -> tuple[bytes, Record | None]:
        line, too_long = bytes(self._rest), self._too_long
        self._rest.clear()
        self._too_long = False
        self._number += 1
        self.last = line
        if too_long:
            self.skipped.note(self._number, f"it is longer than {LINE_LIMIT} bytes", line)
            return line, None
        if not line.strip():
            return line, None
        try:
            record = admit(line)
        except FormatError as e:
            if isinstance(e, ForeignFormatError) and not self._started:
                self.foreign = f"line {self._number}: {e}"
            self.skipped.note(self._number, str(e), line)
            return line, None
        self._started = self._started or record["type"] == "start"
        return line, record


def read_records(reader: LedgerReader, pieces: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records of a whole ledger, in order, as its pieces come.

    Raises FormatError where it is of another format, or where lines come and none of them is a record.
    """
    for piece in pieces:
        for _line, record in reader.feed_lines(piece):
            require_ledger(reader)
            yield record
        require_ledger(reader)
    require_records(reader)


def place_behind(last: bytes, lines: Iterable[bytes]) -> tuple[int, int]:
    """Return where a ledger that was cut, or that another took the place of, goes on behind the line `last`.

    In bytes and in lines. If that line has gone, it is where the ledger says that lines went, or else its beginning.
    lines: the ledger's, with their newlines; a piece of one that is too long counts as its bytes do.
    """
    at = number = 0
    place = (0, 0)
    for line in lines:
        if line.startswith(b'{"type":"trimmed"'):
            place = (at, number)
        at += len(line)
        number += line.endswith(b"\n")
        if last and line == last + b"\n":
            place = (at, number)
    return place


def require_records(reader: LedgerReader) -> None:
    """Raise FormatError where lines have come and none of them was a record."""
    if reader.skipped.count and not reader.admitted:
        number, reason, _line = reader.skipped.named[0]
        raise FormatError(f"line {number}: {reason}")


def require_ledger(reader: LedgerReader) -> None:
    """Raise FormatError where what the reader has seen is a ledger of another format."""
    if reader.foreign:
        raise FormatError(reader.foreign)
