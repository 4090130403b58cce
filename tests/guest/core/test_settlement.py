"""core/settlement.py: never settled while something is pending, always settled once all is quiet."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modaliasd.core.settlement import (
    ADVICE,
    BLIND_POLL_MS,
    GRACE_US,
    TRANSITIONS,
    Advice,
    Event,
    Settlement,
    State,
)
from tests.support.fuzzing import examples

LOOKS = (Advice.READ_SOCKET, Advice.LOOK_AGAIN)


def idle_and_complete(settlement: Settlement) -> None:
    """Nothing is under way, and every event has come."""
    settlement.work(busy=False)
    settlement.looked(drained=True, complete=True, now_us=0)


def settled() -> Settlement:
    """One that has settled once, and told so."""
    settlement = Settlement()
    idle_and_complete(settlement)
    settlement.index_checked(good=True)
    assert settlement.advice is Advice.TELL
    settlement.told()
    return settlement


def test_the_way_to_the_first_settle() -> None:
    """Busy, then a look at the socket, the index once, then a settle that is told, and then nothing."""
    settlement = Settlement()
    settlement.work(busy=True)
    assert (settlement.advice, settlement.timeout_ms()) == (Advice.NOTHING, -1)
    settlement.work(busy=False)
    assert (settlement.advice, settlement.timeout_ms()) == (Advice.READ_SOCKET, 0)
    settlement.looked(drained=True, complete=True, now_us=0)
    assert (settlement.advice, settlement.settled) == (Advice.CHECK_INDEX, False)
    settlement.index_checked(good=True)
    assert (settlement.advice, settlement.settled, settlement.settles) == (Advice.TELL, True, 0)
    settlement.told()
    assert (settlement.advice, settlement.timeout_ms(), settlement.settles) == (Advice.NOTHING, -1, 1)


def test_a_damaged_index_is_checked_once_and_looked_past() -> None:
    """After the walk that a damaged index brings, nothing is summed up again, and it settles."""
    settlement = Settlement()
    idle_and_complete(settlement)
    settlement.index_checked(good=False)
    assert not settlement.settled
    settlement.work(busy=True)
    idle_and_complete(settlement)
    assert settlement.settled


def test_what_is_no_news_is_not_told() -> None:
    """An event that concerns nobody ends in a settle without a line; one that does, or somebody who waits, has one."""
    settlement = settled()
    settlement.received()
    assert not settlement.settled
    idle_and_complete(settlement)
    assert (settlement.settled, settlement.advice) == (True, Advice.NOTHING)
    settlement.received()
    settlement.happened()
    idle_and_complete(settlement)
    assert settlement.advice is Advice.TELL
    settlement.told()
    settlement.asked()
    assert not settlement.settled
    idle_and_complete(settlement)
    assert settlement.advice is Advice.TELL


def test_news_alone_is_not_told_without_a_look() -> None:
    """News that comes while it is settled is told once the socket was read again."""
    settlement = settled()
    settlement.happened()
    assert (settlement.settled, settlement.advice) == (False, Advice.READ_SOCKET)


def test_who_has_gone_is_told_nothing() -> None:
    """A client that waited and left makes no news."""
    settlement = settled()
    settlement.asked()
    settlement.unasked()
    idle_and_complete(settlement)
    assert (settlement.settled, settlement.advice) == (True, Advice.NOTHING)


def test_a_missing_number_has_a_grace() -> None:
    """It is looked for again and again for as long as the grace lasts, and declared lost after that, not before."""
    settlement = Settlement()
    settlement.work(busy=False)
    for now_us in (1000, 1000 + GRACE_US // 2, 1000 + GRACE_US):
        settlement.looked(drained=True, complete=False, now_us=now_us)
        assert (settlement.advice, settlement.timeout_ms()) == (Advice.LOOK_AGAIN, BLIND_POLL_MS)
    settlement.looked(drained=True, complete=False, now_us=1001 + GRACE_US)
    assert (settlement.advice, settlement.timeout_ms()) == (Advice.DECLARE_LOST, 0)
    settlement.lost()
    assert settlement.advice is Advice.READ_SOCKET


@pytest.mark.parametrize("between", ["more", "work", "complete"])
def test_the_grace_begins_anew(between: str) -> None:
    """What was in the socket, work, or the number itself ends the wait; another gap has its whole grace."""
    settlement = settled()
    settlement.received()
    settlement.looked(drained=True, complete=False, now_us=0)
    if between == "more":
        settlement.looked(drained=False, complete=False, now_us=GRACE_US)
    elif between == "work":
        settlement.work(busy=True)
        settlement.work(busy=False)
    else:
        settlement.looked(drained=True, complete=True, now_us=GRACE_US)
        assert settlement.settled
        settlement.received()
    settlement.looked(drained=True, complete=False, now_us=2 * GRACE_US)
    assert settlement.advice is Advice.LOOK_AGAIN


def test_the_table_names_every_state_and_event() -> None:
    """Each state has a row and an advice, each event is in a row, and from every state there is a way to settled."""
    assert set(TRANSITIONS) == set(ADVICE) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)
    reaches = {State.SETTLED}
    for _ in State:
        reaches |= {state for state, row in TRANSITIONS.items() if reaches & set(row.values())}
    assert reaches == set(State)


@given(st.lists(st.sampled_from(list(Event)), max_size=60))
def test_work_is_never_overlooked(events: list[Event]) -> None:
    """Whatever came before, work makes it busy, and only its end leads on from there."""
    settlement = Settlement()
    for event in events:
        settlement._take(event)
    settlement.work(busy=True)
    for event in events:
        if event is not Event.IDLE:
            settlement._take(event)
    assert (settlement.state, settlement.advice) == (State.BUSY, Advice.NOTHING)


class Machine(RuleBasedStateMachine):
    """A loop around the automaton in a world that makes work, events, losses and clients as it likes.

    `due` are numbers that the kernel has given out and whose datagrams are on their way; `vanished` those that never
    come. Every look takes at most two datagrams, as the real one takes a batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.settlement = Settlement()
        self.now_us = 0
        self.work = 1  # the coldplug
        self.kernel = 0
        self.due: list[int] = []
        self.vanished: set[int] = set()
        self.seen: set[int] = set()
        self.clients = 0
        self.walks = 0
        self.gaps = 0  # runs of vanished numbers that no walk has made good yet are at most this many
        self.untold = False
        self.index_good = True

    @initialize(good=st.booleans())
    def choose_index(self, good: bool) -> None:
        """The index is damaged, or is not."""
        self.index_good = good

    @rule(count=st.integers(1, 4))
    def kernel_sends(self, count: int) -> None:
        """Events are on their way."""
        self.due += range(self.kernel + 1, self.kernel + count + 1)
        self.kernel += count

    @rule()
    def kernel_loses(self) -> None:
        """An event takes a number and never comes."""
        self.kernel += 1
        self.vanished.add(self.kernel)

    @rule()
    def work_begins(self) -> None:
        """A load, a walk or a removal."""
        self.work += 1

    @precondition(lambda self: self.work)
    @rule()
    def work_ends(self) -> None:
        """And that is news."""
        self.work -= 1
        self.untold = True
        self.settlement.happened()

    @rule()
    def client_asks(self) -> None:
        """Somebody waits for the next settle."""
        self.clients += 1
        self.settlement.asked()
        assert not self.settlement.settled

    @precondition(lambda self: self.clients)
    @rule()
    def client_leaves(self) -> None:
        """Or does not any more."""
        self.clients -= 1
        if not self.clients:
            self.settlement.unasked()

    @rule(us=st.integers(0, 2 * GRACE_US))
    def time_passes(self, us: int) -> None:
        """Less or more than the grace."""
        self.now_us += us

    @rule(busy_after_look=st.booleans())
    def turn(self, busy_after_look: bool = False) -> None:
        """One turn of the loop, as service/loop.py has it."""
        settlement = self.settlement
        before = settlement.state
        settlement.work(busy=bool(self.work))
        looks = settlement.advice in LOOKS
        number = self.kernel
        if looks or self.due:
            taken, self.due = self.due[:2], self.due[2:]
            drained = not self.due
            self.seen.update(taken)
            if taken:
                settlement.received()
                if busy_after_look:
                    self.work += 1
        settlement.work(busy=bool(self.work))
        if not looks:
            return
        missing = set(range(1, number + 1)) - self.seen
        settlement.looked(drained=drained, complete=not missing, now_us=self.now_us)
        if settlement.advice is Advice.DECLARE_LOST:
            assert missing <= self.vanished, "what is on its way is not lost"
            assert before is State.BLIND, "it was missed before"
            self.seen |= missing
            self.work += 1
            self.walks += 1
            settlement.lost()
        elif settlement.advice is Advice.CHECK_INDEX:
            self.work += not self.index_good
            settlement.index_checked(good=self.index_good)
        if settlement.advice is Advice.TELL:
            assert self.untold or self.clients or settlement.settles == 0
            settlement.told()
            self.untold, self.clients = False, 0
        if settlement.settled:
            assert not self.work
            assert not missing
            assert drained
            assert not self.clients
            assert not self.untold

    @rule()
    def all_becomes_quiet(self) -> None:
        """Work ends, the grace passes: soon it has settled, with one walk for all that is missing, if any."""
        self.client_asks()  # a gap that no later event shows is found when somebody wants to know
        walks, missing = self.walks, self.vanished - self.seen
        for _ in range(20 + 3 * len(self.due)):
            if self.work:
                self.work_ends()
            self.turn()
            self.now_us += GRACE_US // 4 if self.settlement.advice is Advice.LOOK_AGAIN else 1
        assert self.settlement.settled
        assert self.settlement.timeout_ms() == -1, "and sleeps"
        assert self.walks - walks == bool(missing)

    @invariant()
    def asking_changes_nothing(self) -> None:
        """Advice and timeout are answers only."""
        before = vars(self.settlement).copy()
        assert self.settlement.advice is self.settlement.advice
        assert self.settlement.timeout_ms() == self.settlement.timeout_ms()
        assert vars(self.settlement) == before


Machine.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
TestSettlement = Machine.TestCase
