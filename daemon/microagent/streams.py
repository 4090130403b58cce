"""One command of the agent's: what goes into it, what comes out of it, how much of either may be under way. Pure."""

from __future__ import annotations

from microagent.frames import PIECE, Frame, Kind
from microagent.messages import INPUT_WINDOW, OUTPUT_WINDOW, Exit, pack_exit, pack_number


class Streams:
    """The state of one command's streams; the frames that it gives are for the host.

    incoming: bytes that it has not read yet. input_open: more may come.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.incoming = bytearray()
        self.input_open = True
        self._deaf = False
        self._credit = OUTPUT_WINDOW
        self._written = {Kind.STDOUT: 0, Kind.STDERR: 0}

    def take_input(self, data: bytes) -> list[Frame]:
        """Take bytes for its standard input. ValueError where the host sends more than it may."""
        if self._deaf:
            return self._used(len(data))
        if not self.input_open or len(self.incoming) + len(data) > INPUT_WINDOW:
            raise ValueError("input beyond its window")
        self.incoming += data
        return []

    def input_written(self, count: int) -> list[Frame]:
        """Note that the command's pipe has taken the first `count` bytes."""
        del self.incoming[:count]
        return self._used(count)

    def input_refused(self) -> list[Frame]:
        """Note that the command reads no more; what is still sent is thrown away."""
        self._deaf = True
        count = len(self.incoming)
        self.incoming.clear()
        return self._used(count)

    def room(self) -> int:
        """Return how many bytes of output may be read and sent now."""
        return min(PIECE, self._credit)

    def output(self, kind: Kind, data: bytes) -> Frame:
        """Return the frame for bytes that the command wrote."""
        self._credit -= len(data)
        self._written[kind] += len(data)
        return Frame(kind, self.number, data)

    def credit(self, count: int) -> None:
        """Note that the host has used so many bytes of output."""
        self._credit = min(OUTPUT_WINDOW, self._credit + count)

    def exit(self, status: int, signal: int) -> Frame:
        """Return the last frame."""
        counts = self._written
        return Frame(
            Kind.EXIT, self.number, pack_exit(Exit(status, signal, counts[Kind.STDOUT], counts[Kind.STDERR]))
        )

    def _used(self, count: int) -> list[Frame]:
        return [Frame(Kind.CREDIT, self.number, pack_number(count))] if count else []
