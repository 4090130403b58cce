"""Puts lines into the ledger, each with its time."""

from __future__ import annotations

from modaliasd.core.ledger.write import line
from modaliasd.core.printable import printable
from modaliasd.linux.ledger import INFORMATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json
    from modaliasd.service.ports.outside import Clock, LineSink


class LedgerWriter:
    """Puts lines into a ledger, each with its time; `clock` gives the microseconds of CLOCK_BOOTTIME."""

    def __init__(self, *, ledger: LineSink, clock: Clock) -> None:
        self._clock = clock
        self._append = ledger.append
        self._say = ledger.say

    def write(self, kind: str, fields: dict[str, Json], t_us: int = -1) -> None:
        """Put a line into the ledger; t_us is when what it tells of was learnt, now if not given."""
        self._append(line(kind, self._clock() if t_us < 0 else t_us, fields))

    def append(self, text: str) -> None:
        """Put a line into the ledger that has been made already, with its newline."""
        self._append(text)

    def say(self, text: str, priority: int = INFORMATION) -> None:
        """Put a short line into the kernel's log, and so on the console."""
        self._say(printable(text), priority)
