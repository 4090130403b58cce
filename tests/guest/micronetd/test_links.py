"""Which link wants what: micronetd/links.py."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronetd.links import Do, Link, Links, Step
from micronetd.plan import Plan
from micronetd.words import Words, parse_words

NIC = Link(index=2, name="eth0")
UP = replace(NIC, up=True)
RUNNING = replace(UP, carrier=True)


def done(steps: list[Step]) -> list[tuple[Do, str]]:
    return [(step.do, step.name) for step in steps]


def test_a_new_card_is_set_up_and_leases_once_it_has_a_carrier() -> None:
    """The kernel's messages of a card that comes: there, up, running. One more, with nothing new, does nothing."""
    links = Links(Plan(Words()))
    assert done(links.see(NIC)) == [(Do.SET_UP, "eth0")]
    assert links.see(UP) == []
    assert done(links.see(RUNNING)) == [(Do.CONFIGURE, "eth0")]
    assert links.see(RUNNING) == []


def test_a_link_that_is_up_already_leases_at_once() -> None:
    """A helper that is started again finds the links as its predecessor left them."""
    assert done(Links(Plan(Words())).see(RUNNING)) == [(Do.CONFIGURE, "eth0")]


@pytest.mark.parametrize(
    "link",
    [replace(RUNNING, ethernet=False), replace(RUNNING, device=False), replace(RUNNING, port=True)],
    ids=["loopback", "bridge or dummy", "port of a bridge"],
)
def test_some_links_are_none_of_ours(link: Link) -> None:
    """What is not Ethernet, has no device behind it, or belongs to a bridge is never touched."""
    links = Links(Plan(Words()))
    assert links.see(link) == []
    assert links.gone(link.index) == []


def test_a_carrier_that_goes_and_comes() -> None:
    """Without a carrier the address goes; with it a lease is asked for again, and what was known stays."""
    links = Links(Plan(Words()))
    links.see(RUNNING)
    assert done(links.see(UP)) == [(Do.LET_GO, "eth0")]
    assert done(links.see(RUNNING)) == [(Do.CONFIGURE, "eth0")]


def test_who_sets_a_link_down_has_a_reason() -> None:
    """A link that was up is not set up again; once somebody does, it gets a lease."""
    links = Links(Plan(Words()))
    links.see(RUNNING)
    assert done(links.see(NIC)) == [(Do.LET_GO, "eth0")]
    assert links.see(NIC) == []
    assert done(links.see(RUNNING)) == [(Do.CONFIGURE, "eth0")]


def test_an_unplugged_card_is_forgotten() -> None:
    """The lease ends and is no longer known; the same index is then another card."""
    links = Links(Plan(Words()))
    links.see(RUNNING)
    assert done(links.gone(2)) == [(Do.LET_GO, "eth0"), (Do.FORGET, "eth0")]
    assert links.gone(2) == []
    assert done(links.see(NIC)) == [(Do.SET_UP, "eth0")]


def test_a_link_that_becomes_a_port_lets_go() -> None:
    """The bridge has the address then; and when the link leaves the bridge, it leases again."""
    links = Links(Plan(Words()))
    links.see(RUNNING)
    assert done(links.see(replace(RUNNING, port=True))) == [(Do.LET_GO, "eth0")]
    assert done(links.see(RUNNING)) == [(Do.CONFIGURE, "eth0")]


def test_a_renamed_link_starts_anew() -> None:
    """A lease is kept under a name: the old one is let go of, the new one leases."""
    links = Links(Plan(Words()))
    links.see(RUNNING)
    steps = links.see(replace(RUNNING, name="lan"))
    assert done(steps) == [(Do.LET_GO, "eth0"), (Do.FORGET, "eth0"), (Do.CONFIGURE, "lan")]


def test_a_vlan_is_added_once_its_card_is_set_up() -> None:
    """The card has no word of its own, and gets no address; the VLAN over it is a link like others."""
    links = Links(Plan(parse_words("vlan=eth0.5:eth0 ip=eth0.5:dhcp")))
    assert done(links.see(NIC)) == [(Do.SET_UP, "eth0"), (Do.ADD_VLANS, "eth0")]
    assert links.see(UP) == []
    vlan = Link(index=3, name="eth0.5")
    assert done(links.see(vlan)) == [(Do.SET_UP, "eth0.5")]
    assert done(links.see(replace(vlan, up=True, carrier=True))) == [(Do.CONFIGURE, "eth0.5")]
    # a helper that is started again does not know whether the VLAN is there
    assert Step(Do.ADD_VLANS, 2, "eth0") in Links(Plan(parse_words("vlan=eth0.5:eth0"))).see(RUNNING)


def test_a_link_that_no_word_is_for_is_left_alone() -> None:
    """Not set up, not configured, not even where somebody else sets it up."""
    links = Links(Plan(parse_words("ip=eth1:dhcp")))
    assert links.see(NIC) + links.see(RUNNING) + links.gone(2) == []


def test_an_address_without_a_card_goes_on_to_the_next_that_shows() -> None:
    """The link that had it is unplugged; the one that has none stays without."""
    links = Links(Plan(parse_words("ip=10.0.0.5:::24")))
    assert done(links.see(RUNNING)) == [(Do.CONFIGURE, "eth0")]
    second = replace(RUNNING, index=3, name="eth1")
    assert links.see(second) == []
    links.gone(2)
    assert done(links.see(replace(RUNNING, index=4))) == [(Do.CONFIGURE, "eth0")]
    assert links.see(second) == []


messages = st.builds(
    Link,
    index=st.integers(1, 3),
    name=st.sampled_from(["eth0", "eth1", "lan"]),
    ethernet=st.booleans(),
    device=st.booleans(),
    port=st.booleans(),
    up=st.booleans(),
    carrier=st.booleans(),
)


@given(st.lists(messages | st.integers(1, 3), max_size=30))
def test_leases_begin_and_end_in_turn(history: list[Link | int]) -> None:
    """Whatever the kernel says, a link leases only while it may, and never twice at a time; a link is set up once."""
    links, leasing, set_up = Links(Plan(Words())), dict[int, str](), set[int]()
    for event in history:
        gone = isinstance(event, int)
        index = event if isinstance(event, int) else event.index
        for step in links.gone(index) if isinstance(event, int) else links.see(event):
            assert step.index == index
            if step.do is Do.CONFIGURE:
                assert index not in leasing
                leasing[index] = step.name
            elif step.do is Do.LET_GO:
                assert leasing.pop(index) == step.name
            elif step.do is Do.SET_UP:
                assert index not in set_up
                set_up.add(index)
        if gone:
            set_up.discard(index)
        may = not isinstance(event, int) and event.wanted and event.up and event.carrier
        assert (index in leasing) == may
