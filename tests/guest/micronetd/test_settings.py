"""What a lease means for a link: micronetd/settings.py."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronetd.routes import StaticRoute
from micronetd.settings import Settings, describe, resolv_conf, settings_of, settings_of_card
from micronetd.words import Card, Method

# What QEMU's user network answers (net/slirp.c), as pyroute2 reads it.
QEMU = {
    "subnet_mask": "255.255.255.0",
    "router": ["10.0.2.2"],
    "name_server": ["10.0.2.3"],
    "lease_time": 86400,
}


def test_qemus_lease() -> None:
    """Address, network, gateway and name server; the line that is logged."""
    settings = settings_of("10.0.2.15", QEMU)
    assert settings == Settings("10.0.2.15", 24, "10.0.2.2", on_link=False, servers=("10.0.2.3",))
    assert describe("eth0", settings, "DHCP") == "eth0 has 10.0.2.15/24 by DHCP, gateway 10.0.2.2"


def test_a_closed_network_has_no_gateway() -> None:
    """With restrict=on QEMU gives neither a gateway nor a name server."""
    settings = settings_of("10.0.2.15", {"subnet_mask": "255.255.255.0"})
    assert (settings.gateway, settings.servers) == (None, ())
    assert describe("eth0", settings, "DHCP") == "eth0 has 10.0.2.15/24 by DHCP, no gateway"


def test_a_gateway_outside_of_the_network_is_on_the_link() -> None:
    """Clouds give a /32 and a gateway beside it; the kernel takes such a route only with RTNH_F_ONLINK."""
    cloud = {"subnet_mask": "255.255.255.255", "router": ["10.128.0.1"]}
    assert settings_of("10.128.0.9", cloud) == Settings("10.128.0.9", 32, "10.128.0.1", on_link=True)


def test_classless_routes_stand_in_for_the_router() -> None:
    """RFC 3442: where option 121 is there, option 3 is not minded, whether a default route is among its own or not."""
    lease = QEMU | {"classless_static_route": [8, 10, 10, 0, 2, 9]}
    settings = settings_of("10.0.2.15", lease)
    assert (settings.gateway, settings.routes) == (None, (StaticRoute("10.0.0.0/8", "10.0.2.9"),))
    assert describe("eth0", settings, "DHCP") == "eth0 has 10.0.2.15/24 by DHCP, no gateway, 1 route more"
    lease["classless_static_route"] = [0, 10, 0, 2, 7, 32, 169, 254, 169, 254, 0, 0, 0, 0]
    settings = settings_of("10.0.2.15", lease)
    assert (settings.gateway, settings.routes) == (
        "10.0.2.7",
        (StaticRoute("169.254.169.254/32", "0.0.0.0"),),
    )


def test_routes_that_are_none_leave_the_router() -> None:
    """A malformed option counts as absent; a way over the link's own address is none."""
    for bad in ([33, 1, 2, 3, 4, 5, 1, 2, 3, 4], [8, 10], [8, 10, 10, 0, 2, 15], ["8"], "8", [300]):
        settings = settings_of("10.0.2.15", QEMU | {"classless_static_route": bad})
        assert (settings.gateway, settings.routes) == ("10.0.2.2", ())


def test_without_a_mask_nothing_is_known_of_the_network() -> None:
    """The classes of RFC 791 are not guessed."""
    assert settings_of("10.1.2.3", {}).prefix == 32


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "127.0.0.1", "", "fe80::1"])
def test_what_is_no_address_for_a_link_is_refused(address: str) -> None:
    """A lease for nobody, for a group, for this machine itself."""
    with pytest.raises(ValueError, match=r"[Aa]ddress|4 octets"):
        settings_of(address, QEMU)


