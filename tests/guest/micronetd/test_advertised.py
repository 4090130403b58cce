"""Name servers and domains of router advertisements: micronetd/advertised.py and domains.py."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from micronetd.advertised import FOR_EVER, MOST_SERVERS, Advertised, Heard, parse_advertised
from micronetd.domains import is_name, parse_names

SERVERS = struct.pack(">BBHI", 25, 5, 0, 600) + b"".join(
    socket.inet_pton(socket.AF_INET6, address) for address in ("2001:db8::53", "fe80::1")
)
DOMAINS = struct.pack(">BBHI", 31, 3, 0, FOR_EVER) + b"\3lab\7example\0\0\0\0"


def message(options: bytes, *, kind: int = 68, icmp_type: int = 134, size: int | None = None) -> bytes:
    """RTM_NEWNDUSEROPT as net/ipv6/ndisc.c makes it, with the source's address behind the options."""
    body = struct.pack("=BxHiBBHI", 10, len(options) if size is None else size, 2, icmp_type, 0, 0, 0)
    body += options + struct.pack("=HH", 20, 1) + socket.inet_pton(socket.AF_INET6, "fe80::1")
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_servers_and_domains_are_read() -> None:
    """Two messages of one read, with the link that they are about."""
    assert parse_advertised(message(SERVERS) + message(DOMAINS)) == [
        Advertised(2, 600, servers=("2001:db8::53", "fe80::1")),
        Advertised(2, FOR_EVER, domains=("lab.example",)),
    ]


def test_what_is_of_another_kind_is_left_out() -> None:
    """Another message, another ICMP type, an option without a length, addresses that are no machine's."""
    assert parse_advertised(message(SERVERS, kind=16)) == []
    assert parse_advertised(message(SERVERS, icmp_type=137)) == []
    assert parse_advertised(message(struct.pack(">BBHI", 25, 0, 0, 600))) == []
    nobody = struct.pack(">BBHI", 25, 5, 0, 600) + bytes(16) + socket.inet_pton(socket.AF_INET6, "ff02::1")
    assert parse_advertised(message(nobody)) == []


@given(st.binary(max_size=300), st.integers(0, 70000) | st.none(), st.integers(0, 100))
def test_no_bytes_do_harm(noise: bytes, size: int | None, cut: int) -> None:
    """Whatever the options hold, what is read are addresses and names."""
    size = None if size is None else size & 0xFFFF
    for data in (noise, message(noise, size=size), message(SERVERS + noise)[: -cut or None]):
        for told in parse_advertised(data):
            assert all(socket.inet_pton(socket.AF_INET6, server) for server in told.servers)
            assert all(map(is_name, told.domains))


@given(st.binary(max_size=300), st.booleans())
def test_names_end(data: bytes, compressed: bool) -> None:
    """No pointer leads in a ring; what comes out may stand in resolv.conf."""
    for name in parse_names(data, compressed=compressed):
        assert is_name(name)
        assert not set(name) & set(" \n\t;#")


def test_names_are_joined_by_pointers() -> None:
    """RFC 3397's own example; a pointer forwards, or where none may be, ends it."""
    assert parse_names(b"\3eng\5apple\3com\0\x09marketing\xc0\4", compressed=True) == [
        "eng.apple.com",
        "marketing.apple.com",
    ]
    assert parse_names(b"\3eng\xc0\6\3com\0", compressed=True) == []
    assert parse_names(b"\3one\0\3two\xc0\0", compressed=False) == ["one"]


def test_each_entry_counts_for_its_own_time() -> None:
    """Two routers; one server's time runs out, another is taken back, a third stays for ever."""
    heard = Heard()
    heard.take(Advertised(2, 10, servers=("a",)), 100.0)
    heard.take(Advertised(2, 30, servers=("b",)), 100.0)
    heard.take(Advertised(2, FOR_EVER, domains=("lab",)), 100.0)
    assert (heard.now(100.0), heard.next_end()) == ((("a", "b"), ("lab",)), 110.0)
    assert (heard.now(110.0), heard.next_end()) == ((("b",), ("lab",)), 130.0)
    heard.take(Advertised(2, 0, servers=("b",)), 111.0)
    assert (heard.now(111.0), heard.next_end()) == (((), ("lab",)), None)


def test_nobody_can_have_more_and_more_remembered() -> None:
    """The entries that end soonest give way."""
    heard = Heard()
    for number in range(1000):
        heard.take(Advertised(2, number + 1, servers=(str(number),)), 0.0)
    servers, _ = heard.now(0.0)
    assert servers == tuple(map(str, range(1000 - MOST_SERVERS, 1000)))
