"""DHCP answers made to hurt: micronetd/answers.py alone, and the helper's real client on a wire where it hears them."""

import asyncio
import ipaddress
import random
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.dhcp.dhcp4msg import dhcp4msg
from pyroute2.netlink.exceptions import NetlinkError

from micronetd import helper, log
from micronetd.answers import SHORTEST_LEASE, parse_answer
from micronetd.client import _Message
from micronetd.links import Do, Step
from micronetd.plan import Plan
from micronetd.settings import settings_of
from micronetd.words import Card, Words, parse_words
from tests.support.dhcpwire import (
    ACK,
    DISCOVER,
    GRANT,
    MAC,
    NAK,
    OFFER,
    REQUEST,
    SERVER_MAC,
    Route,
    Wire,
    dhcp,
    frame,
    option_bytes,
)

END = b"\xff"
GOOD = option_bytes(GRANT) + END


def hostile(xid: int) -> list[bytes]:
    """Answers of every bad kind, to what was asked as `xid`."""
    messages = {
        "no type": dhcp(None, xid, GOOD),
        "a type that is none": dhcp(99, xid, GOOD),
        "a client's type": dhcp(DISCOVER, xid, GOOD),
        "a type of two bytes": dhcp(None, xid, b"\x35\x02\x02\x02" + GOOD),
        "no options": dhcp(OFFER, xid, b""),
        "no server": dhcp(OFFER, xid, option_bytes({**GRANT, 54: b""}) + END),
        "an option beyond the end": dhcp(OFFER, xid, b"\x36\xff\xc0"),
        "nothing but padding": dhcp(None, xid, bytes(2000)),
        "the number that is none": dhcp(OFFER, 0xFFFFFFFF, GOOD),
        "no number": dhcp(OFFER, 0, GOOD),
        "another state's refusal": dhcp(NAK, (xid & ~0xF) | 6, END),
        "a refusal of no state": dhcp(NAK, (xid & ~0xF) | 0xF, END),
        "another cookie": dhcp(OFFER, xid, GOOD, cookie=b"\0\0\0\0"),
        "a request": dhcp(OFFER, xid, GOOD, op=1),
        "another card's": dhcp(OFFER, xid, GOOD, mac="52:54:00:00:00:02"),
        "nobody's address": dhcp(OFFER, xid, GOOD, address="0.0.0.0"),
        "everybody's address": dhcp(OFFER, xid, GOOD, address="255.255.255.255"),
        "a group's address": dhcp(OFFER, xid, GOOD, address="224.0.0.1"),
        "no time": dhcp(OFFER, xid, option_bytes({**GRANT, 51: b"\0\0\0\0"}) + END),
        "a time of three bytes": dhcp(OFFER, xid, option_bytes({**GRANT, 51: b"\0\0\1"}) + END),
    }
    whole = frame(dhcp(OFFER, xid, GOOD))
    return [
        *map(frame, messages.values()),
        b"",
        *(whole[:size] for size in (1, 13, 14, 15, 33, 34, 41, 42, 43, 200, 277, 281)),
        frame(dhcp(OFFER, xid, GOOD), length=0),
        frame(dhcp(OFFER, xid, GOOD), length=0xFFFF),
        whole[:14] + b"\x4f" + whole[15:],  # an IPv4 header that is longer than it has room
        whole[:14] + b"\x40" + whole[15:],
    ]


def test_a_good_answer_goes_through_as_it_is() -> None:
    """What pyroute2 reads of it is what the server wrote; IPv4's own options are skipped."""
    for ip_options in (b"", b"\x01\x01\x01\x00"):
        answer = parse_answer(frame(dhcp(ACK, 0x12345670, GOOD), ip_options=ip_options), MAC)
        assert answer is not None
        assert (answer.kind, answer.xid, answer.server_mac) == (ACK, 0x12345670, SERVER_MAC)
        read = dhcp4msg(buf=answer.message).decode()
        assert read["yiaddr"] == "192.168.7.20"
        assert read["options"] == {
            "message_type": ACK,
            "subnet_mask": "255.255.255.0",
            "router": ["192.168.7.1"],
            "name_server": ["192.168.7.1"],
            "domain_name": "example.org",
            "lease_time": 3600,
            "server_id": "192.168.7.1",
        }


