"""DHCP frames made by hand, well-formed and hostile, and a wire that the helper's real client answers them on."""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from pyroute2.ext.rawsocket import AsyncRawSocket

MAC, SERVER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:99"
OFFER, ACK, NAK = 2, 5, 6
DISCOVER, REQUEST = 1, 3
SERVER = "192.168.7.1"
GRANT: dict[int, bytes] = {
    1: bytes([255, 255, 255, 0]),
    3: bytes([192, 168, 7, 1]),
    6: bytes([192, 168, 7, 1]),
    15: b"example.org",
    51: struct.pack(">I", 3600),
    54: bytes([192, 168, 7, 1]),
}


def option_bytes(options: Mapping[int, bytes]) -> bytes:
    """The options as they are on the wire, without an end."""
    return b"".join(bytes([code, len(value)]) + value for code, value in options.items())


def dhcp(
    kind: int | None,
    xid: int,
    options: bytes,
    *,
    address: str = "192.168.7.20",
    mac: str = MAC,
    op: int = 2,
    cookie: bytes = b"c\x82Sc",
    sname: bytes = b"",
    file: bytes = b"",
) -> bytes:
    """A message (RFC 2131, 2)."""
    own = ipaddress.IPv4Address(address).packed
    hardware = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack(">BBBBIHH4s4s4s4s", op, 1, 6, 0, xid, 0, 0, bytes(4), own, bytes(4), bytes(4))
    kinds = b"" if kind is None else bytes([53, 1, kind])
    return (
        head
        + hardware.ljust(16, b"\0")
        + sname.ljust(64, b"\0")
        + file.ljust(128, b"\0")
        + cookie
        + kinds
        + options
    )


def frame(message: bytes, *, ip_options: bytes = b"", length: int | None = None) -> bytes:
    """Ethernet, IPv4 and UDP around a message; checksums are left 0, which nobody looks at on a raw socket."""
    udp = struct.pack(">HHHH", 67, 68, 8 + len(message) if length is None else length, 0)
    size = 20 + len(ip_options) + len(udp) + len(message)
    ip = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | (5 + len(ip_options) // 4),
        0,
        size,
        0,
        0,
        64,
        17,
        0,
        bytes([192, 168, 7, 1]),
        b"\xff" * 4,
    )
    ethernet = bytes.fromhex(MAC.replace(":", "")) + bytes.fromhex(SERVER_MAC.replace(":", "")) + b"\x08\0"
    return ethernet + ip + ip_options + udp + message


class Wire:
    """The server's end. The client's end is what a raw socket would be."""

    def __init__(self) -> None:
        self._client, self._server = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._server.setblocking(False)

    @contextlib.contextmanager
    def plugged(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Have pyroute2's raw sockets be the client's end."""
        wire = self

        async def enter(raw: Any) -> Any:
            socket.socket.__init__(raw, fileno=wire._client.detach())
            raw.setblocking(False)
            raw.l2addr, raw.ifindex = MAC, 2
            raw._l2addr_watcher = asyncio.create_task(asyncio.sleep(1000))
            return raw

        patch.setattr(AsyncRawSocket, "__aenter__", enter)
        try:
            yield
        finally:
            self._server.close()
            self._client.close()

    async def asked(self, limit_s: float = 20.0) -> tuple[int, int]:
        """The next message of the client: its type and its number."""
        message = await self.heard(limit_s)
        (xid,) = struct.unpack_from(">I", message, 4)
        return message[242], xid

    async def heard(self, limit_s: float = 20.0) -> bytes:
        """The next message of the client, as RFC 2131 has it."""
        frame = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._server, 4096), limit_s)
        return frame[14 + 20 + 8 :]

    async def say(self, *frames: bytes) -> None:
        """Send frames to the client."""
        for one in frames:
            await asyncio.get_running_loop().sock_sendall(self._server, one)


class Route:
    """What stands in for rtnetlink: it takes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.changed = asyncio.Event()

    async def get_addr(self, **_what: object) -> AsyncIterator[Any]:
        """No address yet."""

        async def none() -> AsyncIterator[Any]:
            return
            yield

        return none()

    async def addr(self, verb: str, **what: Any) -> None:
        """An address comes, or goes."""
        self.told.append((f"addr {verb}", what))
        self.changed.set()

    async def route(self, verb: str, **what: Any) -> None:
        """A route comes."""
        self.told.append((f"route {verb}", what))
