"""A stream of bytes that comes in pieces and is read once, forwards: of it no more than a piece is in memory."""

import re
from collections.abc import Iterator

_NULS = re.compile(rb"\0*")


class Pieces:
    """Reads what an iterator gives. position: the offset of the next byte."""

    def __init__(self, pieces: Iterator[bytes], position: int = 0) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self.position = position

    def next_byte(self) -> bytes:
        """Show the next byte without taking it; b"" at the end."""
        return self._piece[self._at : self._at + 1] if self._fill() else b""

    def take(self, count: int) -> Iterator[bytes]:
        """Take `count` bytes, in pieces; fewer only at the end."""
        while count and self._fill():
            piece = self._piece[self._at : self._at + count]
            self._move(len(piece))
            count -= len(piece)
            yield piece

    def read(self, count: int) -> bytes:
        """Take `count` bytes at once; fewer only at the end."""
        return b"".join(self.take(count))

    def skip(self, count: int) -> int:
        """Pass over `count` bytes, and tell how many there were."""
        left = count
        while left and self._fill():
            step = min(left, len(self._piece) - self._at)
            self._move(step)
            left -= step
        return count - left

    def skip_nuls(self) -> None:
        """Pass over all the NULs that come next."""
        while self._fill():
            found = _NULS.match(self._piece, self._at)
            assert found is not None, "the pattern matches the empty string"
            self._move(found.end() - self._at)
            if self._at < len(self._piece):
                return

    def _fill(self) -> bool:
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True

    def _move(self, count: int) -> None:
        self._at += count
        self.position += count
