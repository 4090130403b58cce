"""The socket that `modaliasd settle` and its like talk to: a line of words in, a line of JSON out.

/run/modaliasd/control, a unix stream socket. Only root is heard (SO_PEERCRED, unix(7)). A request is one
line of at most REQUEST_LIMIT bytes; its answer may come later (settle). Nothing here ever blocks the
service: a client that sends slowly or never reads costs a descriptor. There are at most MOST_CLIENTS: for one
more, the oldest makes room of those that have not finished asking, or do not take their answer. One whose
answer is still to come keeps its place. Where /run has no room for the socket, nobody is heard until it has.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SO_PEERCRED, SO_RCVTIMEO, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET
from _socket import socket as RawSocket
from _struct import Struct
from errno import EDQUOT, EMFILE, ENFILE, ENOSPC

from modaliasd.core.errors import WorldError

SOCK_CLOEXEC = 0o2000000
SOCK_NONBLOCK = 0o4000
REQUEST_LIMIT = 4096
MOST_CLIENTS = 128
ACCEPTS_A_TURN = 64  # connections taken before the other descriptors get their turn
UCRED = Struct("iII")  # pid, uid, gid
TIMEVAL = Struct("ll")  # seconds, microseconds


class Client:
    """A connection: what has come of its request, and what is still to be sent."""

    __slots__ = ("answered", "asked", "outgoing", "received", "socket")

    def __init__(self, socket: RawSocket) -> None:
        self.socket = socket
        self.received = b""
        self.outgoing = b""
        self.asked = False
        self.answered = False

    @property
    def is_idle(self) -> bool:
        """Does the daemon wait for the client, and not the client for the daemon?"""
        return not self.asked or self.answered


class Control:
    """Listens at `path`; clients are known by their descriptor."""

    def __init__(self, path: str, uid: int = 0) -> None:
        """uid: whose clients are heard."""
        self._path = path
        self._uid = uid
        self._clients: dict[int, Client] = {}
        self._listener: RawSocket | None = None
        self._spare = _open_spare()
        self.problem = ""  # why nobody is heard, or was not at first
        self.adopted: list[int] = []  # clients that were there from the start
        self.listen()

    def adopt(self, socket: RawSocket) -> None:
        """Take a client that is connected already."""
        socket.setblocking(False)
        self._clients[socket.fileno()] = Client(socket)
        self.adopted.append(socket.fileno())

    def listen(self) -> bool:
        """Make the socket if there is none yet; can clients connect?"""
        if self._listener is not None:
            return True
        try:
            self._listener = self._bind()
        except OSError as e:
            self.problem = f"cannot listen at {self._path}: {e.strerror}"
        return self._listener is not None

    def _bind(self) -> RawSocket:
        try:
            return _bound(self._path)
        except OSError as e:
            if e.errno not in {ENOSPC, EDQUOT} or not _exists(self._path):
                raise
        posix.unlink(self._path)  # a killed daemon's: that makes room for one
        return _bound(self._path)

    def fileno(self) -> int:
        """Return the listening descriptor, for poll; -1 while nobody is heard."""
        return -1 if self._listener is None else self._listener.fileno()

    def accept(self) -> tuple[list[int], list[int]]:
        """Take waiting connections, ACCEPTS_A_TURN at most.

        Gives the descriptors to be polled for input, and before that, those that were closed to make room.
        """
        fresh: list[int] = []
        evicted: list[int] = []
        for _ in range(ACCEPTS_A_TURN):
            socket = self._accept()
            if socket is None:
                break
            if _uid_of(socket) != self._uid:
                socket.close()
                continue
            if len(self._clients) >= MOST_CLIENTS:
                idle = next((d for d, client in self._clients.items() if client.is_idle), -1)
                if idle < 0:
                    socket.close()
                    continue
                self.close(idle)
                if idle in fresh:
                    fresh.remove(idle)
                else:
                    evicted.append(idle)
            self._clients[socket.fileno()] = Client(socket)
            fresh.append(socket.fileno())
        return fresh, evicted

    def _accept(self) -> RawSocket | None:
        """Accept the next connection; None if there is none, or no descriptor to take it with."""
        assert self._listener is not None
        try:
            descriptor, _address = self._listener._accept()  # type: ignore[attr-defined]  # accept() is in the costly half
        except OSError as e:
            if e.errno in {EMFILE, ENFILE}:
                self._turn_away()
            return None
        socket = RawSocket(fileno=descriptor)
        socket.setblocking(False)
        return socket

    def _turn_away(self) -> None:
        """Out of descriptors: close the next connection, which would wake poll for ever if it were left."""
        assert self._listener is not None
        if self._spare >= 0:
            posix.close(self._spare)
        try:
            descriptor, _address = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            descriptor = -1
        if descriptor >= 0:
            posix.close(descriptor)
        self._spare = _open_spare()

    def request(self, descriptor: int) -> list[str] | None:
        """Read from a client: the words of its request once its line is whole, else None (see `is_open`)."""
        client = self._clients[descriptor]
        try:
            data = client.socket.recv(REQUEST_LIMIT)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.close(descriptor)
            return None
        if client.asked:
            return None
        client.received += data
        line, newline, _rest = client.received.partition(b"\n")
        if len(line) > REQUEST_LIMIT:
            self.close(descriptor)
            return None
        if newline:
            client.asked = True
            return line.decode("utf-8", "surrogateescape").split()
        return None

    def answer(self, descriptor: int, line: str) -> None:
        """Send the answer; what the client does not take at once goes when it reads."""
        client = self._clients.get(descriptor)
        if client is None:
            return
        client.outgoing = line.encode("ascii") + b"\n"
        client.answered = True
        self.send(descriptor)

    def send(self, descriptor: int) -> None:
        """Send what is left; closes the connection when everything has gone."""
        client = self._clients[descriptor]
        try:
            sent = client.socket.send(client.outgoing)
        except BlockingIOError:
            return
        except OSError:
            self.close(descriptor)
            return
        client.outgoing = client.outgoing[sent:]
        if not client.outgoing:
            self.close(descriptor)

    def is_open(self, descriptor: int) -> bool:
        """Return whether this is still a client's connection."""
        return descriptor in self._clients

    def wants_to_send(self, descriptor: int) -> bool:
        """Return whether there is an answer that the client has not taken yet."""
        client = self._clients.get(descriptor)
        return client is not None and bool(client.outgoing)

    def close(self, descriptor: int) -> None:
        """Forget a client."""
        client = self._clients.pop(descriptor, None)
        if client is not None:
            client.socket.close()


