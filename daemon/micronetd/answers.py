"""DHCP answers checked at the door: a frame off the wire becomes an Answer with well-formed options, or nothing. Pure.

Whoever is on the network can send these, at any time, with anything in them; pyroute2's decoder expects none but
well-meant ones. So a frame is taken apart here (RFC 791, 768, 2131, 2132), and what goes on is made anew: the fixed
part with the addresses, and of the options those that the helper uses, each once and of its type. Long options
(RFC 3396) are joined, overloaded fields (RFC 2132, 9.3) are read. The search list (RFC 3397), which pyroute2 does not
take apart, goes on as its names with blanks between them; classless routes (RFC 3442) go on as they were, checked.

An answer is dropped if it is not whole, is for another card, is of no type that a client gets, or offers no usable
address. An option that is not of its type counts as absent.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from micronetd.domains import parse_names
from micronetd.routes import parse_routes, routes_bytes
from micronetd.words import LEAST_MTU

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFER, ACK, NAK = 2, 5, 6  # the types that a client gets (RFC 2132, 9.6)
SHORTEST_LEASE = 4  # seconds: a server that grants less would keep the helper at nothing else
INFINITE = 0xFFFFFFFF
_LONGEST_LEASE = 0x7FFFFFFF  # pyroute2 reads these as signed; more is for ever
_EVERYBODY = 0xFFFFFFFF  # the limited broadcast
_LONGEST_OPTION = 255
_MOST_ADDRESSES = 8  # of a list: nobody looks at more

_ETHERNET, _IPV4, _UDP, _BOOTP = 14, 20, 8, 236  # lengths of headers without options
_COOKIE = b"c\x82Sc"
_BOOTREPLY = 2
_PAD, _END = 0, 255
_MASK, _ROUTER, _NAME_SERVER, _DOMAIN, _OVERLOAD = 1, 3, 6, 15, 52
_MTU, _TIME_SERVER, _SEARCH, _ROUTES = 26, 42, 119, 121
_LEASE_TIME, _TYPE, _SERVER, _RENEWAL, _REBINDING = 51, 53, 54, 58, 59
_FILE, _SNAME = slice(108, 236), slice(44, 108)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says. kind: OFFER, ACK or NAK. server_mac, server: who sent it. message: DHCP, made anew."""

    kind: int
    xid: int
    server_mac: str
    server: str
    message: bytes


def parse_answer(frame: bytes, mac: str) -> Answer | None:
    """Take an Ethernet frame apart that came to a card with the address `mac`; None for what is no answer to it."""
    try:
        ip = frame[_ETHERNET:]
        header = (ip[0] & 0xF) * 4
        (length,) = struct.unpack_from(">H", ip, 2)
        udp = ip[header:length]
        (udp_length,) = struct.unpack_from(">H", udp, 4)
        bootp = udp[_UDP:udp_length]
    except (IndexError, struct.error):
        return None
    whole = header >= _IPV4 and length <= len(ip) and udp_length <= len(udp)
    if not whole or len(bootp) < _BOOTP + len(_COOKIE) or bootp[_BOOTP:][:4] != _COOKIE:
        return None
    ours = bytes.fromhex(mac.replace(":", ""))
    if bootp[0] != _BOOTREPLY or bootp[2] != len(ours) or bootp[28 : 28 + len(ours)] != ours:
        return None
    options = _options(bootp)
    kind = options.get(_TYPE, b"")
    if kind not in (bytes([OFFER]), bytes([ACK]), bytes([NAK])):
        return None
    kept = _kept(options)
    offers = kind[0] in (OFFER, ACK)
    if offers and not (is_usable(bootp[16:20]) and _SERVER in kept and _LEASE_TIME in kept):
        return None
    head = bytes(bootp[:44]) + bytes(_BOOTP - 44) + _COOKIE  # neither sname nor file
    tail = b"".join(bytes([code, len(value)]) + value for code, value in kept.items())
    return Answer(
        kind[0],
        struct.unpack_from(">I", bootp, 4)[0],
        frame[6:12].hex(":"),
        str(ipaddress.IPv4Address(ip[12:16])),
        head + bytes([_TYPE, 1]) + kind + tail + bytes([_END]),
    )


def is_usable(address: bytes | str) -> bool:
    """Tell whether an IPv4 address can be one machine's on a network: no group, nobody, everybody, nor this machine."""
    try:
        one = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return not (one.is_unspecified or one.is_multicast or one.is_loopback or int(one) == _EVERYBODY)


def _options(bootp: bytes) -> dict[int, bytes]:
    """Return all options by their numbers, those of the overloaded fields as well; what is cut off is not there."""
    found: dict[int, bytes] = {}
    _collect(bootp[_BOOTP + len(_COOKIE) :], found)
    overload = found.get(_OVERLOAD, b"")
    if overload in (b"\1", b"\3"):
        _collect(bootp[_FILE], found)
    if overload in (b"\2", b"\3"):
        _collect(bootp[_SNAME], found)
    return found


def _collect(area: bytes, found: dict[int, bytes]) -> None:
    at = 0
    while at < len(area) and area[at] != _END:
        if area[at] == _PAD:
            at += 1
            continue
        if at + 2 > len(area) or at + 2 + area[at + 1] > len(area):
            return
        value = area[at + 2 : at + 2 + area[at + 1]]
        found[area[at]] = found.get(area[at], b"") + value
        at += 2 + len(value)


def _kept(options: dict[int, bytes]) -> dict[int, bytes]:
    """Return the options that go on, each of its type."""
    kept = {code: options[code] for code in (_MASK, _SERVER) if len(options.get(code, b"")) == 4}
    for code in (_ROUTER, _NAME_SERVER, _TIME_SERVER):
        addresses = [one for one in _fours(options.get(code, b"")) if is_usable(one)]
        if addresses:
            kept[code] = b"".join(addresses[:_MOST_ADDRESSES])
    domain = options.get(_DOMAIN, b"").rstrip(b"\0")
    if 0 < len(domain) <= 253 and domain.isascii():
        kept[_DOMAIN] = domain
    mtu = options.get(_MTU, b"")
    if len(mtu) == 2 and int.from_bytes(mtu, "big") >= LEAST_MTU:
        kept[_MTU] = mtu
    if routes := routes_bytes(parse_routes(options.get(_ROUTES, b"")), _LONGEST_OPTION):
        kept[_ROUTES] = routes
    search = b""
    for name in parse_names(options.get(_SEARCH, b""), compressed=True):
        longer = f"{search.decode()} {name}".strip().encode()
        if len(longer) > _LONGEST_OPTION:
            break
        search = longer
    if search:
        kept[_SEARCH] = search
    return kept | {code: struct.pack(">I", seconds) for code, seconds in _times(options)}


def _times(options: dict[int, bytes]) -> Iterator[tuple[int, int]]:
    """Yield the lease's time, and when to renew and to rebind where these come in that order within it, in seconds."""
    lease, renewal, rebinding = (
        int.from_bytes(value, "big") if len(value) == 4 else 0
        for value in (options.get(code, b"") for code in (_LEASE_TIME, _RENEWAL, _REBINDING))
    )
    if not lease:
        return
    lease = INFINITE if lease > _LONGEST_LEASE else max(lease, SHORTEST_LEASE)
    yield _LEASE_TIME, lease
    if SHORTEST_LEASE // 2 <= renewal < rebinding < lease and rebinding <= _LONGEST_LEASE:
        yield _RENEWAL, renewal
        yield _REBINDING, rebinding


def _fours(value: bytes) -> list[bytes]:
    return [value[at : at + 4] for at in range(0, len(value) - 3, 4)]
