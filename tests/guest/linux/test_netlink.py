"""netlink.py on this machine's kernel: whom it believes, how much it reads, what it makes of errors.

Where processes send, the protocol is netlink's one for that (NETLINK_USERSOCK): there no privilege is needed, and
nobody on this machine listens. tests/vm has the same with uevents.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from errno import EAGAIN, EINTR, EIO, ENOBUFS
from typing import Any

import pytest

from modaliasd.core.errors import WorldError
from modaliasd.linux.netlink import (
    MONITOR_GROUP,
    NETLINK_KOBJECT_UEVENT,
    Datagram,
    Oddity,
    UeventSocket,
    listens,
    subscribe,
)
from tests.support.privileges import require_net_admin

SO_PASSCRED = 16
NETLINK_USERSOCK = 2
# A dump request for all network interfaces (rtnetlink(7)): nlmsghdr, then an ifinfomsg of zeros.
GET_LINKS = struct.pack("=IHHII16x", 32, 18, 0x301, 1, 0)


@pytest.fixture
def pair() -> Iterator[tuple[UeventSocket, socket.socket, int]]:
    """A uevent socket that only hears what is sent to it by name, one that sends, and the first one's port."""
    ours = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_USERSOCK)
    theirs = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_USERSOCK)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        ours.bind((0, 0))
        yield UeventSocket(ours), theirs, ours.getsockname()[0]


def test_a_perfect_forgery_by_root_is_not_believed(pair: tuple[UeventSocket, socket.socket, int]) -> None:
    """A uevent that a process sends, byte by byte like the kernel's and with uid 0, has the process's port."""
    uevents, forger, port = pair
    forger.sendto(b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0SEQNUM=1\0", (port, 0))
    assert uevents.receive() is Oddity.FORGED
    assert uevents.receive() is Oddity.EMPTY


@pytest.mark.parametrize("size", [1, 65536, 150_000])
def test_forgeries_of_any_size(pair: tuple[UeventSocket, socket.socket, int], size: int) -> None:
    """Not even a huge datagram stops the reading of the next."""
    uevents, forger, port = pair
    forger.sendto(b"x" * size, (port, 0))
    forger.sendto(b"y", (port, 0))
    assert [uevents.receive() for _ in range(3)] == [Oddity.FORGED, Oddity.FORGED, Oddity.EMPTY]


def test_what_the_kernel_sends_is_read_whole() -> None:
    """A datagram of the kernel's own (here of rtnetlink, for want of a plug to pull) comes whole, whatever its size."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0) as ours:
        ours.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        ours.bind((0, 0))
        ours.send(GET_LINKS)
        length = ours.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        got = UeventSocket(ours).receive()
    assert length > 100
    assert isinstance(got, Datagram)
    assert len(got.payload) == length


class Scripted:
    """A socket whose reads raise an error or give a datagram with these credentials."""

    def __init__(
        self, error: int = 0, ancillary: tuple[tuple[int, int, bytes], ...] = (), port: int = 0
    ) -> None:
        self._error = error
        self._ancillary = list(ancillary)
        self._port = port

    def recv_into(self, _buffer: bytearray, _size: int, _flags: int) -> int:
        """The length of the next datagram."""
        if self._error:
            raise OSError(self._error, "scripted")
        return 5

    def recvmsg(
        self, size: int, _room: int
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[int, int]]:
        """The datagram."""
        return b"hello"[:size], self._ancillary, 0, (self._port, 1)


def receive(**script: Any) -> Datagram | Oddity:
    return UeventSocket(Scripted(**script)).receive()  # type: ignore[arg-type]


def credentials(uid: int) -> tuple[tuple[int, int, bytes], ...]:
    return ((socket.SOL_SOCKET, 2, struct.pack("iII", 0, uid, 0)),)


def test_credentials_decide() -> None:
    """Port 0 and uid 0 together are the kernel; other uids, no credentials and torn ones are not."""
    assert receive(ancillary=credentials(0)) == Datagram(b"hello")
    assert receive(ancillary=credentials(1000)) is Oddity.FORGED
    assert receive(ancillary=()) is Oddity.FORGED
    assert receive(ancillary=((socket.SOL_SOCKET, 2, b"\0\0"),)) is Oddity.FORGED
    assert receive(ancillary=credentials(0), port=77) is Oddity.FORGED


def test_errors_have_their_meaning() -> None:
    """ENOBUFS is an overrun; nothing to read is nothing to read; anything else ends the daemon with a reason."""
    assert receive(error=ENOBUFS) is Oddity.OVERRUN
    assert receive(error=EAGAIN) is Oddity.EMPTY
    assert receive(error=EINTR) is Oddity.EMPTY
    with pytest.raises(WorldError, match="cannot read the kernel's uevents"):
        receive(error=EIO)


def send(sender: socket.socket, data: bytes) -> None:
    """Send to group 8. The kernel itself is a member of every group's audience, and has no ear for this protocol."""
    with contextlib.suppress(ConnectionRefusedError):
        sender.sendto(data, (0, 8))


def test_a_small_buffer_overruns_and_goes_on(pair: tuple[UeventSocket, socket.socket, int]) -> None:
    """A socket whose buffer is full says so once, and hears what comes after it (netlink(7), ENOBUFS)."""
    require_net_admin()
    _, flood, _ = pair
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_USERSOCK) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        ours.bind((0, 8))
        uevents = UeventSocket(ours)
        for _ in range(50):
            send(flood, b"z" * 1000)
        seen = [uevents.receive() for _ in range(60)]
        assert seen.count(Oddity.OVERRUN) == 1
        assert seen[-1] is Oddity.EMPTY
        send(flood, b"after")
        assert uevents.receive() is Oddity.FORGED


