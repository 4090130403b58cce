"""Classless static routes of DHCP (option 121, RFC 3442): taken apart and made anew. Pure.

    a width in bits, as many octets of the destination as that takes, the router; and so on

A router of 0.0.0.0 means that the destination is on the link itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ON_LINK = "0.0.0.0"  # noqa: S104 - an address in an option, and nothing is bound to it
_HERE, _NOWHERE = ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv4Network("224.0.0.0/3")


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A way to a network. to: "10.0.0.0/8". gateway: ON_LINK for none."""

    to: str
    gateway: str

    @property
    def is_default(self) -> bool:
        """Is it the way to everywhere?"""
        return self.to.endswith("/0")


def parse_routes(value: bytes) -> tuple[StaticRoute, ...]:
    """Return the routes, each destination's first; none where the option is malformed.

    Bits beyond the width count as 0. Left out: ways to groups or this machine, and over what can be no router.
    """
    found: dict[str, StaticRoute] = {}
    at = 0
    while at < len(value):
        width = value[at]
        octets = (width + 7) // 8
        end = at + 1 + octets + 4
        if width > 32 or end > len(value):
            return ()
        address = int.from_bytes(value[at + 1 : at + 1 + octets].ljust(4, b"\0"), "big")
        network = ipaddress.IPv4Network((address & ~((1 << (32 - width)) - 1), width))
        gateway = ipaddress.IPv4Address(value[end - 4 : end])
        if _is_somewhere(network) and _is_router(gateway) and str(network) not in found:
            found[str(network)] = StaticRoute(str(network), str(gateway))
        at = end
    return tuple(found.values())


def routes_bytes(routes: tuple[StaticRoute, ...], room: int) -> bytes:
    """Return an option with these routes, as many as have room in so many bytes."""
    data = b""
    for route in routes:
        network = ipaddress.IPv4Network(route.to)
        octets = network.network_address.packed[: (network.prefixlen + 7) // 8]
        one = bytes([network.prefixlen]) + octets + ipaddress.IPv4Address(route.gateway).packed
        if len(data) + len(one) > room:
            break
        data += one
    return data


def _is_somewhere(network: ipaddress.IPv4Network) -> bool:
    return not (network.subnet_of(_HERE) or network.subnet_of(_NOWHERE))


def _is_router(address: ipaddress.IPv4Address) -> bool:
    return address.is_unspecified or not (address in _HERE or address in _NOWHERE)
