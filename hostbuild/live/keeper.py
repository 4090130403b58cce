"""Who keeps a detached guest: holds its machine, and serves those who ask for it on a socket until it ends.

A client's commands are frames (microagent.frames), passed on with other numbers; what a client may have under way is
the agent's window, so nobody's output fills this process. Each client has a thread; each plug has one as well.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostbuild.errors import HostbuildError
from hostbuild.guest.agent import ENDED, Agent
from hostbuild.live.names import Place, in_directory
from hostbuild.live.plug import plug, unplug
from hostbuild.live.ready import power_off
from hostbuild.live.requests import pack_answer, pack_error, parse_request
from hostbuild.qemu.vm import VM
from microagent.frames import Decoder, Frame, Kind, encode
from microagent.messages import pack_hello

_CONSOLE_MAX = 8 << 20  # bytes of console.log; what is older becomes console.log.old, and then goes
_ANSWERS_S = 6.0  # an agent that said something so long ago is there
_FORWARDED = (Kind.STDIN, Kind.STDIN_END, Kind.CREDIT, Kind.SIGNAL, Kind.SIZE)


class Keeper:
    """Serves a guest's clients; `close` ends that. stopping: somebody has asked for the guest's end."""

    def __init__(self, vm: VM, place: Place) -> None:
        self.stopping = False
        self._vm = vm
        self._plugging = threading.Lock()
        self._clients: set[_Client] = set()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with in_directory(place.directory) as directory:
            self._listening.bind(f"{directory}/{place.socket.name}")
        self._listening.listen(16)
        threading.Thread(target=self._accept, name="clients", daemon=True).start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._listening.close()
        for client in list(self._clients):
            client.close()

    def answer(self, data: bytes) -> bytes:
        """Do what a request asks for and return the answer."""
        try:
            ask, words = parse_request(data)
            return pack_answer(self._do(ask, words))
        except HostbuildError as e:
            return pack_error(e)

    def _do(self, ask: str, words: dict[str, str]) -> dict[str, Any]:
        if ask == "status":
            return {"records": len(self._vm.ledger), "qemu": self._vm.pid}
        if ask == "stop":
            self.stopping = True
            threading.Thread(target=self._stop, name="stop", daemon=True).start()
            return {}
        with self._plugging:
            if ask == "plug":
                return plug(self._vm, self._vm.agent(), words["device"])
            return unplug(self._vm, words["id"])

    def _stop(self) -> None:
        power_off(self._vm, self._vm.agent(), 0)
        self._vm.kill()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            client = _Client(connection, self._vm.agent, self.answer, self._clients.discard)
            self._clients.add(client)
            client.start()


class _Client:
    """One connection: its numbers, and those that their commands have in the guest."""

    def __init__(
        self,
        connection: socket.socket,
        agent: Callable[[], Agent],
        answer: Callable[[bytes], bytes],
        forget: Callable[["_Client"], None],
    ) -> None:
        self._connection = connection
        self._agent = agent
        self._answer = answer
        self._forget = forget
        self._numbers: dict[int, tuple[Agent, int]] = {}
        self._waiting: deque[bytes] = deque()
        self._closed = False
        self._news = threading.Condition()

    def start(self) -> None:
        """Begin to listen and to speak."""
        self._say(Frame(Kind.HELLO, 0, pack_hello()))
        threading.Thread(target=self._write, name="to a client", daemon=True).start()
        threading.Thread(target=self._read, name="from a client", daemon=True).start()

    def close(self) -> None:
        """Hang up, once what is waiting has been written."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _read(self) -> None:
        decoder = Decoder()
        with contextlib.suppress(OSError):
            while data := self._connection.recv(65536):
                for frame in decoder.feed(data):
                    self._take(frame)
        for agent, number in list(self._numbers.values()):  # it went away under its commands
            agent.send(Frame(Kind.SIGNAL, number, b"\x01"))
            agent.forget(number)
        self.close()

    def _take(self, frame: Frame) -> None:
        kind, theirs, payload = frame
        if kind is Kind.PING:
            agent = self._agent()
            if time.monotonic() - agent.heard < _ANSWERS_S:
                self._say(Frame(Kind.PONG))
            agent.ping()
        elif kind is Kind.ASK:
            threading.Thread(target=self._ask, args=(theirs, payload), name="request", daemon=True).start()
        elif kind is Kind.START and theirs not in self._numbers:
            agent = self._agent()
            number = agent.open(
                lambda heard: self._pass_back(theirs, heard), lambda reason: self._lost(theirs, reason)
            )
            self._numbers[theirs] = agent, number
            agent.send(Frame(Kind.START, number, payload))
        elif kind in _FORWARDED and (found := self._numbers.get(theirs)):
            agent, number = found
            agent.send(Frame(kind, number, payload))

    def _ask(self, theirs: int, payload: bytes) -> None:
        self._say(Frame(Kind.ANSWER, theirs, self._answer(payload)))

    def _pass_back(self, theirs: int, heard: Frame) -> None:
        if heard.kind in (Kind.EXIT, Kind.REFUSED):
            self._numbers.pop(theirs, None)
        self._say(Frame(heard.kind, theirs, heard.payload))

    def _lost(self, theirs: int, reason: str) -> None:
        self._numbers.pop(theirs, None)
        if reason == ENDED:
            self.close()
        else:
            self._say(Frame(Kind.LOST, theirs, reason.encode()))

    def _say(self, frame: Frame) -> None:
        with self._news:
            self._waiting.append(encode(frame))
            self._news.notify_all()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._waiting or self._closed)
                    if not self._waiting:
                        break
                    data = self._waiting.popleft()
                self._connection.sendall(data)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._forget(self)


class BoundedLog:
    """A file that grows to a limit; then it becomes NAME.old, and a new one begins."""

    def __init__(self, path: Path, most: int = _CONSOLE_MAX) -> None:
        self._path = path
        self._most = most
        self._file = path.open("ab", buffering=0)
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._size += len(data)
        if self._size > self._most:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.old"))
            self._file = self._path.open("ab", buffering=0)
            self._size = len(data)
        self._file.write(data)
