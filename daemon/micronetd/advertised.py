"""Name servers and search domains that routers advertise (RFC 8106), as the kernel hands them on. Pure.

The kernel gives itself the addresses and routes of router advertisements, and sends what it has no use for to whoever
listens: RTM_NEWNDUSEROPT (include/uapi/linux/rtnetlink.h, struct nduseroptmsg; net/ipv6/ndisc.c, ndisc_ra_useropt).
"""

from __future__ import annotations

import ipaddress
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from micronetd.domains import MOST_NAMES, parse_names

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = 1 << (20 - 1)  # RTNLGRP_ND_USEROPT
FOR_EVER = 0xFFFFFFFF
MOST_SERVERS = 8
_NEWNDUSEROPT = 68
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_MESSAGE = struct.Struct("=BxHiBBHI")  # family, length of options, link's index, ICMP's type and code
_ADVERTISEMENT = 134  # ICMPv6's type
_OPTION = struct.Struct(">BBHI")  # type, length in units of 8 bytes, reserved, lifetime
_SERVERS, _DOMAINS = 25, 31


@dataclass(frozen=True, slots=True)
class Advertised:
    """What a router says of a link. lifetime: seconds, 0 to take it back, FOR_EVER. servers or domains."""

    index: int
    lifetime: int
    servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


def parse_advertised(data: bytes) -> list[Advertised]:
    """Take apart what one read of the netlink socket gave; what is not of these two kinds is left out."""
    return list(_messages(data))


def _messages(data: bytes) -> Iterator[Advertised]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        body = data[at + _HEADER.size : at + length]
        if kind == _NEWNDUSEROPT and len(body) >= _MESSAGE.size:
            _, size, index, icmp_type, *_ = _MESSAGE.unpack_from(body)
            if icmp_type == _ADVERTISEMENT:
                yield from _options(index, body[_MESSAGE.size : _MESSAGE.size + size])
        at += (length + 3) & ~3


def _options(index: int, data: bytes) -> Iterator[Advertised]:
    at = 0
    while at + _OPTION.size <= len(data):
        kind, units, _, lifetime = _OPTION.unpack_from(data, at)
        if not units:
            return
        value = data[at + _OPTION.size : at + units * 8]
        if kind == _SERVERS and (servers := _addresses(value)):
            yield Advertised(index, lifetime, servers=tuple(servers))
        elif kind == _DOMAINS and (domains := parse_names(value, compressed=False)):
            yield Advertised(index, lifetime, domains=tuple(domains))
        at += units * 8


def _addresses(value: bytes) -> list[str]:
    found = (ipaddress.IPv6Address(value[at : at + 16]) for at in range(0, len(value) - 15, 16))
    usable = (str(one) for one in found if not (one.is_unspecified or one.is_multicast or one.is_loopback))
    return list(dict.fromkeys(usable))[:MOST_SERVERS]


class Heard:
    """What routers have said of one link, each server and domain for its own time. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._servers: dict[str, float] = {}
        self._domains: dict[str, float] = {}

    def take(self, told: Advertised, now: float) -> None:
        """Take in what a router says."""
        until = math.inf if told.lifetime == FOR_EVER else now + told.lifetime
        for known, entries, most in (
            (self._servers, told.servers, MOST_SERVERS),
            (self._domains, told.domains, MOST_NAMES),
        ):
            known.update(dict.fromkeys(entries, until))
            self._expire(known, now)
            while len(known) > most:
                del known[min(known, key=known.__getitem__)]

    def now(self, now: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the name servers and search domains that still count, in the order in which they were first heard."""
        for known in (self._servers, self._domains):
            self._expire(known, now)
        return tuple(self._servers), tuple(self._domains)

    def next_end(self) -> float | None:
        """Return when the next of them ends; None for never."""
        ends = [until for until in (*self._servers.values(), *self._domains.values()) if until < math.inf]
        return min(ends, default=None)

    @staticmethod
    def _expire(known: dict[str, float], now: float) -> None:
        for entry in [entry for entry, until in known.items() if until <= now]:
            del known[entry]