def _bound(path: str) -> RawSocket:
    """Return a socket that listens at the path. Raises OSError."""
    socket = RawSocket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    fresh = path + ".new"
    try:
        if _exists(fresh):
            posix.unlink(fresh)  # a daemon was killed just here
        socket.bind(fresh)
        posix.chmod(fresh, 0o600)
        socket.listen(MOST_CLIENTS)
        posix.rename(fresh, path)  # a client finds the old daemon or this one, never nothing
    except OSError:
        socket.close()
        raise
    return socket


def _open_spare() -> int:
    """Open a descriptor to be closed when one is needed; -1 if there is none left."""
    try:
        return posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return -1


def _exists(path: str) -> bool:
    try:
        posix.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _uid_of(socket: RawSocket) -> int:
    """Whose process connected; -1 where the kernel does not say."""
    try:
        credentials = socket.getsockopt(SOL_SOCKET, SO_PEERCRED, UCRED.size)
    except OSError:
        return -1
    uid: int = UCRED.unpack(credentials)[1]
    return uid


class NoDaemonError(WorldError):
    """Nobody answers on the socket: no daemon runs, it is being started again, or it died over the request."""


def ask(path: str, words: list[str], timeout: float | None) -> str:
    """Be a client: one request, its answer's line. NoDaemonError where nobody answers, WorldError where not in time."""
    socket = RawSocket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        if timeout is not None:
            # The kernel's own time limits: with Python's the socket does not block, and then connect() fails at once
            # where many clients stand in line.
            limit = TIMEVAL.pack(int(timeout), int(timeout % 1 * 1e6))
            socket.setsockopt(SOL_SOCKET, SO_SNDTIMEO, limit)
            socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, limit)
        socket.connect(path)
        socket.sendall(" ".join(words).encode("utf-8", "surrogateescape") + b"\n")
        chunks: list[bytes] = []
        while chunk := socket.recv(65536):
            chunks.append(chunk)
    except BlockingIOError as e:
        raise WorldError(f"the daemon at {path} did not answer `{words[0]}` within {timeout} s") from e
    except OSError as e:
        raise NoDaemonError(f"no daemon answers at {path}: {e.strerror}; start it: modaliasd run") from e
    finally:
        socket.close()
    if not chunks:
        raise NoDaemonError(
            f"the daemon at {path} closed the connection without an answer (only root may ask)"
        )
    said = b"".join(chunks)
    if not said.endswith(b"\n"):
        raise NoDaemonError(f"the daemon at {path} broke off its answer: it ended meanwhile")
    return said.decode("ascii").rstrip("\n")
