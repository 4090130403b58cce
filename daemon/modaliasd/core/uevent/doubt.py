"""Whether a sequence number that never came is believed to have gone elsewhere, and when a walk has to look. Pure.

Any user can take numbers that this socket is never told of: the events of a network device go to its namespace only,
and a process in a namespace of its own may send events there (lib/kobject_uevent.c). So a gap is no evidence of a
loss: what the kernel drops for want of room it counts, and that is asked about apart. Only what nobody counts is left
to doubt, such as an event for which the kernel had no memory. The first gap has a walk at once. Each walk for a gap
buys a time in which gaps are believed, and at the end of which another walk confirms them, if there were any. That
time is so many times as long as the walk took, and twice the last one for as long as walks find nothing, up to a limit.
Hence walks never take more than a fixed share of a processor, and what was lost is found within the limit.
"""

from __future__ import annotations

SHARE = 64  # of the time, walks for gaps take one part
SHORTEST_US = 1_000_000
LONGEST_US = 300_000_000  # unless a single walk takes so long that its share needs more


class Doubt:
    """Times are microseconds of any clock that never goes back."""

    def __init__(self) -> None:
        self.trust_us = 0  # how long the last walk is good for: a gap stays unconfirmed no longer
        self._until_us = -1  # until when gaps are believed
        self._since_us = -1  # when a gap was believed last that no walk has confirmed; -1: there is none

    def believes(self, now_us: int) -> bool:
        """Is a gap that shows now believed to be no loss? If not, a walk is due."""
        return now_us < self._until_us

    def believed(self, now_us: int) -> None:
        """Note that it was believed: a walk is to confirm that in its time."""
        self._since_us = now_us

    def walked(self, *, begun_us: int, ended_us: int, for_gap: bool, found: bool) -> None:
        """Note that a walk has ended. for_gap: a gap had asked for it. found: there was
        something that no event had told of.
        """
        if self._since_us <= begun_us:
            self._since_us = -1
        if not for_gap:
            return
        floor_us = max(SHORTEST_US, SHARE * (ended_us - begun_us))
        if found or self.trust_us == 0:
            self.trust_us = floor_us
        else:
            self.trust_us = max(floor_us, min(2 * self.trust_us, LONGEST_US))
        self._until_us = ended_us + self.trust_us

    def is_due(self, now_us: int) -> bool:
        """Has a walk to confirm now what was believed?"""
        return self._since_us >= 0 and now_us >= self._until_us

    def timeout_ms(self, now_us: int) -> int:
        """Until that is so; -1 for never."""
        if self._since_us < 0:
            return -1
        return max(0, (self._until_us - now_us + 999) // 1000)
