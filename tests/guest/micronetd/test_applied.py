"""What is put on links and taken off again: micronetd/applied.py, before a route that takes down what it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from micronetd import applied
from micronetd.applied import Applied
from micronetd.routes import StaticRoute
from micronetd.settings import Settings

LEASE = Settings(
    "10.0.2.15", 24, "10.0.2.2", servers=("10.0.2.3",), domains=("example.org",), ntp=("10.0.2.4",)
)
OWN = Settings("10.7.0.5", 24, servers=("10.7.0.53",))


class Route:
    """Stands in for rtnetlink. refused: verbs that it fails."""

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._refused = refused

    def _take(self, what: str, values: dict[str, Any]) -> None:
        if what in self._refused:
            raise NetlinkError(22, "Invalid argument")
        self.told.append((what, values))

    async def addr(self, verb: str, **values: Any) -> None:
        """An address."""
        self._take(f"addr {verb}", values)

    async def route(self, verb: str, **values: Any) -> None:
        """A route."""
        self._take(f"route {verb}", values)

    async def link(self, verb: str, **values: Any) -> None:
        """A link."""
        self._take(f"link {verb}", values)


Do = Callable[[Applied], Awaitable[None]]


class Rig:
    """An Applied with its files in a directory, and what it has said."""

    def __init__(self, directory: Path, *refused: str, servers: tuple[str, ...] = ()) -> None:
        self.route = Route(refused)
        self.said: list[str] = []
        self.resolv_conf, self.ntp = directory / "resolv.conf", directory / "ntp_servers"
        self.applied = Applied(self.route, self.said.append, servers, self.resolv_conf, self.ntp)

    def do(self, *steps: Do) -> "Rig":
        """Do one after the other."""

        async def all_of_them() -> None:
            for step in steps:
                await step(self.applied)

        asyncio.run(all_of_them())
        return self

    @property
    def names(self) -> list[str]:
        """The lines of resolv.conf, but the first."""
        return self.resolv_conf.read_text().splitlines()[1:]

    @property
    def verbs(self) -> list[str]:
        """What rtnetlink was told."""
        return [what for what, _ in self.route.told]


def put(index: int, source: str, settings: Settings) -> Do:
    return lambda on: on.put_on(index, f"eth{index - 2}", source, settings)


def clear(index: int) -> Do:
    return lambda on: on.clear(index, f"eth{index - 2}")


def test_a_link_takes_only_its_own_along(tmp_path: Path) -> None:
    """Two links have servers; the first goes, with its address, route and time servers; the second's stay."""
    rig = Rig(tmp_path).do(put(2, "DHCP", LEASE), put(3, "ip=", OWN))
    assert rig.names == ["search example.org", "nameserver 10.0.2.3", "nameserver 10.7.0.53"]
    assert rig.ntp.read_text() == "10.0.2.4\n"
    rig.do(clear(2))
    assert rig.names == ["nameserver 10.7.0.53"]
    assert rig.ntp.read_text() == ""
    assert rig.verbs == ["addr replace", "route replace", "addr replace", "route del", "addr del"]
    assert rig.said[-1] == "eth0 no longer has 10.0.2.15/24"


def test_a_source_takes_only_its_own_along(tmp_path: Path) -> None:
    """A lease that ends leaves what the command line gave the same link; the reason is said."""
    rig = Rig(tmp_path).do(
        put(2, "ip=", OWN),
        put(2, "DHCP", LEASE),
        lambda on: on.take_off(2, "eth0", "DHCP", why="the lease has run out"),
    )
    assert rig.names == ["nameserver 10.7.0.53"]
    assert rig.said[-1] == "eth0 no longer has 10.0.2.15/24: the lease has run out"
    assert rig.applied.has(2, "ip=")


def test_what_is_as_it_was_changes_nothing(tmp_path: Path) -> None:
    """A renewed lease: no message to the kernel, no line; another address replaces the first."""
    rig = Rig(tmp_path).do(put(2, "DHCP", LEASE), put(2, "DHCP", LEASE))
    assert rig.verbs == ["addr replace", "route replace"]
    assert len(rig.said) == 1
    rig.do(put(2, "DHCP", Settings("10.0.2.16", 24)))
    assert rig.verbs[2:] == ["route del", "addr del", "addr replace"]


def test_static_routes_come_and_go(tmp_path: Path) -> None:
    """Through a gateway of the link's network, one beside it, and none; with the lease, before the default route."""
    ways = ("10.0.0.0/8", "10.0.2.9"), ("10.1.0.0/16", "192.0.2.1"), ("169.254.169.254/32", "0.0.0.0")
    lease = Settings("10.0.2.15", 24, "10.0.2.2", routes=tuple(StaticRoute(*one) for one in ways))
    rig = Rig(tmp_path).do(put(2, "DHCP", lease), clear(2))
    assert rig.verbs == ["addr replace", *["route replace"] * 4, *["route del"] * 4, "addr del"]
    set_ = [values for what, values in rig.route.told if what == "route replace"]
    assert [(one["dst"], one.get("gateway"), one.get("flags")) for one in set_] == [
        ("10.0.0.0/8", "10.0.2.9", 0),
        ("10.1.0.0/16", "192.0.2.1", 4),
        ("169.254.169.254/32", None, None),
        ("0.0.0.0/0", "10.0.2.2", 0),
    ]
    assert set_[2]["scope"] == 253


def test_the_mtu_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's own comes back when the last who wanted another ends."""
    monkeypatch.setattr(applied, "_SYS_NET", tmp_path)
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0/mtu").write_text("1500\n")
    rig = Rig(tmp_path).do(put(2, "DHCP", Settings("10.0.2.15", 24, mtu=1450)), clear(2))
    assert [values["mtu"] for what, values in rig.route.told if what == "link set"] == [1450, 1500]


@pytest.mark.parametrize("refused", ["route replace", "link set"])
def test_an_address_is_worth_having_without_the_rest(tmp_path: Path, refused: str) -> None:
    """A gateway or an MTU that the kernel does not take is a line in the log."""
    rig = Rig(tmp_path, refused).do(put(2, "DHCP", Settings("10.0.2.15", 24, "10.0.2.2", mtu=9000)))
    assert rig.applied.has(2, "DHCP")
    assert any(line.startswith("cannot set the") for line in rig.said)


def test_the_command_lines_servers_stay(tmp_path: Path) -> None:
    """From the start, before any link, and when the last has gone."""
    rig = Rig(tmp_path, servers=("192.0.2.53",))
    assert rig.names == ["nameserver 192.0.2.53"]
    rig.do(put(2, "DHCP", LEASE), clear(2))
    assert rig.names == ["nameserver 192.0.2.53"]


def test_somebody_elses_resolv_conf_stays(tmp_path: Path) -> None:
    """A file without our first line is not ours, even if it is no text."""
    (tmp_path / "resolv.conf").write_bytes(b"nameserver 9.9.9.9 # \xff\n")
    rig = Rig(tmp_path, servers=("192.0.2.53",)).do(put(2, "DHCP", LEASE))
    assert rig.resolv_conf.read_bytes() == b"nameserver 9.9.9.9 # \xff\n"


def test_what_routers_say_needs_no_address(tmp_path: Path) -> None:
    """Servers and domains by themselves come and go."""
    rig = Rig(tmp_path)
    rig.applied.note(2, "router", Settings(servers=("2001:db8::53",), domains=("lab",)))
    assert rig.names == ["search lab", "nameserver 2001:db8::53"]
    rig.applied.note(2, "router", Settings())
    assert rig.names == []
    assert not rig.applied.has(2, "router")
    assert rig.said == rig.verbs == []
