"""The way to a detached guest: its keeper's socket, spoken to as an agent is."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from hostbuild.errors import GuestError, GuestTimeoutError, HostbuildError, WorldError
from hostbuild.guest.agent import ENDED, Agent
from hostbuild.guest.share import Share
from hostbuild.live.names import Place, in_directory, require_alive
from hostbuild.live.requests import pack_request, parse_answer
from microagent.frames import Frame, Kind

_ANSWER_S = 150.0  # a device that settles late
_END_S = 10.0  # a keeper that writes down how its guest ended


class Guest:
    """A connection to a detached guest. agent: what commands are run through."""

    def __init__(self, place: Place, agent: Agent) -> None:
        self.place = place
        self.agent = agent

    def ask(self, ask: str, **words: str) -> dict[str, Any]:
        """Ask the keeper and return its answer. Raises what the keeper met, GuestError at the guest's end."""
        answers: SimpleQueue[bytes | str] = SimpleQueue()
        number = self.agent.open(lambda frame: answers.put(frame.payload), answers.put)
        self.agent.send(Frame(Kind.ASK, number, pack_request(ask, **words)))
        try:
            answer = answers.get(timeout=_ANSWER_S)
        except Empty as e:
            raise GuestTimeoutError(
                f"the keeper of {self.place.name} does not answer within {_ANSWER_S:g} s"
            ) from e
        if isinstance(answer, str):
            raise self.ended()
        return parse_answer(answer)

    def ended(self) -> HostbuildError:
        """Return the error that tells how the guest ended."""
        self.place.wait_end(_END_S)
        return GuestError(f"the guest {self.place.name} has ended: {self.place.epitaph()}")

    def shares(self) -> list[Share]:
        """Return the folders that it has of this machine's."""
        found = []
        for entry in self.place.read("guest").get("shares", ()):
            with contextlib.suppress(ValueError, TypeError):
                directory, place, read_only = entry
                found.append(Share(Path(directory), str(place), bool(read_only)))
        return found


@contextlib.contextmanager
def connected(name: str) -> Iterator[Guest]:
    """Connect to a guest. Raises InputError where there is none of that name, GuestError where it has ended."""
    place = require_alive(name)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.closing(connection):
        try:
            with in_directory(place.directory) as directory:
                connection.connect(f"{directory}/{place.socket.name}")
        except (FileNotFoundError, ConnectionRefusedError) as e:
            if place.alive():
                raise GuestError(f"the guest {name} is not ready yet: it is booting, or ending") from e
            raise GuestError(f"the guest {name} has ended: {place.epitaph()}") from e
        except OSError as e:
            raise WorldError(f"cannot connect to the guest {name}: {e.strerror}") from e
        agent = Agent(connection.sendall, window=None)
        threading.Thread(target=_listen, args=(connection, agent), name="guest", daemon=True).start()
        if not agent.wait_ready(10.0):
            raise GuestError(f"the keeper of {name} does not answer")
        if agent.trouble:
            raise GuestError(
                f"the guest {name} is of another version of hostbuild: stop it, and start it again"
            )
        guest = Guest(place, agent)
        try:
            yield guest
        finally:
            agent.flush(2.0)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _listen(connection: socket.socket, agent: Agent) -> None:
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            agent.feed(data)
    agent.end(ENDED)