def test_what_is_dropped_is_counted_and_told_of_once(pair: tuple[UeventSocket, socket.socket, int]) -> None:
    """Between ENOBUFS and the socket's end the kernel drops in silence; its count (SO_MEMINFO) knows of all of it."""
    require_net_admin()
    _, flood, _ = pair
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_USERSOCK) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        ours.bind((0, 8))
        uevents = UeventSocket(ours)
        assert uevents.drops() == 0
        for _ in range(50):
            send(flood, b"z" * 1000)
        assert 0 < uevents.drops() < 50
        assert uevents.receive() is Oddity.OVERRUN
        assert uevents.receive() is Oddity.FORGED
        before = uevents.drops()
        for _ in range(3):
            send(flood, b"z")  # there would be room for it
        assert uevents.drops() == before + 3
        seen = [uevents.receive() for _ in range(60)]
        assert Oddity.OVERRUN not in seen
        assert 2 + seen.count(Oddity.FORGED) - 1 + uevents.drops() == 53
        send(flood, b"after")
        assert uevents.receive() is Oddity.FORGED


def test_who_listens_is_seen() -> None:
    """A socket in group 2 is seen in the kernel's table, and no other group or protocol is taken for it."""
    header = b"sk               Eth Pid        Groups   Rmem     Wmem\n"
    row = b"00000000f3b2a6c1 %d  4242       %08x 0        0\n"
    assert listens(header + row % (NETLINK_KOBJECT_UEVENT, 2), MONITOR_GROUP)
    assert listens(header + row % (0, 2) + row % (NETLINK_KOBJECT_UEVENT, 3), MONITOR_GROUP)
    assert not listens(header + row % (NETLINK_KOBJECT_UEVENT, 1), MONITOR_GROUP)
    assert not listens(header + row % (0, 2), MONITOR_GROUP)
    assert not listens(header + b"\nnonsense\n", MONITOR_GROUP)


def test_a_listener_is_noticed() -> None:
    """While somebody holds a socket in libudev's group of this kernel, it is seen."""
    require_net_admin()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as listener:
        listener.bind((0, MONITOR_GROUP))
        uevents = subscribe()
        assert uevents.has_listeners()
        uevents.close()


def test_what_is_sent_reaches_group_2(pair: tuple[UeventSocket, socket.socket, int]) -> None:
    """A listener gets what is sent on; without one it goes nowhere, and that is no failure."""
    require_net_admin()
    uevents, _, _ = pair
    assert uevents.send(b"nobody hears this")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_USERSOCK) as listener:
        listener.bind((0, MONITOR_GROUP))
        listener.settimeout(5)
        assert uevents.send(b"libudev\0and so on")
        assert listener.recv(100) == b"libudev\0and so on"
