"""Which `ip=` words a link follows: micronetd/plan.py."""

from hypothesis import given
from hypothesis import strategies as st

from micronetd.plan import Plan
from micronetd.words import Card, Method, Vlan, parse_words


def plan(command_line: str) -> Plan:
    return Plan(parse_words(command_line))


def test_without_a_usable_word_every_link_leases() -> None:
    """Nothing on the command line, and nothing but a mistake on it, are the same."""
    for line in ("quiet", "ip=dchp", "vlan=x nameserver=1.1.1.1"):
        assert plan(line).cards(2, "eth0") == [Card()]
        assert plan(line).cards(3, "eth1") == [Card()]


def test_what_is_named_is_configured_and_nothing_else() -> None:
    """A word for eth1: eth0 is not even set up."""
    asked = plan("ip=eth1:dhcp")
    assert asked.cards(3, "eth1") == [Card("eth1")]
    assert asked.cards(2, "eth0") == []
    assert not asked.minds(2, "eth0")


def test_words_without_a_card_are_for_the_others() -> None:
    """`ip=dhcp` is for every link but the one that has a word of its own, even if that is `off`."""
    asked = plan("ip=dhcp ip=eth1:off ip=auto6")
    assert [card.method for card in asked.cards(2, "eth0")] == [Method.DHCP, Method.ROUTER]
    assert asked.cards(3, "eth1") == []
    assert plan("ip=off").cards(2, "eth0") == []


def test_an_address_without_a_card_is_the_first_links_until_it_goes() -> None:
    """A second link does not get it; when the first is gone, the next that shows does."""
    asked = plan("ip=10.0.0.5:::24")
    assert [card.address for card in asked.cards(2, "eth0")] == ["10.0.0.5"]
    assert asked.cards(3, "eth1") == []
    asked.release(2)
    assert [card.address for card in asked.cards(4, "eth0")] == ["10.0.0.5"]
    assert asked.cards(3, "eth1") == []


def test_a_vlans_parent_is_set_up_without_a_word_of_its_own() -> None:
    """It carries the VLAN and has no address."""
    asked = plan("vlan=eth0.5:eth0 ip=eth0.5:dhcp")
    assert asked.vlans_over("eth0") == [Vlan("eth0.5", "eth0", 5)]
    assert asked.minds(2, "eth0")
    assert asked.cards(2, "eth0") == []
    assert asked.is_vlan("eth0.5")
    assert not asked.is_vlan("eth0")


def test_the_hosts_name_is_the_first_that_a_word_has() -> None:
    """Of words with and without a card."""
    assert plan("ip=::::box::dhcp").hostname == "box"
    assert plan("ip=::::one:eth1:dhcp ip=::::two:eth0:dhcp").hostname == "one"
    assert plan("ip=dhcp").hostname == ""


events = st.lists(st.tuples(st.integers(2, 5), st.booleans()), max_size=30)


@given(events)
def test_an_address_is_on_one_link_at_a_time(history: list[tuple[int, bool]]) -> None:
    """Whatever comes and goes; and while any link is asking, somebody has it."""
    asked = plan("ip=10.0.0.5:::24 ip=10.0.0.6:::24::eth9:off")
    holder: int | None = None
    for index, goes in history:
        if goes:
            asked.release(index)
            holder = None if holder == index else holder
            continue
        has = bool(asked.cards(index, f"eth{index - 2}"))
        if holder is None:
            holder = index
        assert has == (holder == index)
