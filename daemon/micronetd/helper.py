"""The helper itself: links and addresses through rtnetlink, leases through DHCP, both by pyroute2.

It subscribes to the links' messages before it lists the links. Each link that is to have a lease has a task that keeps
a DHCP client at work; a link's end ends its task. The leases lie in /run/network (NAME.lease.json), where a helper that
is started again finds them, and asks for the same addresses.

A message that was lost (ENOBUFS) or any other failure of the rtnetlink socket ends the process: it is started again,
and begins with the list of all links, which is the way to make good for what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from pyroute2.dhcp.client import ClientConfig
from pyroute2.dhcp.hooks import Trigger, hook
from pyroute2.dhcp.leases import JSONFileLease, Lease
from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_LINK

from micronetd.client import Client
from micronetd.links import Do, Link, Links, Step
from micronetd.settings import METRIC, RESOLV_CONF_MARK, Settings, describe, resolv_conf, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyroute2.netlink import nlmsg

STATE = Path("/run/network")
RESOLV_CONF = Path("/etc/resolv.conf")
KMSG = Path("/dev/kmsg")

HELP = """\
usage: micronetd

Brings up every Ethernet link that has a device behind it, and while the link has a carrier gets its IPv4 address,
default route and name servers by DHCP. A link that already has an address is left alone, and so is a port of a bridge.
Runs until stopped; init starts it (/usr/lib/micro/network). It writes to the kernel's log, and keeps its leases in
/run/network. `hostbuild make-image --with network` puts it into an image.
"""

_ARPHRD_ETHER = 1
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_RTNH_F_ONLINK = 4
_PATIENCE = 15.0  # seconds without an answer after which it is said that there is none
_AGAIN = 30.0  # seconds until a link whose DHCP client failed is tried again


def main(argv: list[str]) -> int:
    """Run for ever; 100 for arguments that it does not have, 1 where rtnetlink failed, 111 for a bug."""
    if "-h" in argv or "--help" in argv:
        sys.stdout.write(HELP)
        return 0
    if argv:
        sys.stderr.write(f"micronetd: unexpected argument {argv[0]!r}; see `micronetd --help`\n")
        return 100
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.chdir(STATE)  # where JSONFileLease keeps its leases
    logging.getLogger("pyroute2").addHandler(_KernelLog(logging.WARNING))
    try:
        asyncio.run(_serve())
    except (OSError, NetlinkError) as e:
        reason = os.strerror(e.code if isinstance(e, NetlinkError) else e.errno or 0)
        say(f"rtnetlink failed, restarting: {reason}")
        return 1
    except Exception as e:  # noqa: BLE001 - whatever it is, init starts this again, and nobody wants a page each time
        _report(e)
        time.sleep(_AGAIN)
        return 111
    return 0


def _report(error: Exception) -> None:
    """Say what went wrong, once for the same traceback, which is kept in /run/network/crash."""
    trace = "".join(traceback.format_exception(error))
    crash = STATE / "crash"
    with contextlib.suppress(OSError):
        if crash.read_text(encoding="utf-8") == trace:
            return
    reason = f"{type(error).__name__}: {error}"
    say(f"the helper failed, and is started again every {_AGAIN:g} s: {reason}; the traceback is in {crash}")
    with contextlib.suppress(OSError):
        crash.write_text(trace, encoding="utf-8")


def say(text: str) -> None:
    """Write a line to the kernel's log, and so to the console."""
    # the kernel cuts records at about 1,000 bytes; names of links and errors may hold anything
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.replace("\n", " "))[:900]
    with contextlib.suppress(OSError):
        KMSG.write_text(f"<6>network: {line}\n", encoding="utf-8")


async def _serve() -> None:
    asyncio.get_running_loop().set_exception_handler(_tell_of_task)
    async with AsyncIPRoute() as route:
        helper = _Helper(route)
        await route.bind(RTMGRP_LINK)
        async for message in await route.get_links():
            await helper.take_in(message)
        while True:
            async for message in route.get():
                await helper.take_in(message)


