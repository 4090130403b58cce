"""What a lease means for a link: its address, its route, its name servers. Pure.

The options are those of RFC 2132, under the names that pyroute2 gives them. They come from the network, so nothing of
them is taken that is not what it has to be.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Of the default routes, plus the link's index: several links have one each, and the first link's counts.
METRIC = 1000
RESOLV_CONF_MARK = "# written by micronetd from DHCP leases"

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a link gets. on_link: the gateway is outside of the link's network, as clouds have it with a /32."""

    address: str
    prefix: int
    gateway: str | None = None
    on_link: bool = False
    servers: tuple[str, ...] = ()
    domain: str = ""


def settings_of(address: str, options: Mapping[str, object]) -> Settings:
    """Return the settings of a lease. Raises ValueError for one without a usable address."""
    own = ipaddress.IPv4Address(address)
    if own.is_unspecified or own.is_multicast or own.is_loopback:
        raise ValueError(f"{address} is not a usable address for a link")
    # without the option (RFC 2132, 3.3) nothing is known of the network
    network = ipaddress.IPv4Network(f"{own}/{options.get('subnet_mask', '255.255.255.255')}", strict=False)
    gateway = next(iter(_addresses(options.get("router"))), None)
    domain = options.get("domain_name")
    return Settings(
        address=str(own),
        prefix=network.prefixlen,
        gateway=gateway,
        on_link=gateway is not None and ipaddress.IPv4Address(gateway) not in network,
        servers=tuple(_addresses(options.get("name_server"))),
        domain=domain if isinstance(domain, str) and _HOST_NAME.fullmatch(domain) else "",
    )


def describe(name: str, settings: Settings) -> str:
    """Say in a line what a link got."""
    gateway = f"gateway {settings.gateway}" if settings.gateway else "no gateway"
    return f"{name} has {settings.address}/{settings.prefix} by DHCP, {gateway}"


def resolv_conf(leases: Iterable[Settings]) -> str:
    """Return the text of resolv.conf(5) for the leases of all links, the first link's servers first."""
    leases = list(leases)
    lines = [RESOLV_CONF_MARK]
    domains = dict.fromkeys(one.domain for one in leases if one.domain)
    if domains:
        lines.append(f"search {' '.join(domains)}")
    lines += dict.fromkeys(f"nameserver {server}" for one in leases for server in one.servers)
    return "\n".join(lines) + "\n"


def _addresses(value: object) -> list[str]:
    """Return the IPv4 addresses of an option that holds a list of them; what is none is left out."""
    found = []
    for one in value if isinstance(value, list) else []:
        try:
            address = ipaddress.IPv4Address(one)
        except ValueError:
            continue
        if not address.is_unspecified:
            found.append(str(address))
    return found
