"""core/uevent/doubt.py: when a number that never came is believed to have gone elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modaliasd.core.uevent.doubt import LONGEST_US, SHARE, SHORTEST_US, Doubt
from tests.support.fuzzing import examples

WALK_US = 20_000


def walk(doubt: Doubt, now_us: int, *, took_us: int = WALK_US, found: bool = False) -> int:
    """A walk for a gap; when it ends."""
    doubt.walked(begun_us=now_us, ended_us=now_us + took_us, for_gap=True, found=found)
    return now_us + took_us


def test_the_first_gap_has_a_walk() -> None:
    """Nothing is believed before a walk has shown that there is nothing behind a gap."""
    doubt = Doubt()
    assert not doubt.believes(0)
    assert not doubt.is_due(10**12)
    end = walk(doubt, 0)
    assert doubt.believes(end)
    assert not doubt.believes(end + max(SHORTEST_US, SHARE * WALK_US))


def test_what_was_believed_is_confirmed_in_time() -> None:
    """A gap that was believed has a walk when the time is up, once, and not without a gap."""
    doubt = Doubt()
    end = walk(doubt, 0)
    assert doubt.timeout_ms(end) == -1
    doubt.believed(end + 5)
    due = end + doubt.trust_us
    assert (due - end - 5) / 1000 <= doubt.timeout_ms(end + 5) < (due - end - 5) / 1000 + 1
    assert (doubt.is_due(due - 1), doubt.is_due(due)) == (False, True)
    end = walk(doubt, due)
    assert not doubt.is_due(end + LONGEST_US)
    assert doubt.timeout_ms(end + LONGEST_US) == -1


def test_a_walk_confirms_only_what_was_believed_before_it() -> None:
    """A gap that shows while a walk is under way may be of an event that it could not see."""
    doubt = Doubt()
    end = walk(doubt, 0)
    doubt.believed(end + 10)
    doubt.walked(begun_us=end + 5, ended_us=end + 20, for_gap=False, found=False)
    assert doubt.timeout_ms(end + 20) > 0
    doubt.walked(begun_us=end + 30, ended_us=end + 40, for_gap=False, found=False)
    assert doubt.timeout_ms(end + 40) == -1


def test_walks_that_find_nothing_come_ever_more_seldom_and_one_that_does_soon_again() -> None:
    """The time doubles up to its limit, and falls back to the shortest when a walk has found something."""
    doubt, now, limits = Doubt(), 0, []
    for _ in range(12):
        now = walk(doubt, now)
        limits.append(doubt.trust_us)
        now += doubt.trust_us
    first = max(SHORTEST_US, SHARE * WALK_US)
    assert limits == [min(first << n, LONGEST_US) for n in range(12)]
    walk(doubt, now, found=True)
    assert doubt.trust_us == first


@pytest.mark.parametrize("took_us", [100, 20_000, 760_000, 20_000_000])
def test_walks_have_a_fixed_share(took_us: int) -> None:
    """However long a walk takes, and whatever it finds, the next one for a gap is so far away."""
    doubt = Doubt()
    for found in (False, True, True, False):
        walk(doubt, 0, took_us=took_us, found=found)
        assert doubt.trust_us >= SHARE * took_us
        assert doubt.trust_us <= max(LONGEST_US, SHARE * took_us)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400_000_000), st.integers(1, 2_000_000), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_nothing_stays_believed_for_longer_than_the_limit(steps: list[tuple[int, int, bool, bool]]) -> None:
    """Gaps at any time, walks when they are due: each gap has its walk at once, or begun by the limit, and not sooner
    than the share allows.
    """
    doubt, now, open_since, walked_us, last_took = Doubt(), 0, -1, -1, 0
    for pause, took, gap, found in steps:
        left_ms = doubt.timeout_ms(now)
        if 0 <= left_ms * 1000 <= pause:  # the loop wakes for it
            now += left_ms * 1000
            assert doubt.is_due(now)
            assert now - open_since <= doubt.trust_us + 1000
            assert now - walked_us >= SHARE * last_took
            now, last_took, open_since = walk(doubt, now, took_us=took, found=found), took, -1
            walked_us = now
        now += pause
        if not gap:
            continue
        if doubt.believes(now):
            doubt.believed(now)
            open_since = now if open_since < 0 else open_since
        else:
            now, last_took, open_since = walk(doubt, now, took_us=took, found=found), took, -1
            walked_us = now


def test_the_clocks_beginning_is_a_time_as_any_other() -> None:
    """What is believed at 0 is confirmed like the rest."""
    doubt = Doubt()
    assert doubt.timeout_ms(0) == -1
    assert not doubt.is_due(0)
    doubt.believed(0)
    assert doubt.is_due(0)
    assert doubt.timeout_ms(0) == 0
