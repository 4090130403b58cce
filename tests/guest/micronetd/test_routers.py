"""Whose word counts on the socket of router advertisements: micronetd/routers.py."""

import socket
from typing import TYPE_CHECKING, cast

import pytest

from micronetd import routers
from tests.guest.micronetd.test_advertised import message

if TYPE_CHECKING:
    from micronetd.advertised import Advertised

SERVERS = b"\x19\x03\x00\x00" + (60).to_bytes(4, "big") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")


class Socket:
    """Gives one datagram from this port, or the error."""

    def __init__(self, port: int, error: OSError | None = None) -> None:
        self.port = port
        self.error = error

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        """The datagram and its sender's port and groups."""
        if self.error is not None:
            raise self.error
        return message(SERVERS), (self.port, 0)


@pytest.mark.parametrize(("port", "heard"), [(0, 1), (4711, 0)])
def test_only_the_kernel_is_believed(port: int, heard: int) -> None:
    """A process can send to a netlink socket: its name servers are nobody's. Port 0 is the kernel's (netlink(7))."""
    told: list[Advertised] = []
    routers._read(cast("socket.socket", Socket(port)), told.append)
    assert [one.servers for one in told] == [("2001:db8::1",)] * heard


def test_lost_messages_end_nothing() -> None:
    """ENOBUFS says that some were lost: the helper goes on, and routers say everything again."""
    told: list[Advertised] = []
    routers._read(cast("socket.socket", Socket(0, OSError(105, "No buffer space available"))), told.append)
    assert told == []
