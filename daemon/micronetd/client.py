"""pyroute2's DHCP client behind a door of ours: it only sees answers that are well-formed, and for the state it is in.

Anybody on the network can send answers, as many as he likes. Those that are dropped are counted, not told one by one,
and after a handful of them the socket is read at a bounded pace: the kernel drops what its buffer has no room for.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pyroute2.dhcp.client import AsyncDHCPClient
from pyroute2.dhcp.dhcp4msg import dhcp4msg
from pyroute2.dhcp.dhcp4socket import AsyncDHCP4Socket
from pyroute2.dhcp.enums.dhcp import Option
from pyroute2.dhcp.fsm import State
from pyroute2.dhcp.messages import ReceivedDHCPMessage
from pyroute2.dhcp.xids import Xid

from micronetd.answers import OFFER, Answer, parse_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import Signals

    from pyroute2.dhcp.client import ClientConfig

_AT_ONCE = 20  # answers that are dropped before the pace is bounded
_PACE = 0.05  # seconds between two further ones
_TELL = 60.0  # seconds between two lines about what was dropped
_LARGEST = 4096  # bytes of a frame that are looked at
WANTED = (
    Option.SUBNET_MASK,
    Option.CLASSLESS_STATIC_ROUTE,  # before the router, which some servers leave out then (RFC 3442)
    Option.ROUTER,
    Option.NAME_SERVER,
    Option.DOMAIN_NAME,
    Option.DOMAIN_SEARCH,
    Option.INTERFACE_MTU,
    Option.NTP_SERVERS,
    Option.LEASE_TIME,
    Option.RENEWAL_TIME,
    Option.REBINDING_TIME,
)
_NO_XID = 0xFFFFFFFF  # pyroute2 has no such number


class _Message(dhcp4msg):  # type: ignore[misc]
    """An answer as answers.py has made it anew: the search list is text there, and routes are numbers, of which
    pyroute2 has no types.
    """

    options = (
        *dhcp4msg.options,
        (Option.DOMAIN_SEARCH, "string"),
        (Option.CLASSLESS_STATIC_ROUTE, "array8"),
    )


class Client(AsyncDHCPClient):  # type: ignore[misc]  # pyroute2 has no types
    """A DHCP client whose socket hands on well-formed answers to what was asked last. say: tells of dropped ones."""

    def __init__(self, config: ClientConfig, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._say = say
        self._sock = _Door(config.interface, self._awaits, say)

    @property
    def workers(self) -> set[asyncio.Task[None]]:
        """The tasks that send and receive: where one ends, the client has ended, and says nothing of it."""
        return {self._sender_task, self._receiver_task}

    async def _rebind(self, signal: Signals | None = None) -> None:
        """Say that the server is silent, once a lease: from now on every server is asked (RFC 2131, 4.4.5)."""
        server = self.lease.ack["options"].get("server_id") if self.lease else None
        self._say(
            f"{self.config.interface}: the DHCP server {server} does not renew the lease; asking all servers"
        )
        await super()._rebind(signal)

    def _awaits(self, answer: Answer) -> bool:
        """Return whether it answers what was asked last: an offer if one is looked for, else a request."""
        if answer.xid == _NO_XID:
            return False
        xid = Xid(answer.xid)
        if not self.xid.matches(xid) or xid.request_state is not self.state:
            return False
        return (answer.kind == OFFER) == (self.state is State.SELECTING)


class _Door(AsyncDHCP4Socket):  # type: ignore[misc]
    def __init__(self, interface: str, awaits: Callable[[Answer], bool], say: Callable[[str], None]) -> None:
        super().__init__(interface)
        self._awaits = awaits
        self._say = say
        self._dropped = 0
        self._spare = float(_AT_ONCE)
        self._read_at = self._told_at = time.monotonic()

    async def get(self) -> ReceivedDHCPMessage:
        """Return the next answer that is one. Raises OSError where the socket fails."""
        while True:
            frame = await self.loop.sock_recv(self, _LARGEST)
            answer = parse_answer(frame, self.l2addr)
            if answer is not None and self._awaits(answer):
                return ReceivedDHCPMessage(
                    dhcp=_Message(buf=answer.message).decode(),
                    eth_src=answer.server_mac,
                    eth_dst=self.l2addr,
                    ip_src=answer.server,
                    sport=67,
                    dport=self.port,
                )
            await self._drop()

    async def _drop(self) -> None:
        """Count an answer that is none, say so now and then, and wait where they come too fast."""
        now = time.monotonic()
        self._spare = min(self._spare + (now - self._read_at) / _PACE, _AT_ONCE) - 1
        self._read_at = now
        self._dropped += 1
        if self._dropped > _AT_ONCE and now - self._told_at > _TELL:
            self._say(
                f"{self._dropped} DHCP answers on {self.ifname} dropped: malformed, or to nothing that was asked"
            )
            self._dropped, self._told_at = 0, now
        if self._spare < 0:
            await asyncio.sleep(_PACE)
