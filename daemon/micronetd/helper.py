"""The helper itself: links and addresses through rtnetlink, leases through DHCP, both by pyroute2.

It subscribes to the links' messages before it lists the links. Each link that is to be configured has a task, which
gives it what the command line says and keeps a DHCP client at work; a link's end ends its task. The leases lie in
/run/network (NAME.lease.json), where a helper that is started again finds them, and asks for the same addresses.

A message that was lost (ENOBUFS) or any other failure of the rtnetlink socket ends the process: it is started again,
and begins with the list of all links, which is the way to make good for what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
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

from micronetd.advertised import Heard
from micronetd.applied import RESOLV_CONF, TIME_SERVERS, Applied
from micronetd.client import WANTED, Client
from micronetd.links import Do, Link, Links, Step
from micronetd.log import KernelLog, say
from micronetd.plan import Plan
from micronetd.routers import listening
from micronetd.settings import Settings, settings_of, settings_of_card
from micronetd.words import Card, Method, parse_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyroute2.netlink import nlmsg

    from micronetd.advertised import Advertised

STATE = Path("/run/network")
COMMAND_LINE = Path("/proc/cmdline")
HOST_NAME = Path("/proc/sys/kernel/hostname")
IPV6 = Path("/proc/sys/net/ipv6/conf")

HELP = """\
usage: micronetd

Brings up every Ethernet link that has a device behind it, and while the link has a carrier gets its IPv4 address,
default route and name servers by DHCP. A link that already has an address is left alone, and so is a port of a bridge.
Words of the kernel's command line ask for something else:

  ip=CARD:METHOD              dhcp, auto6 (IPv6 routers only), link6, off
  ip=IP::GATEWAY:NETMASK:HOSTNAME:CARD:off[:DNS[:DNS[:NTP]]]
  vlan=CARD.5:CARD  nameserver=IP

Runs until stopped; init starts it (/usr/lib/micro/network). It writes to the kernel's log, and keeps its leases in
/run/network. `hostbuild make-image --with network` puts it into an image.
"""

_ARPHRD_ETHER = 1
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_PATIENCE = 15.0  # seconds without an answer after which it is said that there is none
_DHCP, _ROUTER = "DHCP", "router"  # sources of settings
_GATHERING = 0.5  # seconds that routers' advertisements are gathered for, before resolv.conf is written
_LONGEST_WAIT = 86400.0  # seconds; timers take no number
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
    logging.getLogger("pyroute2").addHandler(KernelLog(logging.WARNING))
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


async def _serve() -> None:
    asyncio.get_running_loop().set_exception_handler(_tell_of_task)
    words = parse_words(COMMAND_LINE.read_text(encoding="utf-8", errors="replace"))
    for problem in words.problems:
        say(problem)
    plan = Plan(words)
    if plan.hostname:
        _write(HOST_NAME, plan.hostname.partition(".")[0])  # what follows the dot is NIS's domain
    async with AsyncIPRoute() as route:
        helper = _Helper(route, plan)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(listening(helper.advertised))
            except OSError as e:
                say(f"cannot listen for routers' name servers: {e}")
            await route.bind(RTMGRP_LINK)
            # the whole list first: what take_in asks the kernel has its answers on the same socket
            for message in [message async for message in await route.get_links()]:
                await helper.take_in(message)
            while True:
                async for message in route.get():
                    await helper.take_in(message)


def _tell_of_task(_loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
    """Say in a line what ended a task that nobody waits for, such as a timer of pyroute2's client."""
    error = context.get("exception")
    say(f"a task failed: {type(error).__name__}: {error}" if error else str(context.get("message")))


def _tell_of_end(task: asyncio.Task[None]) -> None:
    """Say what ended a link's task: the link would be without its addresses, and nobody would know."""
    if not task.cancelled() and (error := task.exception()) is not None:
        say(f"a link could not be configured: {type(error).__name__}: {error}")