def test_resolv_conf_has_each_server_once_in_the_links_order() -> None:
    """Two links with a server in common; a link without one changes nothing."""
    first = settings_of("10.0.2.15", QEMU | {"domain_name": "example.org"})
    second = settings_of("10.0.3.15", QEMU | {"name_server": ["10.0.2.3", "10.0.3.3"]})
    lines = resolv_conf([], [first, Settings("10.9.9.9", 24), second]).splitlines()[1:]
    assert lines == ["search example.org", "nameserver 10.0.2.3", "nameserver 10.0.3.3"]
    assert len(resolv_conf([], []).splitlines()) == 1


def test_what_the_command_line_says_comes_before_the_lease() -> None:
    """Its MTU instead of the lease's, its servers in front; the search list before the domain."""
    options = QEMU | {
        "interface_mtu": 1450,
        "domain_name": "example.org",
        "domain_search": "lab.example example.org bad..name",
        "ntp_servers": ["10.0.2.4", "127.0.0.1"],
    }
    lease = settings_of("10.0.2.15", options)
    assert (lease.mtu, lease.domains, lease.ntp) == (1450, ("lab.example", "example.org"), ("10.0.2.4",))
    own = settings_of("10.0.2.15", options, Card(mtu=1400, servers=("10.9.9.9",), ntp=("10.9.9.8",)))
    assert (own.mtu, own.servers, own.ntp) == (1400, ("10.9.9.9", "10.0.2.3"), ("10.9.9.8", "10.0.2.4"))
    assert describe("eth0", own, "DHCP") == "eth0 has 10.0.2.15/24 by DHCP, gateway 10.0.2.2, MTU 1400"
    assert settings_of("10.0.2.15", QEMU | {"interface_mtu": [1]}).mtu == 0


def test_a_static_card_is_its_own_settings() -> None:
    """With a gateway inside its network and outside of it; of a card without an address what else it has."""
    card = Card("eth0", Method.STATIC, "10.0.0.5", 24, "10.0.0.1", servers=("10.0.0.53",))
    assert settings_of_card(card) == Settings("10.0.0.5", 24, "10.0.0.1", servers=("10.0.0.53",))
    outside = Card("eth0", Method.STATIC, "2001:db8::5", 128, "2001:db8::1")
    assert settings_of_card(outside) == Settings("2001:db8::5", 128, "2001:db8::1", on_link=True)
    assert settings_of_card(Card(method=Method.ROUTER, mtu=1400)) == Settings(mtu=1400)


def test_the_command_lines_servers_come_first() -> None:
    """Each once, before every link's."""
    text = resolv_conf(("192.0.2.1",), [Settings(servers=("10.0.0.1", "192.0.2.1"))])
    assert text.splitlines()[1:] == ["nameserver 192.0.2.1", "nameserver 10.0.0.1"]


names = st.text(max_size=80) | st.from_regex(r"[a-z.-]{1,10}\n?nameserver .*")


@given(names, st.lists(st.text(max_size=20) | st.ip_addresses(v=4).map(str), max_size=4))
def test_a_server_cannot_write_lines_of_its_own(domain: str, servers: list[str]) -> None:
    """Whatever stands in the options, resolv.conf holds search lines of names and nameserver lines of addresses."""
    text = resolv_conf([], [settings_of("10.0.2.15", {"domain_name": domain, "name_server": servers})])
    for line in text.splitlines()[1:]:
        keyword, value = line.split(" ")
        if keyword == "search":
            assert value == domain
            assert value.isascii()
            continue
        assert keyword == "nameserver"
        assert str(ipaddress.IPv4Address(value)) in servers


masks = st.sampled_from(["255.255.255.0", "255.0.255.0", "0.0.0.0", "not a mask", "24"])


@given(st.ip_addresses(v=4).map(str) | st.text(max_size=20), masks | st.integers() | st.none())
def test_a_lease_gives_settings_or_a_value_error(address: str, mask: object) -> None:
    """Nothing that comes from the network raises anything else."""
    try:
        settings = settings_of(address, {"subnet_mask": mask})
    except ValueError:
        return
    assert 0 <= settings.prefix <= 32
    assert settings.address == address
