"""Holds uevents back until what they caused has been done, and lets them out in an order that makes sense.

Who listens behind the daemon may expect that a device's modules have been dealt with when it hears of it.
So an event waits for the loads that it caused; later events of the same device, of what is above it and of
what is below it wait behind it; all others pass. Pure.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Held(NamedTuple):
    """An event that waits; `loads` are the modules whose loads it waits for, or waited."""

    devpath: str
    message: bytes
    loads: tuple[str, ...]


class Relay:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._held: list[Held] = []

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, devpath: str, message: bytes, loads: Iterable[str]) -> list[bytes]:
        """Take an event that has been handled, and the loads under way for it; gives what may go out now."""
        loads = tuple(loads)
        if not loads and not any(_related(held.devpath, devpath) for held in self._held):
            return [message]
        self._held.append(Held(devpath, message, loads))
        return []

    def release(self, is_pending: Callable[[str], bool]) -> list[bytes]:
        """Take in that loads have ended; return what may go out now, in the order in which it came."""
        out: list[bytes] = []
        kept: list[Held] = []
        for held in self._held:
            waits = any(is_pending(module) for module in held.loads)
            if waits or any(_related(other.devpath, held.devpath) for other in kept):
                kept.append(held)
            else:
                out.append(held.message)
        self._held = kept
        return out


def _related(one: str, other: str) -> bool:
    """Return whether it is the same device, or one of them is above the other."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
