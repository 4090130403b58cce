"""The uevent socket: datagrams in, an overrun made visible, nobody believed but the kernel.

netlink(7), lib/kobject_uevent.c. A datagram counts if it comes from port 0, which is the kernel's own, and if
the credentials that the kernel attached (unix(7), SCM_CREDENTIALS) say uid 0; udev once did not check and
gave root away (CVE-2009-1185). A look at a datagram's length comes before its reading, so that none is cut.
"""

from __future__ import annotations

import posix
from _socket import AF_NETLINK, MSG_PEEK, MSG_TRUNC, SO_PASSCRED, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET
from _socket import socket as RawSocket
from _struct import Struct
from errno import EAGAIN, EINTR, ENOBUFS

from modaliasd.core.errors import WorldError
from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.linux.config import is_there
from modaliasd.linux.descriptors import close_file, open_file

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1
MONITOR_GROUP = 2  # libudev's clients: UDEV_MONITOR_UDEV
LISTENERS = "/proc/net/netlink"
UDEVD = "/run/udev/control"  # its socket: where it runs, libudev's clients hear of each event from udevd
TABLE_ROOM = 16384  # bytes of it that are looked at: some 150 sockets
SOCK_CLOEXEC = 0o2000000
SOCK_NONBLOCK = 0o4000
SCM_CREDENTIALS = 2
SO_MEMINFO = 55  # an array of numbers (linux/sock_diag.h); the last is how many datagrams found no room
SO_RCVBUFFORCE = 33  # as SO_RCVBUF, beyond net.core.rmem_max; needs CAP_NET_ADMIN
RECEIVE_BUFFER = 128 << 20  # bytes, a ceiling and not an allocation; systemd-udevd's figure
UCRED = Struct("iII")  # pid, uid, gid: unix(7)
MEMINFO = Struct("9I")
ANCILLARY_SPACE = 64  # one cmsghdr and one ucred, with room


class Oddity(Enum):
    """What a read can bring instead of an event."""

    EMPTY = "empty"  # nothing more to read now
    OVERRUN = "overrun"  # the kernel dropped events: the buffer was full
    FORGED = "forged"  # a datagram that does not come from the kernel


class Datagram(NamedTuple):
    """A believed datagram of the kernel group."""

    payload: bytes


class UeventSocket:
    """Datagrams from a non-blocking `socket` that has SO_PASSCRED set; `fileno()` is for poll."""

    def __init__(self, socket: RawSocket) -> None:
        self._socket = socket
        self._peeked = bytearray(1)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def drops(self) -> int:
        """How many datagrams the kernel has dropped for want of room, in this socket's life (af_netlink.c, sk_drops).

        More than ENOBUFS tells: that comes once, and then not before all has been read.
        """
        try:
            data = self._socket.getsockopt(SOL_SOCKET, SO_MEMINFO, MEMINFO.size)
        except OSError:
            data = b""
        if len(data) < MEMINFO.size:
            return 0  # a kernel that does not say: ENOBUFS and walks remain
        return int(MEMINFO.unpack(data)[-1])

    def has_listeners(self) -> bool:
        """Tell whether anybody listens to what user space sends on (group 2), and udevd sends nothing.

        Where it is unknown who listens: yes.
        """
        if is_there(UDEVD):
            return False
        try:
            descriptor = open_file(LISTENERS)
        except OSError:
            return True
        try:
            table = posix.read(descriptor, TABLE_ROOM)
        except OSError:
            return True
        finally:
            close_file(descriptor)
        return listens(table, MONITOR_GROUP) or len(table) == TABLE_ROOM

    def send(self, message: bytes) -> bool:
        """Send a message to group 2; False if it did not go out: no right to send, or a listener's buffer is full."""
        try:
            self._socket.sendto(message, (0, MONITOR_GROUP))
        except ConnectionRefusedError:
            return True  # nobody listens
        except OSError:
            return False
        return True

    def receive(self) -> Datagram | Oddity:
        """One datagram, whatever its size, or why there is none."""
        try:
            length = self._socket.recv_into(self._peeked, 1, MSG_PEEK | MSG_TRUNC)
            data, ancillary, _flags, sender = self._socket.recvmsg(length, ANCILLARY_SPACE)
        except OSError as e:
            if e.errno == ENOBUFS:
                return Oddity.OVERRUN
            if e.errno in {EAGAIN, EINTR}:
                return Oddity.EMPTY
            raise WorldError(f"cannot read the kernel's uevents: {e.strerror}") from e
        if sender[0] != 0 or not _from_root(ancillary):
            return Oddity.FORGED
        return Datagram(data)


def subscribe(receive_buffer: int = RECEIVE_BUFFER) -> UeventSocket:
    """Listen to the kernel's uevents from now on. Raises WorldError where that cannot be done."""
    try:
        socket = RawSocket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)
        try:
            socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
        except PermissionError:
            socket.setsockopt(SOL_SOCKET, SO_RCVBUF, receive_buffer)
        socket.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        socket.bind((0, KERNEL_GROUP))
    except OSError as e:
        raise WorldError(f"cannot listen to the kernel's uevents (netlink family 15): {e.strerror}") from e
    return UeventSocket(socket)


def listens(table: bytes, group: int) -> bool:
    """Tell whether /proc/net/netlink (af_netlink.c: sk, Eth, Pid, Groups, ...) shows a uevent socket in this group."""
    for row in table.splitlines()[1:]:
        words = row.split()
        if len(words) > 3 and words[1] == b"%d" % NETLINK_KOBJECT_UEVENT and int(words[3], 16) & group:
            return True
    return False


def _from_root(ancillary: list[tuple[int, int, bytes]]) -> bool:
    """Return whether the credentials that the kernel attached name uid 0; none attached counts as no."""
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_CREDENTIALS and len(data) >= UCRED.size:
            _pid, uid, _gid = UCRED.unpack_from(data)
            return bool(uid == 0)
    return False
