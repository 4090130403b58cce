"""What the search for the root file system asks of the daemon: service/clients/root.py."""

from typing import Any

import pytest

from modaliasd.core.inventory import Arrivals
from modaliasd.core.loading.priority import Rank
from modaliasd.service.clients.root import CONSIDERATION_US, RootRequests


class World:
    """The daemon's other parts, as far as the requests need them."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.modules: list[str] = []
        self.held: list[Rank | None] = []
        self.now = 1_000_000
        self.asks = 0
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[int, dict[str, Any]] = {}

    def stuck(self) -> list[str]:
        """What is slow."""
        return self.modules

    def hold(self, worst: Rank | None) -> None:
        """Note what waits."""
        self.held.append(worst)

    def asked(self) -> None:
        """Count."""
        self.asks += 1

    def flush(self) -> None:
        """Do nothing."""

    def write(self, kind: str, fields: dict[str, Any]) -> None:
        """Keep the line."""
        self.lines.append((kind, fields))

    def answer(self, client: int, fields: dict[str, Any]) -> None:
        """Keep the answer."""
        self.answers[client] = fields


@pytest.fixture
def world() -> tuple[World, RootRequests]:
    """A world, and the requests in it."""
    made = World()
    parts: dict[str, Any] = dict.fromkeys(("registry", "loader", "settlement", "ledger", "writer"), made)
    return made, RootRequests(**parts, clock=lambda: made.now, answer=made.answer)


Both = tuple[World, RootRequests]


def test_devices_answer_at_once(world: Both) -> None:
    """What has come since is told with how much that is; who knows all of it waits."""
    made, requests = world
    made.arrivals.note("vda")
    made.arrivals.note("vda1")
    assert requests.blocks(3, ["1", "settled"]) is None
    assert requests.blocks(4, ["2", "ever"]) is None
    requests.attend()
    assert made.answers == {3: {"ok": True, "seen": 2, "devices": ["vda1"]}}


def test_while_a_device_is_looked_at_nothing_is_started(world: Both) -> None:
    """From the answer on, until the next request or the time is up; what runs gives way meanwhile."""
    made, requests = world
    requests.blocks(3, ["0", "settled"])
    assert made.held == [Rank.BUS]
    assert not requests.considering()
    made.arrivals.note("vda")
    requests.attend()
    assert requests.considering()
    assert made.held == [Rank.BUS, Rank.FIRST]
    assert requests.times_us() == [made.now + CONSIDERATION_US]
    made.now += CONSIDERATION_US
    assert not requests.considering()
    requests.blocks(3, ["1", "settled"])
    assert made.held == [Rank.BUS, Rank.FIRST, Rank.BUS]


def test_a_settle_counts_for_those_who_asked_before(world: Both) -> None:
    """Who asked after what the settle is about waits for the next; who waits for a time, or for ever, is not told."""
    made, requests = world
    requests.blocks(3, ["0", "settled"])
    requests.blocks(4, ["0", "5"])
    made.now += 10
    requests.blocks(5, ["0", "settled"])
    requests.settled(made.now - 5)
    assert set(made.answers) == {3}
    assert made.answers[3]["settled"] is True
    assert made.asks == 3, "the one that is left has asked for another"


def test_a_device_that_came_with_the_settle_is_told_first(world: Both) -> None:
    """Its uevent and the settle fall into one turn of the loop: the answer has the device, and no end."""
    made, requests = world
    requests.blocks(3, ["0", "settled"])
    made.arrivals.note("vda")
    requests.settled(made.now + 5)
    assert made.answers == {3: {"ok": True, "seen": 1, "devices": ["vda"]}}


def test_slow_loads_are_told_once(world: Both) -> None:
    """When nothing but loads known to be slow is left, that is news; the same again is not."""
    made, requests = world
    made.modules = ["megaraid_sas"]
    requests.blocks(3, ["0", "settled"])
    requests.attend()
    assert made.answers.pop(3)["stuck"] == ["megaraid_sas"]
    requests.blocks(3, ["0", "settled"])
    requests.attend()
    assert made.answers == {}


def test_a_time_that_is_up(world: Both) -> None:
    """It is told, and the loop is woken for it."""
    made, requests = world
    requests.blocks(3, ["0", "2.5"])
    assert requests.times_us() == [made.now + 2_500_000]
    made.now += 2_500_000
    requests.attend()
    assert made.answers[3]["late"] is True


def test_the_ledgers_line(world: Both) -> None:
    """Fields come as one word each, details add up; what is not known is refused."""
    made, requests = world
    words = ["outcome=lost", "message=no%20disk", "fix="]
    requests.details(3, ["a%20b"])
    requests.details(3, ["c"])
    assert requests.root(3, words) is None
    assert made.lines == [("root", {"outcome": "lost", "message": "no disk", "details": ["a b", "c"]})]
    assert made.held[-1] is None
    assert "unknown field" in (requests.root(3, ["colour=red"]) or "")
    assert "missing" in (requests.root(3, ["message=x"]) or "")


def test_leaving(world: Both) -> None:
    """Asked to end, nothing is let go that is held."""
    made, requests = world
    requests.root(3, ["outcome=mounted", "then=leave"])
    assert requests.leaving
    assert made.held == []


@pytest.mark.parametrize("words", [[], ["x", "settled"], ["0"], ["0", "never"], ["0", "-1"], ["0", "nan"]])
def test_what_makes_no_sense_is_refused(world: Both, words: list[str]) -> None:
    """With what was expected."""
    _made, requests = world
    assert (requests.blocks(3, words) or "").startswith("blocks: ")


def test_who_has_gone_is_forgotten(world: Both) -> None:
    """A client whose connection has ended is not answered."""
    made, requests = world
    requests.blocks(3, ["0", "settled"])
    requests.forget(3)
    made.arrivals.note("vda")
    requests.attend()
    assert made.answers == {}
    assert not requests.waits


def test_a_disk_that_comes_with_the_settle_is_told(world: Both) -> None:
    """It was seen in the loop's turn that settled: who waits hears of the disk first, and of a settle another time."""
    made, requests = world
    requests.blocks(3, ["0", "settled"])
    made.arrivals.note("vda")
    requests.settled(made.now)
    requests.attend()
    assert made.answers.pop(3) == {"ok": True, "seen": 1, "devices": ["vda"]}
    requests.blocks(3, ["1", "settled"])
    requests.settled(made.now)
    assert made.answers == {3: {"ok": True, "seen": 1, "devices": [], "settled": True}}