class _Helper:
    """Does what Links says there is to do."""

    def __init__(self, route: AsyncIPRoute, plan: Plan) -> None:
        self._route = route
        self._plan = plan
        self._links = Links(plan)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._heard: dict[int, Heard] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._dumping = asyncio.Lock()
        self._applied = Applied(route, say, plan.servers, RESOLV_CONF, TIME_SERVERS)

    async def take_in(self, message: nlmsg) -> None:
        """Take in a message about a link."""
        if message["family"]:
            return  # AF_BRIDGE: about a port's place in its bridge
        if message["event"] == "RTM_DELLINK":
            steps = self._links.gone(message["index"])
        else:
            steps = self._links.see(self._link(message))
        for step in steps:
            await self._do(step)

    def advertised(self, told: Advertised) -> None:
        """Take in what a router says of a link; of others than ours nothing."""
        if told.index in self._tasks:
            heard = self._heard.setdefault(told.index, Heard())
            heard.take(told, time.monotonic())
            self._note_in(_GATHERING, told.index)

    def _note_in(self, wait: float, index: int) -> None:
        """Have _note called in so many seconds, or sooner if that is to be."""
        loop = asyncio.get_running_loop()
        timer = self._timers.pop(index, None)
        when = loop.time() + wait
        if timer is not None:
            timer.cancel()
            when = max(loop.time(), min(when, timer.when()))
        self._timers[index] = loop.call_at(when, self._note, index)

    def _note(self, index: int) -> None:
        """Have resolv.conf say what routers say, and again when the next of it ends."""
        self._timers.pop(index, None)
        heard = self._heard.get(index)
        if heard is None:
            return  # the link was let go of
        now = time.monotonic()
        servers, domains = heard.now(now)
        try:
            name = socket.if_indextoname(index)
        except OSError:  # the link is going
            return
        first = servers and not self._applied.has(index, _ROUTER)
        scoped = tuple(f"{one}%{name}" if one.startswith("fe80:") else one for one in servers)
        self._applied.note(index, _ROUTER, Settings(servers=scoped, domains=domains))
        if first:
            say(f"{name} has name servers by router advertisement: {', '.join(servers)}")
        if (end := heard.next_end()) is not None:
            # not at once again: lifetimes are whatever somebody has sent
            self._note_in(min(max(end - now, 1.0), _LONGEST_WAIT), index)

    async def _do(self, step: Step) -> None:
        if step.do is Do.SET_UP:
            self._set_ipv6(step.index, step.name)
            try:
                await self._route.link("set", index=step.index, state="up")
            except NetlinkError as e:
                say(f"cannot bring {step.name} up: {e}")
        elif step.do is Do.ADD_VLANS:
            await self._add_vlans(step.index, step.name)
        elif step.do is Do.CONFIGURE:
            task = self._tasks[step.index] = asyncio.create_task(self._configure(step.index, step.name))
            task.add_done_callback(_tell_of_end)
        elif step.do is Do.LET_GO:
            task = self._tasks.pop(step.index)
            self._heard.pop(step.index, None)
            task.cancel()
            await asyncio.wait([task], timeout=_PATIENCE)
            await self._applied.clear(step.index, step.name)
        elif step.do is Do.FORGET:
            Path(f"{step.name}.lease.json").unlink(missing_ok=True)

    def _set_ipv6(self, index: int, name: str) -> None:
        """Tell the kernel whether it is to believe routers, where the command line says something of it."""
        methods = {card.method for card in self._plan.cards(index, name)}
        if Method.ROUTER in methods:
            _write(IPV6 / name / "accept_ra", "1")
        elif Method.LINK in methods:
            _write(IPV6 / name / "accept_ra", "0")

    async def _add_vlans(self, index: int, name: str) -> None:
        for vlan in self._plan.vlans_over(name):
            try:
                await self._route.link("add", ifname=vlan.name, kind="vlan", link=index, vlan_id=vlan.number)
            except NetlinkError as e:
                if e.code != errno.EEXIST:  # a helper before this one has made it
                    hint = "; the module 8021q is needed" if e.code == errno.EOPNOTSUPP else ""
                    say(f"cannot make the VLAN {vlan.name} over {name}: {e}{hint}")

    async def _configure(self, index: int, name: str) -> None:
        """Give a link what the command line asks for, and keep a DHCP client at work where it does; until cancelled."""
        cards = self._plan.cards(index, name)
        lease = JSONFileLease.load(name)
        ours = {card.address for card in cards}
        if lease is not None:
            ours.add(lease.ip)  # a helper before this one may have put it on
        if set(await self._addresses(index)) - ours:
            say(f"{name} already has an address that is not ours; leaving it alone")
            return
        self._set_ipv6(index, name)
        for card in cards:
            if card.method is not Method.DHCP:
                await self._put_on_card(index, name, card)
        for card in cards:
            if card.method is Method.DHCP:
                await self._keep_lease(index, name, card)

    async def _put_on_card(self, index: int, name: str, card: Card) -> None:
        source = "ip= (IPv6)" if ":" in card.address or card.method is not Method.STATIC else "ip="
        try:
            await self._applied.put_on(index, name, source, settings_of_card(card))
        except NetlinkError as e:
            say(f"cannot give {name} the address {card.address}/{card.prefix}: {e}")

    async def _keep_lease(self, index: int, name: str, card: Card) -> None:
        while True:
            try:
                await self._run_client(index, name, card)
            except Exception as e:  # noqa: BLE001 - or the link would be without DHCP for good, and nobody would know
                say(f"DHCP on {name} failed, retrying in {_AGAIN:.0f} s: {type(e).__name__}: {e}")
            await asyncio.sleep(_AGAIN)

    async def _addresses(self, index: int) -> list[str]:
        """Return the IPv4 addresses that a link has.

        A socket has one dump at a time, or fails with EBUSY (net/netlink/af_netlink.c, __netlink_dump_start); so links
        that show together wait for each other.
        """
        async with self._dumping:
            dump = await self._route.get_addr(index=index, family=socket.AF_INET)
            return [one.get_attr("IFA_ADDRESS") async for one in dump]

    async def _run_client(self, index: int, name: str, card: Card) -> None:
        async def put_on(lease: Lease) -> None:
            await self._applied.put_on(index, name, _DHCP, settings_of(lease.ip, lease.ack["options"], card))

        async def take_off(lease: Lease, why: str) -> None:
            stale = settings_of(lease.ip, lease.ack["options"], card)
            await self._applied.take_off(index, name, _DHCP, stale, why)

        async def expired(lease: Lease) -> None:
            await take_off(lease, "the lease has run out, and no server has renewed it; still asking")

        async def refused(lease: Lease) -> None:
            await take_off(lease, "the server has refused it")

        config = ClientConfig(
            interface=name,
            lease_type=JSONFileLease,
            requested_parameters=WANTED,
            hooks=(
                hook(Trigger.BOUND, Trigger.RENEWED, Trigger.REBOUND)(put_on),
                hook(Trigger.UNBOUND)(refused),
                hook(Trigger.EXPIRED)(expired),
            ),
            handle_signals=False,
            hook_timeout=None,  # a hook that is cancelled halfway leaves the link half set; at nice 19 all takes time
            release=False,  # the same address is asked for when the link is back
            vendor_id=None,
            host_name=card.hostname or None,
        )
        async with Client(config, say) as client:
            await client.bootstrap()
            workers = client.workers  # both go on for ever, unless the socket fails
            done, _ = await asyncio.wait(workers, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not done and not self._applied.has(index, _DHCP):
                say(f"no DHCP answer on {name} yet; still trying")
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in done:
                worker.result()

    def _link(self, message: nlmsg) -> Link:
        """Return a link out of rtnetlink's message about it."""
        name = message.get_attr("IFLA_IFNAME")
        flags = message["flags"]
        return Link(
            index=message["index"],
            name=name,
            ethernet=message["ifi_type"] == _ARPHRD_ETHER,
            device=self._plan.is_vlan(name) or Path(f"/sys/class/net/{name}/device").exists(),
            port=bool(message.get_attr("IFLA_MASTER")),
            up=bool(flags & _IFF_UP),
            carrier=bool(flags & _IFF_RUNNING),
        )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as e:
        say(f"cannot set {path}: {e.strerror}")
