"""What a lease, an `ip=` word or a router means for a link: addresses, route, name servers, search domains. Pure.

The options are those of RFC 2132, under the names that pyroute2 gives them. They come from the network, so nothing of
them is taken that is not what it has to be.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from micronetd.answers import is_usable
from micronetd.domains import MOST_NAMES, is_name
from micronetd.routes import StaticRoute, parse_routes
from micronetd.words import LEAST_MTU, MOST_MTU, Method

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from micronetd.words import Card

# Of the default routes, plus the link's index: several links have one each, and the first link's counts.
METRIC = 1000
RESOLV_CONF_MARK = "# written by micronetd"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a link gets from one source. address: "" for none of its own; prefix: its length.

    on_link: the gateway is outside of the link's network, as clouds have it with a /32. mtu: bytes, 0 for as it is.
    ntp: time servers. routes: ways beside the default one.
    """

    address: str = ""
    prefix: int = 0
    gateway: str | None = None
    on_link: bool = False
    servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    mtu: int = 0
    ntp: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()

    def is_near(self, gateway: str) -> bool:
        """Tell whether a gateway is in the link's own network."""
        return ipaddress.ip_address(gateway) in ipaddress.ip_network(
            f"{self.address}/{self.prefix}", strict=False
        )


def settings_of(address: str, options: Mapping[str, object], card: Card | None = None) -> Settings:
    """Return the settings of a lease; what the command line says of the card comes first. Raises ValueError for a lease
    without a usable address.
    """
    own = ipaddress.IPv4Address(address)
    if not is_usable(address):
        raise ValueError(f"{address} is not a usable address for a link")
    network = ipaddress.IPv4Network((own, _prefix(options.get("subnet_mask"))), strict=False)
    routes = _routes(options.get("classless_static_route"), str(own))
    # where there are such routes, the default one is among them or there is none (RFC 3442)
    routers = (
        [one.gateway for one in routes if one.is_default] if routes else _addresses(options.get("router"))
    )
    gateway = next((one for one in routers if one != str(own)), None)
    search = options.get("domain_search")
    names = [*(search.split(" ") if isinstance(search, str) else []), options.get("domain_name")]
    return Settings(
        address=str(own),
        prefix=network.prefixlen,
        gateway=gateway,
        on_link=gateway is not None and ipaddress.IPv4Address(gateway) not in network,
        servers=_unique(card.servers if card else (), _addresses(options.get("name_server"))),
        domains=_unique(name for name in names if isinstance(name, str) and is_name(name)),
        mtu=card.mtu if card and card.mtu else _mtu(options.get("interface_mtu")),
        ntp=_unique(card.ntp if card else (), _addresses(options.get("ntp_servers"))),
        routes=tuple(one for one in routes if not one.is_default),
    )


def settings_of_card(card: Card) -> Settings:
    """Return the settings that stand on the command line itself, without those of a lease."""
    if card.method is not Method.STATIC:
        return Settings(mtu=card.mtu, servers=card.servers, ntp=card.ntp)
    network = ipaddress.ip_interface(f"{card.address}/{card.prefix}").network
    outside = bool(card.gateway) and ipaddress.ip_address(card.gateway) not in network
    return Settings(
        address=card.address,
        prefix=card.prefix,
        gateway=card.gateway or None,
        on_link=outside,
        servers=card.servers,
        mtu=card.mtu,
        ntp=card.ntp,
    )


def describe(name: str, settings: Settings, source: str) -> str:
    """Say in a line what a link got, and from where."""
    gateway = f"gateway {settings.gateway}" if settings.gateway else "no gateway"
    mtu = f", MTU {settings.mtu}" if settings.mtu else ""
    count = len(settings.routes)
    routes = f", {count} route{'s' * (count > 1)} more" if count else ""
    return f"{name} has {settings.address}/{settings.prefix} by {source}, {gateway}{routes}{mtu}"


def resolv_conf(first: Iterable[str], links: Iterable[Settings]) -> str:
    """Return the text of resolv.conf(5): the servers of the command line, then all links', the first link's first."""
    links = list(links)
    lines = [RESOLV_CONF_MARK]
    domains = _unique(domain for one in links for domain in one.domains)[:MOST_NAMES]
    if domains:
        lines.append(f"search {' '.join(domains)}")
    lines += [f"nameserver {server}" for server in _unique(first, *(one.servers for one in links))]
    return "\n".join(lines) + "\n"


def _unique(*several: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for some in several for one in some))


def _mtu(value: object) -> int:
    return value if isinstance(value, int) and LEAST_MTU <= value <= MOST_MTU else 0


def _prefix(mask: object) -> int:
    """Return the length of a mask's prefix; 32 where there is none (RFC 2132, 3.3): nothing is known of the network.

    A mask with holes, or of no bits at all, is none. Nor is one that is upside down, as ipaddress would take it.
    """
    try:
        bits = int(ipaddress.IPv4Address(mask))
    except ValueError:
        return 32
    ones = bits.bit_count()
    return ones if ones and bits == (1 << 32) - (1 << (32 - ones)) else 32


def _routes(value: object, own: str) -> tuple[StaticRoute, ...]:
    """Return the routes of option 121, given as its bytes' numbers; none leads over the link's own address."""
    if not isinstance(value, list) or not all(isinstance(one, int) and 0 <= one < 256 for one in value):
        return ()
    return tuple(one for one in parse_routes(bytes(value)) if one.gateway != own)


def _addresses(value: object) -> list[str]:
    """Return the IPv4 addresses of an option that holds a list of them; what is no machine's is left out."""
    entries = value if isinstance(value, list) else []
    return [one for one in entries if isinstance(one, str) and is_usable(one)]
