"""The words of the kernel's command line that are about the network: text -> Words, with its problems. Pure.

    ip=      as the kernel has it where it configures the network itself (Documentation/admin-guide/nfs/nfsroot.rst),
             and as initramfs builders have extended it (dracut.cmdline(7)): a card and a method, a length for a mask,
             IPv6 in brackets, the MTU behind the method. Several words are for several cards.
    vlan=    NAME:CARD; the number is what the name ends in.
    nameserver=  an address; several add up.

What cannot be used stays at its default and becomes a problem, which the helper puts into the kernel's log. The words
may hold anything: whoever writes the command line need not have read this.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

LEAST_MTU = 576  # every IPv4 host takes that (RFC 791, 3.1); and what a lease may at least ask for
MOST_MTU = 65535
_MOST_FIELDS = 10  # of the kernel's
_SHOWN = 120  # characters of a word that a problem quotes
_WORD = re.compile(r'(?:[^ \t\n\v\f\r"]|"[^"]*"?)+')
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")
_HARDWARE = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_VLAN_ID = re.compile(r"[0-9]{1,4}\Z")
_CLASSES = ((128, 8), (192, 16), (224, 24))  # first byte below -> length of the mask, where none is given
_RESERVED = 240  # first byte from which on an address is nobody's


class Method(Enum):
    """How a card gets its addresses."""

    OFF = "off"
    STATIC = "static"
    DHCP = "dhcp"
    ROUTER = "auto6"  # IPv6, as routers advertise it; no DHCP
    LINK = "link6"  # IPv6 within the link, and nothing else


# The kernel's words, and dracut's for IPv6. On the right what is said of those that are only nearly what was asked for.
_METHODS: dict[str, tuple[Method, str]] = {
    "": (Method.DHCP, ""),
    "dhcp": (Method.DHCP, ""),
    "dhcp4": (Method.DHCP, ""),
    "on": (Method.DHCP, ""),
    "any": (Method.DHCP, ""),
    "both": (Method.DHCP, "BOOTP and RARP are not spoken; DHCP is used"),
    "bootp": (Method.DHCP, "BOOTP is not spoken; DHCP is used"),
    "rarp": (Method.DHCP, "RARP is not spoken; DHCP is used"),
    "off": (Method.OFF, ""),
    "none": (Method.OFF, ""),
    "auto6": (Method.ROUTER, ""),
    "either6": (Method.ROUTER, ""),
    "dhcp6": (Method.ROUTER, "DHCPv6 is not spoken; what routers advertise is used"),
    "link6": (Method.LINK, ""),
}


@dataclass(frozen=True, slots=True)
class Card:
    """What one `ip=` asks for. device: a link's name, "" for any. address: of STATIC, with prefix, the mask's length.

    gateway, hostname: "" for none. mtu: bytes, 0 for the card's own. servers: name servers. ntp: time servers.
    """

    device: str = ""
    method: Method = Method.DHCP
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    hostname: str = ""
    mtu: int = 0
    servers: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN (802.1Q) with this number, as the link `name` over the link `parent`."""

    name: str
    parent: str
    number: int


@dataclass(frozen=True, slots=True)
class Words:
    """All that the command line says. cards: in its order, () where there is no usable `ip=`. problems: a line each."""

    cards: tuple[Card, ...] = ()
    vlans: tuple[Vlan, ...] = ()
    servers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def parse_words(command_line: str) -> Words:
    """Parse /proc/cmdline. Of two `ip=` of a kind for one card, and of two `vlan=` of a name, the last counts."""
    cards: dict[tuple[str, object], Card] = {}
    vlans: dict[str, Vlan] = {}
    servers: list[str] = []
    problems: list[str] = []
    for name, value in _args(command_line):
        notes: list[str] = []
        shown = f"{name}={value}"[:_SHOWN]
        try:
            if name == "ip":
                card = _parse_card(value, notes)
                if (key := _key(card)) in cards:
                    notes.append("it replaces an earlier one for the same card")
                cards[key] = card
            elif name == "vlan":
                vlan = _parse_vlan(value)
                vlans[vlan.name] = vlan
            elif name == "nameserver":
                servers.append(_parse_server(value))
        except ValueError as e:
            problems.append(f"`{shown}` is ignored: {e}")
            continue
        problems += [f"`{shown}`: {note}" for note in notes]
    return Words(tuple(cards.values()), tuple(vlans.values()), tuple(dict.fromkeys(servers)), tuple(problems))


def _args(command_line: str) -> list[tuple[str, str]]:
    """Split at white space outside of double quotes, and drop these (lib/cmdline.c, next_arg)."""
    words = (word.replace('"', "") for word in _WORD.findall(command_line))
    return [(name, value) for name, equals, value in (word.partition("=") for word in words) if equals]


def _key(card: Card) -> tuple[str, object]:
    """Return what two words must have in common to contradict each other: IPv4 and IPv6 do not."""
    if not card.address:
        return card.device, card.method in (Method.ROUTER, Method.LINK)
    return card.device, ":" in card.address