def test_every_bad_kind_is_dropped() -> None:
    """Except for the xid, of which the door behind knows, nothing of it is an answer."""
    known_by_number = 4
    passed = [one for one in hostile(0x12345675) if parse_answer(one, MAC) is not None]
    assert len(passed) == known_by_number


@pytest.mark.parametrize(
    ("options", "name", "read"),
    [
        ({1: b"\xff\xff\xff"}, "subnet_mask", None),
        ({3: b"\x7f\0\0\1\xe0\0\0\1\0\0\0\0\xff\xff\xff\xff\xc0\xa8\7\1"}, "router", ["192.168.7.1"]),
        ({3: b"\xc0\xa8\7"}, "router", None),
        ({6: bytes([10, 0, 0, 1]) * 60}, "name_server", ["10.0.0.1"] * 8),
        ({15: b"a\nnameserver 6.6.6.6\x1b[2J"}, "domain_name", "a\nnameserver 6.6.6.6\x1b[2J"),
        ({15: b"\xff\xfe"}, "domain_name", None),
        ({51: b"\0\0\0\1"}, "lease_time", SHORTEST_LEASE),
        ({51: b"\x80\0\0\0"}, "lease_time", -1),
        ({58: b"\0\0\x0e\x10", 59: b"\0\0\0\1"}, "renewal_time", None),
        ({58: b"\0\0\0\0", 59: b"\0\0\0\1"}, "renewal_time", None),
        ({58: b"\0\0\0\x0a", 59: b"\0\0\0\x14"}, "rebinding_time", 20),
        ({26: b"\0\1"}, "interface_mtu", None),
        ({26: b"\2\x3f"}, "interface_mtu", None),
        ({26: b"\2\x40"}, "interface_mtu", 576),
        ({26: b"\0\0\5\xdc"}, "interface_mtu", None),
        ({42: b"\xc0\xa8\7\1"}, "ntp_servers", ["192.168.7.1"]),
        ({119: b"\3lab\7example\3org\0\4mail\xc0\4"}, "domain_search", "lab.example.org mail.example.org"),
        ({119: b"\3l b\0\4good\0\3a.b\0"}, "domain_search", "good"),
        ({119: b"\xc0\0"}, "domain_search", None),
        ({119: b"\3lab\xc0\0"}, "domain_search", None),
        ({119: b"\x3fshort"}, "domain_search", None),
        ({121: b"\0\xc0\xa8\7\1"}, "classless_static_route", [0, 192, 168, 7, 1]),
        ({121: b"\x21\xc0\xa8\7\1\1\xc0\xa8\7\1"}, "classless_static_route", None),
        (
            {121: b"\x08\x7f\xc0\xa8\7\1\x08\x0a\xc0\xa8\7\1"},
            "classless_static_route",
            [8, 10, 192, 168, 7, 1],
        ),
        ({33: b"\x0a\0\0\0\xc0\xa8\7\1"}, "static_route", None),
    ],
)
def test_an_option_that_is_not_of_its_type_is_absent(
    options: dict[int, bytes], name: str, read: object
) -> None:
    """Wrong lengths, addresses that are no machine's, times that make no sense, options that nobody asked for."""
    answer = parse_answer(frame(dhcp(ACK, 0x10, option_bytes({**GRANT, **options}) + END)), MAC)
    assert answer is not None
    assert _Message(buf=answer.message).decode()["options"].get(name) == read


def test_a_name_with_a_newline_gets_into_no_file() -> None:
    """A domain that is no name is left out of what becomes resolv.conf."""
    answer = parse_answer(
        frame(dhcp(ACK, 0x10, option_bytes({**GRANT, 15: b"a\nnameserver 6.6.6.6"}) + END)), MAC
    )
    assert answer is not None
    assert settings_of("192.168.7.20", dhcp4msg(buf=answer.message).decode()["options"]).domains == ()


