"""What links have been given, put on and taken off again: addresses, routes, MTU, resolv.conf, time servers.

Each link has settings from several sources (a lease, an `ip=` word, routers), which come and go by themselves. What a
source gave is taken back when it ends; what another source or another link has given stays.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pyroute2.netlink.exceptions import NetlinkError

from micronetd.routes import ON_LINK
from micronetd.settings import METRIC, RESOLV_CONF_MARK, Settings, describe, resolv_conf

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyroute2.iproute.linux import AsyncIPRoute

    from micronetd.routes import StaticRoute

RESOLV_CONF = Path("/etc/resolv.conf")
TIME_SERVERS = Path(
    "/run/network/ntp_servers"
)  # an address a line, as the kernel's own /proc/net/ipconfig/ntp_servers
_SYS_NET = Path("/sys/class/net")
_RTNH_F_ONLINK = 4
_RT_SCOPE_LINK = 253  # include/uapi/linux/rtnetlink.h


class Applied:
    """The settings of all links. servers: name servers that come before all others."""

    def __init__(
        self,
        route: AsyncIPRoute,
        say: Callable[[str], None],
        servers: tuple[str, ...] = (),
        resolv_conf_path: Path = RESOLV_CONF,
        time_servers_path: Path = TIME_SERVERS,
    ) -> None:
        self._route = route
        self._say = say
        self._servers = servers
        self._resolv_conf = resolv_conf_path
        self._time_servers = time_servers_path
        self._settings: dict[tuple[int, str], Settings] = {}
        self._own_mtu: dict[int, int] = {}
        if servers:
            self._write_files()

    def has(self, index: int, source: str) -> bool:
        """Tell whether a link has anything from a source."""
        return (index, source) in self._settings

    async def put_on(self, index: int, name: str, source: str, settings: Settings) -> None:
        """Give the link what a source says; what is as it was changes nothing.

        Raises NetlinkError for an address that the kernel does not take.
        """
        key = index, source
        before = self._settings.get(key)
        if settings == before:
            return
        if before is not None:
            await self.take_off(index, name, source)
        if settings.address:
            more = {"broadcast": True} if ":" not in settings.address else {}
            await self._route.addr(
                "replace", index=index, address=settings.address, prefixlen=settings.prefix, **more
            )
        self._settings[key] = settings
        if settings.mtu:
            await self._set_mtu(index, name, settings.mtu)
        for one in settings.routes:  # first: a gateway may be behind one
            try:
                await self._route.route("replace", **_static_route(index, settings, one))
            except NetlinkError as e:
                self._say(f"cannot set the route of {name} to {one.to} through {one.gateway}: {e}")
        if settings.gateway:
            try:
                await self._route.route("replace", **_default_route(index, settings))
            except NetlinkError as e:  # the address is worth having without it
                self._say(f"cannot set the default route of {name} through {settings.gateway}: {e}")
        self._write_files()
        if settings.address:
            self._say(describe(name, settings, source))

    async def take_off(
        self, index: int, name: str, source: str, stale: Settings | None = None, why: str = ""
    ) -> None:
        """Take back what a source gave. A link that is gone has lost its address and its routes already.

        stale: what a helper before this one had put on. why: what is said of it.
        """
        settings = self._settings.pop((index, source), stale)
        if settings is None:
            return
        if settings.gateway:  # goes with the last address only
            with contextlib.suppress(NetlinkError):
                await self._route.route("del", **_default_route(index, settings))
        for one in settings.routes:
            with contextlib.suppress(NetlinkError):
                await self._route.route("del", **_static_route(index, settings, one))
        if settings.address:
            with contextlib.suppress(NetlinkError):
                await self._route.addr(
                    "del", index=index, address=settings.address, prefixlen=settings.prefix
                )
        if not any(at == index and one.mtu for (at, _), one in self._settings.items()):
            own = self._own_mtu.pop(index, 0)
            if own and (_SYS_NET / name).exists():
                await self._set_mtu(index, name, own, keep=False)
        self._write_files()
        if settings.address:
            reason = f": {why}" if why else ""
            self._say(f"{name} no longer has {settings.address}/{settings.prefix}{reason}")

    async def clear(self, index: int, name: str) -> None:
        """Take back all that a link has been given."""
        for at, source in sorted(self._settings):
            if at == index:
                await self.take_off(index, name, source)

    def note(self, index: int, source: str, settings: Settings) -> None:
        """Take in servers and domains that come without an address; none at all ends what was known of this source."""
        key = index, source
        before = self._settings.pop(key, Settings())
        if settings != Settings():
            self._settings[key] = settings
        if settings != before:
            self._write_files()

    async def _set_mtu(self, index: int, name: str, mtu: int, *, keep: bool = True) -> None:
        """Set the link's MTU; `keep` the one that it has of its own, for later."""
        try:
            if keep and index not in self._own_mtu:
                self._own_mtu[index] = int((_SYS_NET / name / "mtu").read_text())
            await self._route.link("set", index=index, mtu=mtu)
        except (NetlinkError, OSError, ValueError) as e:
            self._say(f"cannot set the MTU of {name} to {mtu}: {e}")

    def _write_files(self) -> None:
        """Write name servers and time servers of all links; a resolv.conf of somebody else's stays as it is."""
        links = [settings for _, settings in sorted(self._settings.items(), key=lambda item: item[0])]
        ntp = dict.fromkeys(server for settings in links for server in settings.ntp)
        if ntp or self._time_servers.exists():
            self._write(self._time_servers, "".join(f"{server}\n" for server in ntp))
        with contextlib.suppress(FileNotFoundError):
            if not self._resolv_conf.read_bytes().startswith(RESOLV_CONF_MARK.encode()):
                return
        self._write(self._resolv_conf, resolv_conf(self._servers, links))

    def _write(self, path: Path, text: str) -> None:
        new = path.with_name(f"{path.name}.new")
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(path)
        except OSError as e:
            self._say(f"cannot write {path}: {e}")


def _static_route(index: int, settings: Settings, route: StaticRoute) -> dict[str, object]:
    one: dict[str, object] = {
        "family": socket.AF_INET,
        "dst": route.to,
        "oif": index,
        "priority": METRIC + index,
    }
    if route.gateway == ON_LINK:
        return one | {"scope": _RT_SCOPE_LINK}
    flags = 0 if settings.is_near(route.gateway) else _RTNH_F_ONLINK
    return one | {"gateway": route.gateway, "flags": flags}


def _default_route(index: int, settings: Settings) -> dict[str, object]:
    version_6 = ":" in settings.address
    return {
        "family": socket.AF_INET6 if version_6 else socket.AF_INET,
        "dst": "::/0" if version_6 else "0.0.0.0/0",
        "gateway": settings.gateway,
        "oif": index,
        "priority": METRIC + index,
        "flags": _RTNH_F_ONLINK if settings.on_link else 0,
    }