def _parse_card(value: str, notes: list[str]) -> Card:
    """Parse what stands behind `ip=`. Raises ValueError with what was expected; `notes` gets what is let pass."""
    fields = _fields(value)
    if len(fields) == 1 and (method := _method(fields[0], notes)):
        return Card(method=method)
    if len(fields) > 1 and fields[0] and fields[1] and not _is_address(fields[0]):
        method = _method(fields[1], notes)
        if method is None:
            raise ValueError(f"expected CARD:METHOD, with one of {', '.join(filter(None, _METHODS))}")
        return Card(_device(fields[0]), method, mtu=_behind_method(fields[2:], notes).mtu)
    address, _server, gateway, mask, hostname, device, method_word, *rest = (*fields, *[""] * 7)[
        : max(7, len(fields))
    ]
    method = _method(method_word, notes)
    if method is None:
        raise ValueError(f"expected a method: one of {', '.join(filter(None, _METHODS))}")
    behind = _behind_method(rest, notes)
    if hostname and not _HOST_NAME.fullmatch(hostname):
        notes.append("the host name is invalid, and is not set")
        hostname = ""
    device = _device(device) if device else ""
    own = _address(address, "the client's address") if address else ""
    if not own:  # 0.0.0.0 is how boot loaders write nothing
        return Card(device, method, "", 0, "", hostname, behind.mtu, behind.servers, behind.ntp)
    prefix = _prefix(own, mask)
    router = _gateway(gateway, own, notes) if gateway else ""
    return Card(device, Method.STATIC, own, prefix, router, hostname, behind.mtu, behind.servers, behind.ntp)


def _gateway(text: str, own: str, notes: list[str]) -> str:
    """Check a gateway; an address is worth having without one."""
    try:
        router = _address(text, "the gateway")
    except ValueError as e:
        notes.append(f"there will be no gateway: {e}")
        return ""
    if router and (":" in router) != (":" in own):
        notes.append("there will be no gateway: it is of the other IP version than the address")
        return ""
    return router


def _behind_method(fields: list[str], notes: list[str]) -> Card:
    """Parse what follows the method: the kernel's name and time servers, or dracut's MTU and hardware address."""
    if fields and _HARDWARE.fullmatch(":".join(fields[-6:])) and len(fields) in (6, 7):
        notes.append("a card keeps its own hardware address")
        fields = fields[:-6]
    if fields and fields[0].isascii() and fields[0].isdigit():
        mtu = int(fields[0][:6])
        if not LEAST_MTU <= mtu <= MOST_MTU:
            notes.append(f"the MTU is left as it is: expected {LEAST_MTU} to {MOST_MTU}")
            mtu = 0
        return Card(mtu=mtu)
    servers: list[str] = []
    for field, what in zip(fields, ("a name server", "a name server", "a time server"), strict=False):
        try:
            servers.append(_address(field, what) if field else "")
        except ValueError as e:
            notes.append(str(e))
            servers.append("")
    return Card(servers=tuple(filter(None, dict.fromkeys(servers[:2]))), ntp=tuple(filter(None, servers[2:])))


def _fields(value: str) -> list[str]:
    """Split at colons outside of brackets, which stand around addresses of IPv6 and are dropped."""
    fields, inside = [""], False
    for character in value[:1024]:
        if character == "[" and not inside and not fields[-1]:
            inside = True
        elif character == "]" and inside:
            inside = False
        elif character == ":" and not inside:
            fields.append("")
        else:
            fields[-1] += character
    if len(fields) > _MOST_FIELDS + 4:  # dracut's form with a hardware address has more than the kernel's
        raise ValueError(f"expected at most {_MOST_FIELDS} fields; IPv6 addresses stand in [brackets]")
    return fields


def _method(word: str, notes: list[str]) -> Method | None:
    """Return the method that a word names, None if it is none."""
    name, comma, _client_id = word.partition(",")
    if comma and name == "dhcp":
        notes.append("a client identifier is not sent: the hardware address is")
    elif comma:
        return None
    method, note = _METHODS.get(name, (None, ""))
    if note:
        notes.append(note)
    return method


def _device(name: str) -> str:
    """Check a link's name (net/core/dev.c, dev_valid_name)."""
    good = name and name.isprintable() and not set(name) & set("/: %") and name not in (".", "..")
    if not good or len(name.encode("utf-8", "replace")) > 15:
        raise ValueError("expected a card's name, such as eth0")
    return name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(text: str, what: str) -> str:
    """Check an address that is one machine's; "" for the unspecified one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{what} is not an IP address") from None
    if address.is_unspecified:
        return ""
    reserved = address.version == 4 and address.packed[0] >= _RESERVED
    if address.is_multicast or address.is_loopback or reserved or "%" in text:
        raise ValueError(f"{what} cannot be one machine's")
    return str(address)


def _prefix(address: str, mask: str) -> int:
    """Return the mask's length. Where there is none: the address's class, as the kernel takes it; of IPv6 all bits."""
    version_6 = ":" in address
    if not mask:
        first = 0 if version_6 else int(address.partition(".")[0])
        return 128 if version_6 else next(length for limit, length in _CLASSES if first < limit)
    if mask.isascii() and mask.isdigit() and len(mask) <= 3:
        length = int(mask)
        if 0 < length <= (128 if version_6 else 32):
            return length
    elif not version_6:
        try:
            bits = int(ipaddress.IPv4Address(mask))
        except ValueError:
            bits = 0
        ones = bits.bit_count()
        if ones and bits == (1 << 32) - (1 << (32 - ones)):
            return ones
    raise ValueError("expected a netmask, such as 255.255.255.0 or 24")


def _parse_vlan(value: str) -> Vlan:
    name, colon, parent = value.partition(":")
    if not colon:
        raise ValueError("expected NAME:CARD, such as eth0.5:eth0")
    digits = _VLAN_ID.search(name)
    if not digits or not 0 < int(digits.group()) < 4095:
        raise ValueError("expected a name that ends in the VLAN's number, 1 to 4094")
    if _device(name) == _device(parent):
        raise ValueError("a VLAN cannot lie over itself")
    return Vlan(name, parent, int(digits.group()))


def _parse_server(value: str) -> str:
    text = value.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast or "%" in text:
        raise ValueError("expected the IP address of a name server")
    return str(address)
