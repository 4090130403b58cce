"""core/uevent/sequence.py and core/inventory.py."""

from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.device import Device
from modaliasd.core.inventory import Inventory
from modaliasd.core.uevent.sequence import MOST_GAPS, Sequence


@given(st.permutations(range(11, 31)))
def test_any_order_is_reached_with_the_last_missing_one(numbers: list[int]) -> None:
    """However events are mixed up, nothing is missing when all have come, and something is before that."""
    sequence = Sequence(10)
    for number in numbers:
        assert not sequence.reached(30)
        sequence.saw(number)
    assert sequence.reached(30)
    assert sequence.last == 30


@given(st.sets(st.integers(11, 40), min_size=1))
def test_what_never_came_is_counted(came: set[int]) -> None:
    """A walk forgives exactly the numbers that did not come, up to the kernel's count; later it has made them good."""
    sequence = Sequence(10)
    for number in sorted(came):
        sequence.saw(number)
    assert sequence.forgive(40) == 30 - len(came)
    assert sequence.reached(40)
    assert sequence.lost == 30 - len(came)
    sequence.made_good()
    assert (sequence.lost, sequence.recovered) == (0, 30 - len(came))


@given(st.lists(st.integers(11, 60), max_size=40), st.integers(5, 70))
def test_gaps_are_the_numbers_that_have_not_come(numbers: list[int], up_to: int) -> None:
    """Against a set of numbers: what is missing, what is reached, and what is counted as unseen when it is believed."""
    sequence, seen = Sequence(10), set(range(1, 11))
    for number in numbers:
        assert sequence.saw(number) == (number <= max(seen))
        seen.add(number)
    assert sequence.missing == len(set(range(1, max(seen))) - seen)
    missing = set(range(1, up_to + 1)) - seen
    assert sequence.reached(up_to) == (not missing)
    sequence.believe(up_to)
    assert sequence.unseen == len(missing)
    assert sequence.reached(up_to)
    seen |= missing
    assert sequence.missing == len(set(range(1, max(seen))) - seen)


def test_a_leap_does_not_fill_the_memory() -> None:
    """A gap costs the same whatever its width, and there are MOST_GAPS at most: of more, the oldest are believed."""
    sequence = Sequence(0)
    sequence.saw(1 << 40)
    assert sequence.missing == (1 << 40) - 1
    assert sequence.saw(5)
    assert sequence.last == 1 << 40
    for number in range(MOST_GAPS):
        sequence.saw((1 << 40) + 2 * (number + 1))
    assert len(sequence._gaps) == MOST_GAPS
    assert sequence.unseen + sequence.missing == (1 << 40) - 2 + MOST_GAPS


def test_news_is_a_modalias_that_was_not_matched_before() -> None:
    """A device that comes again with the same modalias is no news, with another one it is, without one never."""
    inventory = Inventory()
    assert inventory.see(Device("/devices/a", modalias="x"))[1]
    assert not inventory.see(Device("/devices/a", modalias="x", driver="d"))[1]
    assert inventory.see(Device("/devices/a", modalias="y"))[1]
    assert not inventory.see(Device("/devices/b"))[1]


def test_a_move_takes_along_what_is_below() -> None:
    """A renamed device and all below it stand at the new path; one whose name only begins so stays."""
    inventory = Inventory()
    for path in ("/devices/a", "/devices/a/child", "/devices/ab"):
        inventory.see(Device(path))
    inventory.move("/devices/a", Device("/devices/z"))
    assert sorted(entry.device.devpath for entry in inventory) == [
        "/devices/ab",
        "/devices/z",
        "/devices/z/child",
    ]


def test_counts() -> None:
    """Devices, with a modalias, matched, bound; a removed one is in none of them."""
    inventory = Inventory()
    entry, _news = inventory.see(Device("/devices/a", modalias="x"))
    entry.modules = ("m",)
    inventory.see(Device("/devices/b", modalias="y"))
    inventory.see(Device("/devices/c"))
    inventory.bind("/devices/a", "driver")
    assert tuple(inventory.counts()) == (3, 2, 1, 1)
    inventory.bind("/devices/a", "")
    inventory.remove("/devices/b")
    inventory.bind("/devices/b", "driver")
    assert inventory.find("/devices/b") is None
    assert tuple(inventory.counts()) == (2, 1, 1, 0)
