"""Keeps count of uevent sequence numbers, so that "nothing lost" is a measurement and not a hope.

The kernel numbers its uevents from 1, one counter for the whole machine (lib/kobject_uevent.c). A number
that does not come is a lost event, or an event of another network namespace; either way a new walk makes it
good. Since Linux 6.10 two CPUs can send their events in the wrong order, so a gap counts only after the
socket was empty.
"""

from __future__ import annotations

MOST_MISSING = 65536  # numbers remembered one by one; a wider gap is an overrun whatever comes later


class Sequence:
    """`last` is the highest number accounted for."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.missing: set[int] = set()
        self.lost = 0  # events lost, for which the walk has not ended yet
        self.recovered = 0  # events lost, made good by a walk

    def saw(self, number: int) -> bool:
        """Take the number of an event that has come, in any order; is it behind one that has been seen?"""
        if number <= self.last:
            self.missing.discard(number)
            return True
        first = max(self.last + 1, number - MOST_MISSING)
        self.missing.update(range(first, number))
        self.last = number
        return False

    def reached(self, number: int) -> bool:
        """Return whether every event up to `number` has come."""
        return self.last >= number and not self.missing

    def forgive(self, number: int) -> int:
        """Take in that a walk begins that makes up for what was lost up to `number`; return how many events that is."""
        lost = len(self.missing) + max(0, number - self.last)
        self.missing.clear()
        self.last = max(self.last, number)
        self.lost += lost
        return lost

    def made_good(self) -> None:
        """Take in that the walk for the lost events has ended."""
        self.recovered += self.lost
        self.lost = 0
