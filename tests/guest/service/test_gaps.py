"""Sequence numbers that never come: those of other namespaces cost little, and what was lost is found all the same.

The daemon's own loop, on a kernel in simulated time (tests/support/simkernel.py).
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modaliasd.core.settlement import GRACE_US
from modaliasd.core.uevent.doubt import LONGEST_US, SHARE
from tests.support.fuzzing import examples
from tests.support.simkernel import SimKernel

SECOND = 1_000_000
TCG_WALK_US = 760_000  # a walk in an emulated guest, as it was when this was reported


@pytest.mark.parametrize("walk_us", [20_000, TCG_WALK_US])
@pytest.mark.slow
def test_settling_while_containers_come_and_go(walk_us: int) -> None:
    """12 numbers every 200 ms, a settle every second: each within 2 s, and walks take under 3 % of the time."""
    kernel = SimKernel(walk_us=walk_us)
    kernel.settle(2 * SECOND)
    walks = kernel.sysfs.walks
    kernel.keep_eating(200_000, 12)
    for _ in range(68):
        assert kernel.settle(2 * SECOND) <= walk_us + 3 * GRACE_US
        kernel.run(SECOND)
    assert (kernel.sysfs.walks - walks) * walk_us < 0.03 * 68 * SECOND
    assert kernel.records()[-1]["unseen"] > 0


def test_one_who_takes_numbers_as_fast_as_can_be() -> None:
    """A process in namespaces of its own can send events to itself, each of which takes a number."""
    kernel = SimKernel()
    kernel.keep_eating(10, 100)
    for _ in range(20):
        kernel.settle(2 * SECOND)
        kernel.plug(f"d{kernel.number}")
        kernel.run(100_000)
    assert not kernel.unknown()
    assert kernel.sysfs.walks <= 5


def test_an_idle_daemon_sleeps_while_others_take_numbers() -> None:
    """Nobody asks, nothing comes: no walk and no wake-up, but for the one that confirms what was believed."""
    kernel = SimKernel()
    kernel.keep_eating(1000, 3)
    kernel.settle(2 * SECOND)
    kernel.settle(2 * SECOND)
    kernel.run(2 * LONGEST_US)
    walks = kernel.sysfs.walks
    kernel.run(100 * LONGEST_US)
    assert kernel.sysfs.walks == walks
    assert kernel.service._timeout() == -1


def test_a_full_socket_has_a_walk_at_once_however_much_is_believed() -> None:
    """Trust in gaps is no trust in drops: after ENOBUFS the device is known at the very next settle."""
    kernel = SimKernel(room=4)
    kernel.eat(5)
    kernel.settle(2 * SECOND)
    kernel.eat(5)
    kernel.settle(2 * SECOND)
    assert kernel.doubt.believes(kernel.now_us)
    for number in range(10):
        kernel.plug(f"d{number}")
    kernel.settle(SECOND)
    assert not kernel.unknown()
    assert {r["reason"] for r in kernel.records() if r["type"] == "lost"} == {"gap", "overrun"}


def test_what_is_dropped_after_enobufs_was_told_is_counted() -> None:
    """Until all has been read the kernel drops on, and says nothing: its count does, and that has its walk, too."""
    kernel = SimKernel(room=64)
    kernel.eat(5)
    kernel.settle(2 * SECOND)
    for number in range(70):
        kernel.plug(f"d{number}")
    kernel.uevents.between_reads[50] = lambda: kernel.plug("behind")
    kernel.settle(SECOND)
    assert kernel.uevents.dropped == 7
    assert not kernel.unknown()
    assert [r["reason"] for r in kernel.records() if r["type"] == "lost"] == ["gap", "overrun", "overrun"]


def test_a_loss_that_nobody_counts_is_found_within_the_limit() -> None:
    """The kernel had no memory for an event: the gap is believed, and the walk that confirms it finds the device."""
    kernel = SimKernel()
    kernel.eat(1)
    kernel.settle(2 * SECOND)
    kernel.plug("silent", comes=False)
    kernel.settle(SECOND)
    assert kernel.unknown() == {"/devices/silent"}
    kernel.run(kernel.doubt.trust_us + SECOND)
    assert not kernel.unknown()


@pytest.mark.parametrize("happens", ["plug", "unplug"])
def test_a_walk_that_finds_something_is_followed_sooner(happens: str) -> None:
    """Trust that has grown falls back when a walk meets a device, or misses one, of which no event had told."""
    kernel = SimKernel()
    kernel.plug("there")
    for _ in range(4):
        kernel.eat(1)
        kernel.settle(2 * SECOND)
        kernel.run(kernel.doubt.trust_us + SECOND)
    grown = kernel.doubt.trust_us
    getattr(kernel, happens)("silent" if happens == "plug" else "there", comes=False)
    kernel.settle(2 * SECOND)
    kernel.run(grown + SECOND)
    assert not kernel.unknown()
    assert kernel.doubt.trust_us < grown


def test_an_event_that_is_on_its_way_is_waited_for() -> None:
    """A number is given out before its event is sent: one that comes within the grace costs no walk."""
    kernel = SimKernel()
    kernel.settle(SECOND)
    walks = kernel.sysfs.walks
    kernel.plug("late", late_us=GRACE_US // 2)
    kernel.plug("early")
    assert kernel.settle(SECOND) >= GRACE_US // 2
    assert not kernel.unknown()
    assert kernel.sysfs.walks == walks


NAMES = st.sampled_from([f"d{number}" for number in range(6)])
LATE = st.sampled_from([0, 0, 0, GRACE_US // 3, GRACE_US // 2, 20 * GRACE_US])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["plug", "unplug"]), NAMES, LATE, st.booleans()),
        st.tuples(st.just("eat"), st.integers(1, 50)),
        st.tuples(st.just("keep eating"), st.sampled_from([0, 500, 20_000]), st.integers(1, 20)),
        st.tuples(st.just("flood"), st.integers(1, 40)),
        st.tuples(st.just("run"), st.sampled_from([10, 1000, 30_000, GRACE_US * 2, 5 * SECOND])),
        st.tuples(st.just("settle")),
    ),
    max_size=30,
)


@settings(max_examples=examples(150), deadline=None)
@given(ACTIONS, st.sampled_from([2, 8, 64]), st.sampled_from([1000, 20_000, TCG_WALK_US]))
@pytest.mark.slow
def test_both_kinds_of_gaps(actions: list[tuple], room: int, walk_us: int) -> None:  # type: ignore[type-arg]
    """Whatever is eaten, dropped, late or lost in silence: a settle comes soon, all that came or was counted is known
    then (SimKernel.check), all the rest within the limit, and walks for gaps keep to their share.
    """
    kernel = SimKernel(room=room, walk_us=walk_us)
    for what, *values in actions:
        if what in {"plug", "unplug"}:
            name, late_us, comes = values
            getattr(kernel, what)(name, late_us=late_us, comes=comes)
        elif what == "eat":
            kernel.eat(*values)
        elif what == "keep eating":
            kernel.keep_eating(*values)
        elif what == "flood":
            for number in range(values[0]):
                kernel.plug(f"f{number}")
                kernel.unplug(f"f{number}")
        elif what == "run":
            kernel.run(*values)
        else:
            kernel.settle(10 * walk_us + 2 * SECOND)
    kernel.settle(10 * walk_us + 2 * SECOND)
    kernel.run(max(LONGEST_US, SHARE * 2 * walk_us) + SECOND)
    assert not kernel.unknown()
    records = kernel.records()
    gaps = [record["t_us"] for record in records if (record["type"], record.get("reason")) == ("walk", "gap")]
    for earlier, later in pairwise(gaps):
        assert later - earlier >= SHARE * walk_us
