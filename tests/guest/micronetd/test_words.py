"""The words of the kernel's command line that are about the network: micronetd/words.py."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from micronetd.words import LEAST_MTU, MOST_MTU, Card, Method, Vlan, Words, parse_words

DHCP, STATIC, OFF, ROUTER, LINK = Method.DHCP, Method.STATIC, Method.OFF, Method.ROUTER, Method.LINK


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # nfsroot.rst: one word; all fields; what is empty has its default
        ("", Card()),
        ("dhcp", Card()),
        ("on", Card()),
        ("any", Card()),
        ("off", Card(method=OFF)),
        ("none", Card(method=OFF)),
        ("::::::", Card()),
        (":::::eth0:dhcp", Card("eth0")),
        (":::::eth0", Card("eth0")),
        (":::::eth0:off", Card("eth0", OFF)),
        ("::::box:eth0:dhcp", Card("eth0", hostname="box")),
        (
            ":::::eth0:dhcp:10.0.0.53:10.0.0.54:10.0.0.123",
            Card("eth0", servers=("10.0.0.53", "10.0.0.54"), ntp=("10.0.0.123",)),
        ),
        (
            "10.0.0.5::10.0.0.1:255.255.255.0:box:eth0:off",
            Card("eth0", STATIC, "10.0.0.5", 24, "10.0.0.1", "box"),
        ),
        (
            "10.0.0.5:10.0.0.9:10.0.0.1:255.255.255.0:box:eth0:none:10.0.0.53",
            Card("eth0", STATIC, "10.0.0.5", 24, "10.0.0.1", "box", servers=("10.0.0.53",)),
        ),
        ("0.0.0.0:::::eth0:dhcp", Card("eth0")),
        # with an address there is nothing to ask for (net/ipv4/ipconfig.c, ip_auto_config)
        ("10.0.0.5:::::eth0:dhcp", Card("eth0", STATIC, "10.0.0.5", 8)),
        # the mask of the address's class, where there is none
        ("10.0.0.5", Card("", STATIC, "10.0.0.5", 8)),
        ("172.16.0.5", Card("", STATIC, "172.16.0.5", 16)),
        ("192.168.0.5", Card("", STATIC, "192.168.0.5", 24)),
        # dracut.cmdline(7)
        ("eth0:dhcp", Card("eth0")),
        ("eth0:on", Card("eth0")),
        ("eth0:off", Card("eth0", OFF)),
        ("eth0:auto6", Card("eth0", ROUTER)),
        ("eth0:link6", Card("eth0", LINK)),
        ("eth0:dhcp:9000", Card("eth0", mtu=9000)),
        ("10.0.0.5::10.0.0.1:24::eth0:off:1400", Card("eth0", STATIC, "10.0.0.5", 24, "10.0.0.1", mtu=1400)),
        (
            "[2001:db8::5]::[2001:db8::1]:64::eth0:none",
            Card("eth0", STATIC, "2001:db8::5", 64, "2001:db8::1"),
        ),
        (
            "[2001:db8::5]:::::eth0:none:[2001:db8::53]",
            Card("eth0", STATIC, "2001:db8::5", 128, servers=("2001:db8::53",)),
        ),
        ("auto6", Card(method=ROUTER)),
        ('":::::eth0:dhcp"', Card("eth0")),
    ],
)
def test_an_ip_word_becomes_a_card(value: str, expected: Card) -> None:
    """The kernel's forms and dracut's; nothing is wrong with any of these."""
    assert parse_words(f"quiet ip={value} root=/dev/vda") == Words(cards=(expected,))


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("ip=dchp", "the client's address is not an IP address"),
        ("ip=eth0:dchp", "expected CARD:METHOD"),
        ("ip=300.0.0.5", "the client's address is not an IP address"),
        ("ip=127.0.0.1", "cannot be one machine's"),
        ("ip=224.0.0.1", "cannot be one machine's"),
        ("ip=255.255.255.255", "cannot be one machine's"),
        ("ip=240.0.0.1", "cannot be one machine's"),
        ("ip=10.0.0.5:::255.0.255.0", "expected a netmask"),
        ("ip=10.0.0.5:::33", "expected a netmask"),
        ("ip=10.0.0.5:::0", "expected a netmask"),
        ("ip=[2001:db8::5]:::129", "expected a netmask"),
        ("ip=[fe80::5%eth0]:::64", "cannot be one machine's"),
        ("ip=2001:db8::5", "CARD:METHOD"),
        ("ip=10.0.0.5::::::stattic", "expected a method"),
        ("ip=10.0.0.5:::::averyveryverylongname:off", "expected a card's name"),
        ("ip=10.0.0.5:::::..:off", "expected a card's name"),
        ("ip=eth/0:dhcp", "expected a card's name"),
        ("ip=" + ":" * 40, "expected at most 10 fields"),
        ("vlan=eth0.5", "expected NAME:CARD"),
        ("vlan=lan:eth0", "ends in the VLAN's number"),
        ("vlan=eth0.0:eth0", "1 to 4094"),
        ("vlan=eth0.4095:eth0", "1 to 4094"),
        ("vlan=eth0.5:", "expected a card's name"),
        ("vlan=eth0.5:eth0.5", "cannot lie over itself"),
        ("nameserver=example.org", "expected the IP address of a name server"),
        ("nameserver=0.0.0.0", "expected the IP address of a name server"),
    ],
)
def test_a_word_that_cannot_be_used_is_told_of_and_left_out(word: str, why: str) -> None:
    """The problem names the word and what was expected; the words around it count."""
    words = parse_words(f"ip=eth9:dhcp {word}")
    assert (words.cards, words.vlans, words.servers) == ((Card("eth9"),), (), ())
    [problem] = words.problems
    assert problem.startswith(f"`{word}"[:100])
    assert "is ignored" in problem
    assert why in problem


@pytest.mark.parametrize(
    ("value", "expected", "why"),
    [
        ("bootp", Card(), "BOOTP is not spoken"),
        ("eth0:dhcp6", Card("eth0", ROUTER), "DHCPv6 is not spoken"),
        ("dhcp,0,name", Card(), "client identifier"),
        ("eth0:dhcp:100", Card("eth0"), "the MTU is left as it is"),
        ("eth0:dhcp:1400:52:54:00:00:00:01", Card("eth0", mtu=1400), "hardware address"),
        ("eth0:dhcp::52:54:00:00:00:01", Card("eth0"), "hardware address"),
        ("10.0.0.5::nowhere:24", Card("", STATIC, "10.0.0.5", 24), "no gateway"),
        ("10.0.0.5::[fe80::1]:24", Card("", STATIC, "10.0.0.5", 24), "no gateway"),
        ("10.0.0.5:::24:a_b!:", Card("", STATIC, "10.0.0.5", 24), "the host name"),
        (":::::eth0:dhcp:one", Card("eth0"), "a name server is not an IP address"),
    ],
)
def test_a_field_that_cannot_be_used_leaves_the_others(value: str, expected: Card, why: str) -> None:
    """The card is configured as far as it goes, and the log says what is left out."""
    words = parse_words(f"ip={value}")
    assert words.cards == (expected,)
    assert why in words.problems[0]


def test_several_words_are_for_several_cards() -> None:
    """In their order; IPv4 and IPv6 of one card go together, two addresses of a kind do not."""
    words = parse_words("ip=eth1:dhcp ip=10.0.0.5:::24::eth0:off ip=[2001:db8::5]:::64::eth0:off ip=eth1:off")
    assert [(card.device, card.method) for card in words.cards] == [
        ("eth1", OFF),
        ("eth0", STATIC),
        ("eth0", STATIC),
    ]
    assert words.problems == ("`ip=eth1:off`: it replaces an earlier one for the same card",)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("vlan=eth0.5:eth0", Vlan("eth0.5", "eth0", 5)),
        ("vlan=eth0.0005:eth0", Vlan("eth0.0005", "eth0", 5)),
        ("vlan=vlan4094:lan", Vlan("vlan4094", "lan", 4094)),
    ],
)
def test_a_vlans_number_is_what_its_name_ends_in(word: str, expected: Vlan) -> None:
    """All four ways that dracut names them."""
    assert parse_words(word) == Words(vlans=(expected,))


def test_name_servers_add_up() -> None:
    """Each once, with and without brackets; one on this machine itself is as good as any."""
    assert parse_words("nameserver=10.0.0.53 nameserver=[::1] nameserver=10.0.0.53").servers == (
        "10.0.0.53",
        "::1",
    )


def test_other_words_are_none_of_ours() -> None:
    """Names count as a whole and as they are written."""
    assert parse_words("skip=dhcp ip IP=dhcp ip6=x nfs.ip=dhcp -- vlan nameserver") == Words()


pieces = st.sampled_from(
    [
        "ip=",
        "vlan=",
        "nameserver=",
        "eth0",
        ":",
        "::",
        "[",
        "]",
        "dhcp",
        "off",
        "auto6",
        "10.0.0.5",
        "fe80::1",
        "24",
        '"',
        " ",
        ",",
        "52",
        "%",
        "\x00",
    ]
)
lines = st.lists(pieces | st.text(max_size=6), max_size=30).map("".join)


@given(lines | st.text(max_size=200).map("ip={}".format))
@example("ip=²:dhcp ip=eth0:dhcp:² ip=10.0.0.5:::²")
@example("ip=\udcff:dhcp vlan=\udcff5:\udcff")
@example("ip=[[[[")
@example("ip=eth0:dhcp:" + "9" * 5000)
@example("vlan=eth0.٥:eth0")
def test_no_word_does_harm(line: str) -> None:
    """Whatever stands there: no exception, only values of their kinds, short problems."""
    words = parse_words(line)
    for card in words.cards:
        assert len(card.device) <= 15
        assert not set(card.device) & set("/ :%")
        assert card.mtu == 0 or LEAST_MTU <= card.mtu <= MOST_MTU
        assert (card.method is STATIC) == bool(card.address)
        for address in filter(None, (card.address, card.gateway, *card.servers, *card.ntp)):
            assert not ipaddress.ip_address(address).is_unspecified
        if card.address:
            ipaddress.ip_interface(f"{card.address}/{card.prefix}")
    for vlan in words.vlans:
        assert 0 < vlan.number < 4095
    assert all(len(problem) < 400 for problem in words.problems)


addresses_4 = st.ip_addresses(v=4, network="10.0.0.0/8").filter(lambda a: int(a) != 10 << 24).map(str)
names = st.from_regex(r"[a-z]{1,8}[0-9.]{0,3}", fullmatch=True)


@given(
    addresses_4,
    addresses_4 | st.just(""),
    st.integers(1, 32),
    names,
    st.integers(LEAST_MTU, MOST_MTU) | st.just(0),
)
def test_what_is_written_is_read(address: str, gateway: str, prefix: int, device: str, mtu: int) -> None:
    """A static card, written with a mask as the kernel has it, comes back as it was."""
    mask = ipaddress.IPv4Network((0, prefix)).netmask
    word = f"ip={address}::{gateway}:{mask}::{device}:off" + (f":{mtu}" if mtu else "")
    assert parse_words(word) == Words(cards=(Card(device, STATIC, address, prefix, gateway, mtu=mtu),))