def test_long_options_are_joined_and_overloaded_fields_read() -> None:
    """RFC 3396 and RFC 2132, 9.3: an option in two parts, and options in the fields for a file and a server's name."""
    parts = option_bytes({**GRANT, 15: b"exam", 52: b"\3"}) + option_bytes({15: b"ple"}) + END
    answer = parse_answer(
        frame(
            dhcp(
                ACK, 0x10, parts, file=option_bytes({15: b".o"}) + END, sname=option_bytes({15: b"rg"}) + END
            )
        ),
        MAC,
    )
    assert answer is not None
    read = dhcp4msg(buf=answer.message).decode()
    assert read["options"]["domain_name"] == "example.org"
    assert not any(read["file"])


@given(st.binary(max_size=600), st.integers(0, 600))
def test_whatever_comes_is_an_answer_or_none(noise: bytes, at: int) -> None:
    """No frame raises anything; what is an answer can be decoded and has an address, a server and a time."""
    good = frame(dhcp(ACK, 0x10, GOOD))
    for data in (noise, frame(noise), good[:at] + noise, good[: 14 + 28 + 240] + noise):
        answer = parse_answer(data, MAC)
        if answer is not None and answer.kind != NAK:
            read = dhcp4msg(buf=answer.message).decode()
            assert read["options"]["message_type"] == answer.kind
            assert ipaddress.IPv4Address(read["options"]["server_id"])
            lease = read["options"]["lease_time"]
            assert lease == -1 or lease >= SHORTEST_LEASE
            settings_of(read["yiaddr"], read["options"])


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the helper says; its files are in a directory of the test's."""
    lines: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(helper, "say", lines.append)
    monkeypatch.setattr(helper, "RESOLV_CONF", tmp_path / "resolv.conf")
    return lines


