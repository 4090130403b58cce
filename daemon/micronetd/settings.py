"""What a lease means for a link: its address, its route, its name servers. Pure.

The options are those of RFC 2132, under the names that pyroute2 gives them. They come from the network, so nothing of
them is taken that is not what it has to be.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from micronetd.answers import is_usable

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
    if not is_usable(address):
        raise ValueError(f"{address} is not a usable address for a link")
    network = ipaddress.IPv4Network((own, _prefix(options.get("subnet_mask"))), strict=False)
    gateway = next((one for one in _addresses(options.get("router")) if one != str(own)), None)
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


def _addresses(value: object) -> list[str]:
    """Return the IPv4 addresses of an option that holds a list of them; what is no machine's is left out."""
    entries = value if isinstance(value, list) else []
    return [one for one in entries if isinstance(one, str) and is_usable(one)]
