"""Keeps count of uevent sequence numbers, so that "nothing lost" is a measurement and not a hope.

The kernel numbers its uevents from 1, one counter for the whole machine (lib/kobject_uevent.c). A number that does
not come is a lost event, or one that was sent to another network namespace: doubt.py says which it is taken for.
Since Linux 6.10 two CPUs can send their events in the wrong order, so a gap counts only after the socket was empty.
"""

from __future__ import annotations

MOST_GAPS = 4096  # runs of missing numbers that are remembered; of more, the oldest count as sent elsewhere


class Sequence:
    """`last` is the highest number accounted for."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.lost = 0  # events lost, for which the walk has not ended yet
        self.recovered = 0  # events lost, made good by a walk
        self.unseen = 0  # numbers that are believed to have been sent elsewhere
        self._gaps: list[tuple[int, int]] = []  # the first and the last number of each run, in order

    @property
    def missing(self) -> int:
        """How many numbers are missing before `last`."""
        return sum(last - first + 1 for first, last in self._gaps)

    def saw(self, number: int) -> bool:
        """Take the number of an event that has come, in any order; is it behind one that has been seen?"""
        if number <= self.last:
            self._fill(number)
            return True
        if number > self.last + 1:
            self._gaps.append((self.last + 1, number - 1))
            if len(self._gaps) > MOST_GAPS:
                first, last = self._gaps.pop(0)
                self.unseen += last - first + 1
        self.last = number
        return False

    def _fill(self, number: int) -> None:
        """Note that a missing number has come; one that is late is mostly missing from the newest gaps."""
        for at in range(len(self._gaps) - 1, -1, -1):
            first, last = self._gaps[at]
            if number > last:
                return
            if number >= first:
                halves = ((first, number - 1), (number + 1, last))
                self._gaps[at : at + 1] = [half for half in halves if half[0] <= half[1]]
                return

    def reached(self, number: int) -> bool:
        """Is every event up to `number` accounted for?"""
        return self.last >= number and not (self._gaps and self._gaps[0][0] <= number)

    def believe(self, number: int) -> None:
        """Take what is missing up to `number` for sent elsewhere."""
        self.unseen += self._account_for(number)

    def forgive(self, number: int) -> int:
        """Take in that a walk begins that makes up for what was lost up to `number`; return how many events that is."""
        lost = self._account_for(number)
        self.lost += lost
        return lost

    def made_good(self) -> None:
        """Take in that the walk for the lost events has ended."""
        self.recovered += self.lost
        self.lost = 0

    def _account_for(self, number: int) -> int:
        before = self.missing + max(0, number - self.last)
        self._gaps = [(max(first, number + 1), last) for first, last in self._gaps if last > number]
        self.last = max(self.last, number)
        return before - self.missing
