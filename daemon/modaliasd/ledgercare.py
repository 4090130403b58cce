"""When the ledger is written, what befell it is told, and it is trimmed. Belongs to the service layer."""

from __future__ import annotations

from modaliasd.descriptors import with_reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.record import Json
    from modaliasd.ledger import Ledger
    from modaliasd.world import World


class LedgerCare:
    """Tends the world's ledger, once a turn."""

    def __init__(self, world: World) -> None:
        self._world = world

    def tend(self, *, idle: bool) -> None:
        """Write what there is if the service is about to sleep (idle), or if it cannot wait any longer."""
        ledger = self._world.ledger
        if not idle and not ledger.is_due(self._world.clock()):
            return
        ledger.flush()
        if (ledger.lost_lines or ledger.mishaps) and not ledger.has_backlog:
            self._tell()
            ledger.flush()
        if ledger.size > ledger.trim_beyond:
            with_reserve(_trimmer)(ledger, self._world.clock())

    def _tell(self) -> None:
        """What is missing from the ledger is said in it."""
        ledger = self._world.ledger
        messages, ledger.mishaps = ledger.mishaps, []
        if ledger.lost_lines:
            messages.append(f"{ledger.lost_lines} lines were lost while there was no room for them")
            ledger.lost_lines = 0
        for message in messages:
            fields: dict[str, Json] = {"what": "ledger", "message": message}
            self._world.write("warning", fields)


def _trimmer() -> Callable[[Ledger, int], None]:
    from modaliasd.ledgerlimit import trim

    return trim
