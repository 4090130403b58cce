"""Classless static routes of DHCP: micronetd/routes.py."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronetd.routes import StaticRoute, parse_routes, routes_bytes

# the destinations and descriptors of RFC 3442's own table, each with the router 10.0.0.1
TABLE = {
    "0.0.0.0/0": [0],
    "10.0.0.0/8": [8, 10],
    "10.0.0.0/24": [24, 10, 0, 0],
    "10.17.0.0/16": [16, 10, 17],
    "10.27.129.0/24": [24, 10, 27, 129],
    "10.229.0.128/25": [25, 10, 229, 0, 128],
    "10.198.122.47/32": [32, 10, 198, 122, 47],
}
ROUTER = [10, 0, 0, 1]


def test_the_rfcs_own_table() -> None:
    """Each line alone, and all in one option; made anew they are the same bytes."""
    for to, descriptor in TABLE.items():
        assert parse_routes(bytes(descriptor + ROUTER)) == (StaticRoute(to, "10.0.0.1"),)
    whole = bytes(number for descriptor in TABLE.values() for number in descriptor + ROUTER)
    routes = parse_routes(whole)
    assert [one.to for one in routes] == list(TABLE)
    assert [one.is_default for one in routes] == [True, *[False] * 6]
    assert routes_bytes(routes, 255) == whole
    assert routes_bytes(routes, 12) == whole[:11], "a route that has no room is not cut"


@pytest.mark.parametrize(
    ("value", "routes"),
    [
        ([8, 10, *ROUTER, 8], ()),  # cut off behind a good one
        ([33, 1, 2, 3, 4, 5, *ROUTER], ()),
        ([8, 10, 10, 0, 0], ()),
        ([9, 10, 255, *ROUTER], (StaticRoute("10.128.0.0/9", "10.0.0.1"),)),  # bits beyond the width
        ([8, 10, *ROUTER, 8, 10, 10, 0, 0, 2], (StaticRoute("10.0.0.0/8", "10.0.0.1"),)),
        ([4, 224, *ROUTER], ()),
        ([1, 128, *ROUTER], (StaticRoute("128.0.0.0/1", "10.0.0.1"),)),  # half of everything
        ([32, 127, 0, 0, 1, *ROUTER], ()),
        ([8, 10, 127, 0, 0, 1], ()),
        ([8, 10, 255, 255, 255, 255], ()),
        ([8, 10, 0, 0, 0, 0], (StaticRoute("10.0.0.0/8", "0.0.0.0"),)),
        ([], ()),
    ],
)
def test_what_is_no_route_is_left_out(value: list[int], routes: tuple[StaticRoute, ...]) -> None:
    """A malformed option is none at all; left out are ways to groups, to this machine, and over no router."""
    assert parse_routes(bytes(value)) == routes


@given(st.binary(max_size=400), st.integers(0, 255))
def test_whatever_comes_is_routes_or_none(value: bytes, room: int) -> None:
    """No bytes raise; what comes out can be set, is each once, and survives being made anew."""
    routes = parse_routes(value)
    assert len({one.to for one in routes}) == len(routes)
    for one in routes:
        assert str(ipaddress.IPv4Network(one.to)) == one.to
        assert not ipaddress.IPv4Address(one.gateway).is_multicast
    made = routes_bytes(routes, room)
    assert len(made) <= room
    assert parse_routes(made) == routes[: len(parse_routes(made))]
