"""Bytes that come without end, kept within bounds: how they began, and their latest. Pure."""

HEAD = 1 << 20  # bytes: a kernel's whole boot, and why it failed
TAIL = 4 << 20


class Kept:
    """What has come so far, at most HEAD + 2 * TAIL bytes of it. missing: how many bytes between the two are gone."""

    def __init__(self) -> None:
        self.missing = 0
        self._head = bytearray()
        self._tail = bytearray()

    def __iadd__(self, data: bytes) -> "Kept":
        """Take the next bytes."""
        room = HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * TAIL:
            self.missing += len(self._tail) - TAIL
            del self._tail[:-TAIL]
        return self

    def __bytes__(self) -> bytes:
        """All of it, with a line in the place of what is missing."""
        gap = b"\n[%d bytes are missing here]\n" % self.missing if self.missing else b""
        return b"".join((self._head, gap, self._tail))
