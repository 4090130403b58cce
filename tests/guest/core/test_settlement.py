"""core/settlement.py: never settled while something is pending, always settled once all is quiet."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modaliasd.core.settlement import (
    ADVICE,
    GRACE_US,
    TRANSITIONS,
    Advice,
    Event,
    Settlement,
    State,
)
from tests.support.fuzzing import examples

LOOKS = (Advice.READ_SOCKET, Advice.LOOK_AGAIN)


def look(settlement: Settlement, now_us: int = 0, *, drained: bool = True, complete: bool = True) -> None:
    """The socket was read."""
    number = settlement.target if settlement.advice is Advice.LOOK_AGAIN else now_us
    settlement.looked(drained=drained, complete=complete, number=number, now_us=now_us)


def idle_and_complete(settlement: Settlement) -> None:
    """Nothing is under way, and every event has come."""
    settlement.work(busy=False)
    look(settlement)


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
    assert (settlement.advice, settlement.timeout_ms(0)) == (Advice.NOTHING, -1)
    settlement.work(busy=False)
    assert (settlement.advice, settlement.timeout_ms(0)) == (Advice.READ_SOCKET, 0)
    look(settlement)
    assert (settlement.advice, settlement.settled) == (Advice.CHECK_INDEX, False)
    settlement.index_checked(good=True)
    assert (settlement.advice, settlement.settled, settlement.settles) == (Advice.TELL, True, 0)
    settlement.told()
    assert (settlement.advice, settlement.timeout_ms(0), settlement.settles) == (Advice.NOTHING, -1, 1)


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
    """It is waited for as long as the grace lasts, or until something comes, and judged after that, not before."""
    settlement = Settlement()
    settlement.work(busy=False)
    for now_us in (1000, 1000 + GRACE_US // 2, 1000 + GRACE_US):
        look(settlement, now_us, complete=False)
        assert settlement.advice is Advice.LOOK_AGAIN
        left_us = 1000 + GRACE_US - now_us
        assert left_us < settlement.timeout_ms(now_us) * 1000 <= left_us + 1000
    look(settlement, 1001 + GRACE_US, complete=False)
    assert (settlement.advice, settlement.timeout_ms(0)) == (Advice.JUDGE_GAP, 0)
    settlement.lost()
    assert settlement.advice is Advice.READ_SOCKET


def test_a_gap_that_is_believed_ends_in_a_settle() -> None:
    """Without another look, which might find the next number missing: it has settled as of the first."""
    settlement = settled()
    settlement.asked()
    look(settlement, 1000, complete=False)
    look(settlement, 1001 + GRACE_US, complete=False)
    settlement.believed()
    assert (settlement.advice, settlement.target, settlement.as_of_us) == (Advice.TELL, 1000, 1000)


def test_others_that_go_on_taking_numbers_do_not_move_the_target() -> None:
    """While a number is missing, those that the kernel gives out later have no say."""
    settlement = settled()
    settlement.received()
    for now_us in range(1000, 1000 + GRACE_US, 5000):
        look(settlement, now_us, complete=False)
        assert settlement.target == 1000
    look(settlement, 1000 + GRACE_US)
    assert (settlement.settled, settlement.target) == (True, 1000)


@pytest.mark.parametrize("between", ["more", "work", "complete"])
def test_the_grace_begins_anew(between: str) -> None:
    """What was in the socket, work, or the number itself ends the wait; another gap has its whole grace."""
    settlement = settled()
    settlement.received()
    look(settlement, complete=False)
    if between == "more":
        look(settlement, GRACE_US, drained=False, complete=False)
    elif between == "work":
        settlement.work(busy=True)
        settlement.work(busy=False)
    else:
        look(settlement, GRACE_US)
        assert settlement.settled
        settlement.received()
    look(settlement, 2 * GRACE_US, complete=False)
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
    come. Every look takes at most two datagrams, as the real one takes a batch. `trusting`: gaps are believed.
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
        self.clients: list[int] = []  # since when each waits
        self.walks = 0
        self.trusting = False
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

    @rule(count=st.integers(1, 3))
    def kernel_loses(self, count: int) -> None:
        """Events take numbers and never come."""
        self.vanished.update(range(self.kernel + 1, self.kernel + count + 1))
        self.kernel += count

    @rule()
    def trust_ends(self) -> None:
        """The last walk for a gap was too long ago."""
        self.trusting = False

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
        self.clients.append(self.now_us)
        self.settlement.asked()
        assert not self.settlement.settled

    @precondition(lambda self: self.clients)
    @rule()
    def client_leaves(self) -> None:
        """Or does not any more."""
        self.clients.pop()
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
        number = settlement.target if settlement.advice is Advice.LOOK_AGAIN else self.kernel
        now_us = self.now_us
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
        settlement.looked(drained=drained, complete=not missing, number=number, now_us=now_us)
        if settlement.advice is Advice.JUDGE_GAP:
            assert missing <= self.vanished, "what is on its way is not lost"
            assert before is State.BLIND, "it was missed before"
            if self.trusting:
                self.seen |= missing
                settlement.believed()
            else:
                self.seen |= set(range(1, self.kernel + 1)) - set(self.due)
                self.trusting = True
                self.work += 1
                self.walks += 1
                settlement.lost()
        if settlement.advice is Advice.CHECK_INDEX:
            self.work += not self.index_good
            settlement.index_checked(good=self.index_good)
        if settlement.settled:
            assert not self.work
            assert set(range(1, settlement.target + 1)) <= self.seen
            assert drained
        if settlement.advice is Advice.TELL:
            assert self.untold or self.clients or settlement.settles == 0
            settlement.told()
            self.untold = False
            self.clients = [since for since in self.clients if since > settlement.as_of_us]
            if self.clients:
                settlement.asked()

    @rule(eating=st.booleans())
    def all_becomes_quiet(self, eating: bool) -> None:
        """Work ends, the grace passes: soon it has settled, with one walk at most for all that is missing.

        eating: somebody goes on taking numbers all the while, and that changes nothing.
        """
        self.client_asks()  # a gap that no later event shows is found when somebody wants to know
        walks, trusting, missing = self.walks, self.trusting, self.vanished - self.seen
        for _ in range(30 + 3 * len(self.due)):
            if eating:
                self.kernel_loses(1)
            if self.work:
                self.work_ends()
            self.turn()
            if self.settlement.advice is Advice.NOTHING and not self.work:
                break
            self.now_us += GRACE_US // 4 if self.settlement.advice is Advice.LOOK_AGAIN else 1
        assert self.settlement.settled
        assert not self.clients
        assert not self.untold
        assert self.settlement.timeout_ms(self.now_us) == -1, "and sleeps"
        if not eating:
            assert self.walks - walks == (bool(missing) and not trusting)
        assert self.walks - walks <= 1

    @invariant()
    def asking_changes_nothing(self) -> None:
        """Advice and timeout are answers only."""
        before = vars(self.settlement).copy()
        assert self.settlement.advice is self.settlement.advice
        assert self.settlement.timeout_ms(self.now_us) == self.settlement.timeout_ms(self.now_us)
        assert vars(self.settlement) == before


Machine.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
TestSettlement = Machine.TestCase


def test_each_settle_that_is_told_is_counted() -> None:
    """Two that were told are two; one that is no news is none."""
    settlement = settled()
    advised = []
    for hear in (settlement.happened, settlement.received):
        hear()
        look(settlement)
        advised.append(settlement.advice)
        settlement.told()
        assert settlement.settles == 1 + len(advised)
    assert advised == [Advice.TELL, Advice.NOTHING]