def _tell_of_task(_loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
    """Say in a line what ended a task that nobody waits for, such as a timer of pyroute2's client."""
    error = context.get("exception")
    say(f"a task failed: {type(error).__name__}: {error}" if error else str(context.get("message")))


class _Helper:
    """Does what Links says there is to do."""

    def __init__(self, route: AsyncIPRoute) -> None:
        self._route = route
        self._links = Links()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._settings: dict[int, Settings] = {}

    async def take_in(self, message: nlmsg) -> None:
        """Take in a message about a link."""
        if message["family"]:
            return  # AF_BRIDGE: about a port's place in its bridge
        if message["event"] == "RTM_DELLINK":
            steps = self._links.gone(message["index"])
        else:
            steps = self._links.see(_link(message))
        for step in steps:
            await self._do(step)

    async def _do(self, step: Step) -> None:
        if step.do is Do.SET_UP:
            try:
                await self._route.link("set", index=step.index, state="up")
            except NetlinkError as e:
                say(f"cannot bring {step.name} up: {e}")
        elif step.do is Do.LEASE:
            self._tasks[step.index] = asyncio.create_task(self._keep_lease(step.index, step.name))
        elif step.do is Do.LET_GO:
            task = self._tasks.pop(step.index)
            task.cancel()
            await asyncio.wait([task], timeout=_PATIENCE)
            await self._take_off(step.index, step.name)
        elif step.do is Do.FORGET:
            Path(f"{step.name}.lease.json").unlink(missing_ok=True)

    async def _keep_lease(self, index: int, name: str) -> None:
        """Keep a DHCP client at work, until cancelled."""
        lease = JSONFileLease.load(name)
        ours = set() if lease is None else {lease.ip}  # a helper before this one may have put it on
        if set(await self._addresses(index)) - ours:
            say(f"{name} already has an address that is not ours; leaving it alone")
            return
        while True:
            try:
                await self._run_client(index, name)
            except Exception as e:  # noqa: BLE001 - or the link would be without DHCP for good, and nobody would know
                say(f"DHCP on {name} failed, retrying in {_AGAIN:.0f} s: {type(e).__name__}: {e}")
            await asyncio.sleep(_AGAIN)

    async def _addresses(self, index: int) -> list[str]:
        """Return the IPv4 addresses that a link has."""
        dump = await self._route.get_addr(index=index, family=socket.AF_INET)
        return [one.get_attr("IFA_ADDRESS") async for one in dump]

    async def _run_client(self, index: int, name: str) -> None:
        async def put_on(lease: Lease) -> None:
            await self._put_on(index, name, lease)

        async def take_off(lease: Lease) -> None:
            await self._take_off(index, name, settings_of(lease.ip, lease.ack["options"]))

        config = ClientConfig(
            interface=name,
            lease_type=JSONFileLease,
            hooks=(
                hook(Trigger.BOUND, Trigger.RENEWED, Trigger.REBOUND)(put_on),
                hook(Trigger.UNBOUND, Trigger.EXPIRED)(take_off),
            ),
            handle_signals=False,
            hook_timeout=None,  # a hook that is cancelled halfway leaves the link half set; at nice 19 all takes time
            release=False,  # the same address is asked for when the link is back
            vendor_id=None,
            host_name=None,
        )
        async with Client(config, say) as client:
            await client.bootstrap()
            workers = client.workers  # both go on for ever, unless the socket fails
            done, _ = await asyncio.wait(workers, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not done and index not in self._settings:
                say(f"no DHCP answer on {name} yet; still trying")
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in done:
                worker.result()

    async def _put_on(self, index: int, name: str, lease: Lease) -> None:
        """Give the link what the lease says. A lease renewed as it was changes nothing."""
        settings = settings_of(lease.ip, lease.ack["options"])
        before = self._settings.get(index)
        if settings == before:
            return
        if before is not None:
            await self._take_off(index, name)
        await self._route.addr(
            "replace", index=index, address=settings.address, prefixlen=settings.prefix, broadcast=True
        )
        self._settings[index] = settings
        if settings.gateway:
            flags = _RTNH_F_ONLINK if settings.on_link else 0
            try:
                await self._route.route(
                    "replace",
                    dst="0.0.0.0/0",
                    gateway=settings.gateway,
                    oif=index,
                    priority=METRIC + index,
                    flags=flags,
                )
            except NetlinkError as e:  # the address is worth having without it
                say(f"cannot set the default route of {name} through {settings.gateway}: {e}")
        self._write_resolv_conf()
        say(describe(name, settings))

    async def _take_off(self, index: int, name: str, stale: Settings | None = None) -> None:
        """Take the address off the link; its routes go with it. A link that is gone has lost both already.

        stale: of a lease that a helper before this one had put on.
        """
        settings = self._settings.pop(index, stale)
        if settings is None:
            return
        with contextlib.suppress(NetlinkError):
            await self._route.addr("del", index=index, address=settings.address, prefixlen=settings.prefix)
        self._write_resolv_conf()
        say(f"{name} no longer has {settings.address}/{settings.prefix}")

    def _write_resolv_conf(self) -> None:
        """Write the name servers of all leases; a file that somebody else wrote stays as it is."""
        with contextlib.suppress(FileNotFoundError):
            if not RESOLV_CONF.read_text(encoding="utf-8", errors="replace").startswith(RESOLV_CONF_MARK):
                return
        text = resolv_conf(settings for _, settings in sorted(self._settings.items()))
        new = RESOLV_CONF.with_suffix(".new")
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(RESOLV_CONF)
        except OSError as e:
            say(f"cannot write {RESOLV_CONF}: {e}")


def _link(message: nlmsg) -> Link:
    """Return a link out of rtnetlink's message about it."""
    name = message.get_attr("IFLA_IFNAME")
    flags = message["flags"]
    return Link(
        index=message["index"],
        name=name,
        ethernet=message["ifi_type"] == _ARPHRD_ETHER,
        device=Path(f"/sys/class/net/{name}/device").exists(),
        port=bool(message.get_attr("IFLA_MASTER")),
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_RUNNING),
    )


class _KernelLog(logging.Handler):
    """Where pyroute2's warnings go."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one, but for those that only say what the link's own message says."""
        text = record.getMessage()
        if not text.endswith("network is down"):
            say(text)