@pytest.mark.slow
def test_hostile_answers_do_not_keep_a_link_from_its_lease(
    said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every bad kind, before the offer and before the grant, from somebody who has heard the number: the lease comes.

    A renewal is refused by somebody with another state's number, and goes on.
    """

    async def live() -> Route:
        wire, route = Wire(), Route()
        with wire.plugged(monkeypatch):
            keeper = asyncio.create_task(helper._Helper(route, Plan(Words()))._configure(2, "eth0"))
            kind, xid = await wire.asked()
            assert kind == DISCOVER
            await wire.say(*hostile(xid), frame(dhcp(OFFER, xid, GOOD)))
            kind, xid = await wire.asked()
            assert kind == REQUEST
            await wire.say(*hostile(xid), frame(dhcp(ACK, xid, GOOD)))
            await asyncio.wait_for(route.changed.wait(), 20)
            await wire.say(*hostile(xid))
            await asyncio.sleep(0.3)
            assert not keeper.done()
            keeper.cancel()
            await asyncio.wait([keeper], timeout=5)
        return route

    route = asyncio.run(live())
    assert [what for what, _ in route.told] == ["addr replace", "route replace"]
    assert said == ["eth0 has 192.168.7.20/24 by DHCP, gateway 192.168.7.1"]
    assert "nameserver 192.168.7.1" in (tmp_path / "resolv.conf").read_text()


def test_what_is_asked_for_and_the_hosts_name_are_sent(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line's name for the host (option 12), and the list of what is wanted (option 55)."""

    async def live() -> bytes:
        wire, plan = Wire(), Plan(parse_words("ip=::::box.lab:eth0:dhcp"))
        with wire.plugged(monkeypatch):
            keeper = asyncio.create_task(helper._Helper(Route(), plan)._configure(2, "eth0"))
            heard = await wire.heard()
            keeper.cancel()
            await asyncio.wait([keeper], timeout=5)
        return heard

    message = asyncio.run(live())
    assert b"\x0c\x07box.lab" in message
    length = message[message.index(b"\x37") + 1]
    wanted = message[message.index(b"\x37") + 2 :][:length]
    assert set(wanted) == {1, 3, 6, 15, 26, 42, 51, 58, 59, 119, 121}
    assert wanted.index(121) < wanted.index(3)
    assert said == []


@pytest.mark.slow
def test_a_flood_is_read_at_a_bounded_pace(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as fast as the socket takes it costs next to nothing, and is no line in the log for each."""

    async def live() -> tuple[int, float]:
        wire, route = Wire(), Route()
        with wire.plugged(monkeypatch):
            keeper = asyncio.create_task(helper._Helper(route, Plan(Words()))._configure(2, "eth0"))
            _, xid = await wire.asked()
            noise = [
                random.Random(1).randbytes(400),
                frame(dhcp(99, xid, GOOD)),
                frame(dhcp(None, xid, GOOD)),
            ]
            loop = asyncio.get_running_loop()
            until, sent = loop.time() + 2, 0
            while loop.time() < until:
                try:
                    await asyncio.wait_for(wire.say(*noise), 0.2)
                    sent += len(noise)
                except TimeoutError:
                    pass
            keeper.cancel()
            await asyncio.wait([keeper], timeout=5)
        return sent, until

    sent, _ = asyncio.run(live())
    assert sent < 1000, "the helper reads as fast as they come"
    assert said == []


def test_a_client_that_fails_is_begun_again(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pyroute2 raises, the link is not given up: one line, then another try."""
    tries = 0

    async def fail(_self: object, _index: int, _name: str, _card: Card) -> None:
        nonlocal tries
        tries += 1
        raise KeyError("message_type\x1b[2J")

    monkeypatch.setattr(helper._Helper, "_run_client", fail)
    monkeypatch.setattr(helper, "_AGAIN", 0.01)

    async def live() -> None:
        keeper = asyncio.create_task(helper._Helper(Route(), Plan(Words()))._configure(2, "eth0"))
        await asyncio.sleep(0.3)
        assert not keeper.done()
        keeper.cancel()

    asyncio.run(live())
    assert tries > 1
    assert "KeyError" in said[0]


def test_links_that_show_together_are_all_configured(said: list[str]) -> None:
    """Three links at once: the kernel lists addresses for one asker at a time, and each of them gets its own."""

    class Busy(Route):
        listing = False

        async def get_addr(self, **_what: object) -> AsyncIterator[Any]:
            if self.listing:
                raise NetlinkError(16, "Device or resource busy")
            self.listing = True

            async def answers() -> AsyncIterator[Any]:
                await asyncio.sleep(0.01)
                self.listing = False
                return
                yield

            return answers()

    async def live() -> None:
        words = " ".join(f"ip=10.0.0.{number}:::24::eth{number}:off" for number in (2, 3, 4))
        one = helper._Helper(Busy(), Plan(parse_words(words)))
        for number in (2, 3, 4):
            await one._do(Step(Do.CONFIGURE, number, f"eth{number}"))
        await asyncio.wait(one._tasks.values(), timeout=5)

    asyncio.run(live())
    assert [line.split(" by")[0] for line in said] == [f"eth{n} has 10.0.0.{n}/24" for n in (2, 3, 4)]


def test_a_link_that_cannot_be_configured_is_told_of(said: list[str]) -> None:
    """Its task ends, and says so itself: nobody waits for it."""

    class Broken(Route):
        async def get_addr(self, **_what: object) -> AsyncIterator[Any]:
            raise NetlinkError(16, "Device or resource busy")

    async def live() -> None:
        one = helper._Helper(Broken(), Plan(Words()))
        await one._do(Step(Do.CONFIGURE, 2, "eth0"))
        await asyncio.wait(one._tasks.values(), timeout=5)
        await asyncio.sleep(0)

    asyncio.run(live())
    assert said == ["a link could not be configured: NetlinkError: (16, 'Device or resource busy')"]


def test_what_is_said_holds_no_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link's name, or an error's words, cannot write to the console of whoever reads the kernel's log."""
    monkeypatch.setattr(log, "KMSG", tmp_path / "kmsg")
    log.say("eth\x1b[2J\u202e has\n<0>panic")
    assert (tmp_path / "kmsg").read_text() == "<6>network: eth\\x1b[2J\\u202e has <0>panic\n"


def test_lease_times_are_what_a_timer_takes() -> None:
    """Of all the times that four bytes hold, none makes a lease that is over before it began."""
    for seconds in (0, 1, 3, 4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF):
        options = option_bytes({**GRANT, 51: struct.pack(">I", seconds)}) + END
        answer = parse_answer(frame(dhcp(ACK, 0x10, options)), MAC)
        assert (answer is None) == (seconds == 0)
        if answer is not None:
            lease = dhcp4msg(buf=answer.message).decode()["options"]["lease_time"]
            assert lease == (-1 if seconds > 0x7FFFFFFF else max(seconds, SHORTEST_LEASE))
