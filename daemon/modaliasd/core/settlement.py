"""When nothing is left to do: an automaton that is fed with events and answers what to do next. Pure.

Settled means: no walk under way, nothing queued, nothing loading, nothing being removed, and the uevent socket
read up to the number that /sys/kernel/uevent_seqnum showed before the socket was found empty. It is never a quiet
period.

    BUSY --IDLE--> UNSURE --ALL_CAME--> UNCHECKED --INDEX_GOOD--> SETTLED
                    |  ^                    ^                       |
            MISSING |  | MORE               | BELIEVED              | INPUT, NEWS, ASKED
                    v  |                    |                       v
                   BLIND --EXPIRED--> OVERDUE --LOST--> UNSURE    UNSURE

WORK leads to BUSY from everywhere. An event that a state's row does not name changes nothing. While numbers are
missing, the one that has to be reached stays as it was when that showed: others may go on taking numbers for ever.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum

GRACE_US = 50_000  # how long a missing sequence number may be on its way


class State(Enum):
    """How far it is to being settled."""

    BUSY = "busy"  # a walk, a load or a removal is under way
    UNSURE = "unsure"  # none is, but the socket may hold more
    BLIND = "blind"  # the socket is empty, and numbers are missing
    OVERDUE = "overdue"  # they have been missing for longer than the grace
    UNCHECKED = "unchecked"  # all events have come; the alias index has not been summed up yet in this life
    SETTLED = "settled"  # nothing is left to do, and nothing has happened since


class Event(Enum):
    """What the loop tells of."""

    WORK = "work"
    IDLE = "idle"
    INPUT = "input"
    NEWS = "news"
    ASKED = "asked"
    MORE = "more"
    MISSING = "missing"
    EXPIRED = "expired"
    ALL_CAME = "all came"
    LOST = "lost"
    BELIEVED = "believed"
    INDEX_GOOD = "index good"
    INDEX_BAD = "index bad"


class Advice(Enum):
    """What is to be done now."""

    NOTHING = "nothing"  # wait for whatever comes first
    READ_SOCKET = "read socket"  # ask for the kernel's number, then read the socket, then tell `looked`
    LOOK_AGAIN = (
        "look again"  # read the socket when it holds something or time is up, then tell `looked` of `target`
    )
    JUDGE_GAP = (
        "judge gap"  # have a walk make good for the missing numbers and tell `lost`, or tell `believed`
    )
    CHECK_INDEX = "check index"  # sum the alias index up, then tell `index_checked`
    TELL = "tell"  # settled, and that is news: say so, then tell `told`


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.BUSY: {
        Event.IDLE: State.UNSURE,
    },
    State.UNSURE: {
        Event.WORK: State.BUSY,
        Event.MISSING: State.BLIND,
        Event.ALL_CAME: State.UNCHECKED,
    },
    State.BLIND: {
        Event.WORK: State.BUSY,
        Event.MORE: State.UNSURE,
        Event.EXPIRED: State.OVERDUE,
        Event.ALL_CAME: State.UNCHECKED,
    },
    State.OVERDUE: {
        Event.WORK: State.BUSY,
        Event.LOST: State.UNSURE,
        Event.BELIEVED: State.UNCHECKED,
    },
    State.UNCHECKED: {
        Event.WORK: State.BUSY,
        Event.INPUT: State.UNSURE,
        Event.INDEX_GOOD: State.SETTLED,
        Event.INDEX_BAD: State.UNSURE,
    },
    State.SETTLED: {
        Event.WORK: State.BUSY,
        Event.INPUT: State.UNSURE,
        Event.NEWS: State.UNSURE,
        Event.ASKED: State.UNSURE,
    },
}
ADVICE = {
    State.BUSY: Advice.NOTHING,
    State.UNSURE: Advice.READ_SOCKET,
    State.BLIND: Advice.LOOK_AGAIN,
    State.OVERDUE: Advice.JUDGE_GAP,
    State.UNCHECKED: Advice.CHECK_INDEX,
    State.SETTLED: Advice.NOTHING,
}


class Settlement:
    """See the module's docstring. `state` is where it is, `settles` how many settles of this life were told.

    `target`: the kernel's number that is to be reached, or was; `as_of_us`: when that was asked for.
    """

    def __init__(self) -> None:
        self.state = State.BUSY
        self.settles = 0
        self._news = True  # the boot itself
        self._awaited = False
        self.target = -1
        self.as_of_us = -1
        self._index_checked = False

    @property
    def settled(self) -> bool:
        """Has nothing happened since all was dealt with?"""
        return self.state is State.SETTLED

    @property
    def advice(self) -> Advice:
        """What is to be done now. A settle that is not news is not told."""
        if self.state is State.SETTLED and (self._news or self._awaited):
            return Advice.TELL
        return ADVICE[self.state]

    def timeout_ms(self, now_us: int) -> int:
        """How long to wait for other things before the advice is followed: 0 not at all, -1 for ever."""
        advice = self.advice
        if advice is Advice.LOOK_AGAIN:  # a datagram that comes after all ends the wait
            return max(0, self.as_of_us + GRACE_US - now_us) // 1000 + 1
        return -1 if advice is Advice.NOTHING else 0

    def work(self, *, busy: bool) -> None:
        """Hear whether a walk, a load or a removal is under way, or about to be."""
        self._take(Event.WORK if busy else Event.IDLE)

    def received(self) -> None:
        """Hear that the uevent socket held something."""
        self._take(Event.INPUT)

    def happened(self) -> None:
        """Something that the next settle is worth being told for.

        A device that asks for something came or went, a driver took one or left it, or a load ended.
        """
        self._news = True
        self._take(Event.NEWS)

    def asked(self) -> None:
        """Somebody waits for the next settle, which is not one that has been."""
        self._awaited = True
        self._take(Event.ASKED)

    def unasked(self) -> None:
        """Nobody waits any more."""
        self._awaited = False

    def looked(self, *, drained: bool, complete: bool, number: int, now_us: int) -> None:
        """Note that the socket was read.

        drained: it is empty. complete: every event up to `number` is accounted for. number: `target` while numbers
        are missing, else the kernel's, asked for before the socket was read. now_us: before either.
        """
        if self.state is State.UNSURE:
            self.target, self.as_of_us = number, now_us
        if not drained:
            self._take(Event.MORE)  # nothing is missing before the socket is empty
        elif complete:
            self._take(Event.ALL_CAME)
            self._look_past_index()
        else:
            self._take(Event.MISSING)
            if self.state is State.BLIND and now_us - self.as_of_us > GRACE_US:
                self._take(Event.EXPIRED)

    def lost(self) -> None:
        """Hear that the missing numbers were given up, and a walk asked for that finds what they told of."""
        self._take(Event.LOST)

    def believed(self) -> None:
        """Note that the missing numbers up to `target` are taken for somebody else's."""
        self._take(Event.BELIEVED)
        self._look_past_index()

    def index_checked(self, *, good: bool) -> None:
        """Hear that the alias index was summed up; if it was damaged, a walk was asked for, to look all devices up."""
        self._index_checked = True
        self._take(Event.INDEX_GOOD if good else Event.INDEX_BAD)

    def told(self) -> None:
        """Hear that the settle was told, to the ledger and to those who waited."""
        self.settles += 1
        self._news = self._awaited = False

    def _look_past_index(self) -> None:
        if self._index_checked:
            self._take(Event.INDEX_GOOD)

    def _take(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state].get(event, self.state)
