"""When the ledger is written, what befell it is told, and it is kept within its limit."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.service.ports.outside import Clock, Flushable, Writer


class LedgerCare:
    """Tends a ledger, once a turn of the loop."""

    def __init__(self, *, ledger: Flushable, writer: Writer, clock: Clock) -> None:
        self._ledger = ledger
        self._writer = writer
        self._clock = clock

    def tend(self, *, idle: bool) -> None:
        """Write what there is if the service is about to sleep (idle), or if it cannot wait any longer."""
        ledger = self._ledger
        if not idle and not ledger.is_due(self._clock()):
            return
        ledger.flush()
        mishaps = ledger.take_mishaps()
        for message in mishaps:
            self._writer.write("warning", {"what": "ledger", "message": message})
        if mishaps:
            ledger.flush()
        ledger.trim(self._clock())
