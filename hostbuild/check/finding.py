"""A finding: what is wrong with an image, where, why, and what fixes it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much a finding matters."""

    FATAL = "fatal"  # the image does not boot
    ERROR = "error"  # it boots, and something in it does not work
    NOTE = "note"  # worth knowing; as it may be meant


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    id: the kind of it, stable: docs/check.md lists them. place: a path in the image, with `:LINE` where it is a line;
    "image" for all of it, "command line", "kernel". reason, fix: a clause each, without a full stop.
    """

    id: str
    level: Level
    place: str
    reason: str
    fix: str

    def fields(self) -> dict[str, str]:
        """Return it as JSON has it."""
        return {
            "id": self.id,
            "level": self.level.value,
            "place": self.place,
            "reason": self.reason,
            "fix": self.fix,
        }


Maker = Callable[[str, str, str, str], Finding]


def fatal(kind: str, place: str, reason: str, fix: str) -> Finding:
    """Make a finding for which the image does not boot."""
    return Finding(kind, Level.FATAL, place, reason, fix)


def error(kind: str, place: str, reason: str, fix: str) -> Finding:
    """Make a finding of something that does not work."""
    return Finding(kind, Level.ERROR, place, reason, fix)


def note(kind: str, place: str, reason: str, fix: str) -> Finding:
    """Make a finding of something to know."""
    return Finding(kind, Level.NOTE, place, reason, fix)
