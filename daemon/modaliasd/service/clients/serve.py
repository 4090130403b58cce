"""Requests: what clients of the control socket ask for. Those who have to wait for the answer are waiters.py's."""

from __future__ import annotations

from select import POLLIN, POLLOUT

from modaliasd.core.ledger.write import to_json
from modaliasd.service.clients.waiters import Waiters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from select import poll

    from modaliasd.core.ledger.write import Json
    from modaliasd.service.clients.root import RootRequests
    from modaliasd.service.ports.loading import StatusLoader
    from modaliasd.service.ports.outside import ClientListener, Clock, Flushable, Writer
    from modaliasd.service.ports.parts import (
        AskedRegistry,
        CountingIntake,
        FreezingGate,
        Waited,
        WalkRequests,
    )

LONGEST_WAIT_S = 1e6
LISTEN_AGAIN_MS = 10_000  # until it is tried again to make a socket for which there was no room
ACTIONS = ("load", "freeze", "may-load")  # requests of a daemon that loads
NOT_RUN = "126"  # a shell's status for what is there and cannot be executed


class Clients:
    """Serves the clients of `control`; their descriptors are registered with `poller`.

    on_freeze: makes a freeze last beyond this daemon's life; gives what could not be done, "" if nothing. observing:
    does this daemon load nothing?
    """

    def __init__(
        self,
        *,
        control: ClientListener,
        poller: poll,
        registry: AskedRegistry,
        loader: StatusLoader,
        walker: WalkRequests,
        intake: CountingIntake,
        settlement: Waited,
        gate: FreezingGate,
        on_freeze: Callable[[], str],
        ledger: Flushable,
        writer: Writer,
        clock: Clock,
        observing: bool = False,
    ) -> None:
        self._control = control
        self._poll = poller
        self._registry = registry
        self._loader = loader
        self._walker = walker
        self._intake = intake
        self._settlement = settlement
        self._gate = gate
        self._on_freeze = on_freeze
        self._ledger = ledger
        self._writer = writer
        self._clock = clock
        self._waiters = Waiters(
            registry=registry,
            loader=loader,
            settlement=settlement,
            ledger=ledger,
            clock=clock,
            answer=self._answer,
            busy=self._busy,
            on_none=self._none_waits,
        )
        self._root: RootRequests | None = None
        self._requests: dict[str, Callable[[int, list[str]], str | None]] = {
            "settle": self._settle,
            "status": self._status,
            "coldplug": self._coldplug,
            "load": self._load,
            "need": self._need,
            "exit": self._exit,
            "settled-script": self._settled_script,
            "freeze": self._freeze,
            "may-load": self._may_load,
            "wait": self._wait_for,
            "blocks": lambda client, words: self._root_requests().blocks(client, words),
            "root": lambda client, words: self._root_requests().root(client, words),
            "root-details": lambda client, words: self._root_requests().details(client, words),
        }
        if observing:
            self._requests |= dict.fromkeys(ACTIONS, self._refuse)
        self._listening = False
        self._listen_us = 0  # when it is tried again, while nobody can connect
        self._listen()
        for descriptor in control.adopted:
            poller.register(descriptor, POLLIN)

    @property
    def leaving(self) -> bool:
        """Was this daemon asked to end?"""
        return self._root is not None and self._root.leaving

    @property
    def considering(self) -> bool:
        """Does somebody look at a device, before which nothing is to be started?"""
        return self._root is not None and self._root.considering()

    @property
    def problem(self) -> str:
        """Why nobody is heard; "" if clients can connect."""
        return "" if self._listening else self._control.problem

    def serve(self, descriptor: int) -> bool:
        """Deal with a ready descriptor; False if it is none of the clients'."""
        control = self._control
        if descriptor == control.fileno():
            self._admit()
        elif not control.is_open(descriptor):
            return False
        elif control.wants_to_send(descriptor):
            control.send(descriptor)
            self._forget_if_closed(descriptor)
        else:
            words = control.request(descriptor)
            if words is not None:
                self._handle(descriptor, words)
            self._forget_if_closed(descriptor)
        return True

    def settled(self, fields: dict[str, Json], as_of_us: int) -> None:
        """All that had happened by `as_of_us` has been dealt with: tell those who have waited since then or longer."""
        self._waiters.settled(fields, as_of_us)
        if self._root is not None:
            self._root.settled(as_of_us)

    def attend(self) -> None:
        """Answer those for whom the device has come, or whose loads have ended, or whose time is up."""
        if not self._listening and self._clock() >= self._listen_us:
            self._listen()
        self._waiters.attend()
        if self._root is not None:
            self._root.attend()

    def _listen(self) -> None:
        self._listening = self._control.listen()
        if self._listening:
            self._poll.register(self._control.fileno(), POLLIN)
        else:
            self._listen_us = self._clock() + LISTEN_AGAIN_MS * 1000

    def timeout_ms(self) -> int:
        """Until the first waiter's time is up; -1: nobody has a deadline."""
        now = self._clock()
        deadlines = self._waiters.deadlines_us()
        deadlines += self._root.times_us() if self._root is not None else []
        times = [max(0, (deadline - now) // 1000 + 1) for deadline in deadlines]
        if not self._listening:
            times.append(LISTEN_AGAIN_MS)
        return min(times) if times else -1

    def _admit(self) -> None:
        fresh, evicted = self._control.accept()
        for descriptor in evicted:
            self._forget(descriptor)
        for descriptor in fresh:
            self._poll.register(descriptor, POLLIN)

    def _forget_if_closed(self, descriptor: int) -> None:
        if not self._control.is_open(descriptor):
            self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        try:
            self._poll.unregister(descriptor)
        except KeyError:
            return  # already forgotten, by its answer
        self._waiters.forget(descriptor)
        if self._root is not None:
            self._root.forget(descriptor)

    def _root_requests(self) -> RootRequests:
        if self._root is None:
            from modaliasd.service.clients.root import RootRequests  # in boots with a root file system only

            self._root = RootRequests(
                registry=self._registry,
                loader=self._loader,
                settlement=self._settlement,
                ledger=self._ledger,
                writer=self._writer,
                clock=self._clock,
                answer=self._answer,
            )
        return self._root

    def _handle(self, client: int, words: list[str]) -> None:
        """Do what the words ask for; an unknown request, or one that makes no sense, is answered with an error."""
        request = self._requests.get(words[0]) if words else None
        error: str | None = f"unknown request: {' '.join(words)[:80]}"
        if request is not None:
            error = request(client, words[1:])
        if error:
            self._answer(client, {"ok": False, "error": error})

    def _refuse(self, _client: int, _arguments: list[str]) -> str:
        return "this daemon only observes (modaliasd run --observe): it loads nothing, and forbids nothing"

    def _settle(self, client: int, arguments: list[str]) -> str | None:
        deadline = self._deadline(arguments[0]) if arguments else 0
        if deadline is None:
            return f"invalid number of seconds: {arguments[0][:80]}"
        self._waiters.add_for_settle(client, deadline)
        return None

    def _status(self, client: int, _arguments: list[str]) -> None:
        self._answer(client, {"ok": True} | self._busy())

    def _coldplug(self, client: int, _arguments: list[str]) -> None:
        self._walker.request("request")
        self._waiters.add_for_settle(client, 0)

    def _load(self, client: int, arguments: list[str]) -> str | None:
        return self._load_for(client, arguments, "modaliasd load")

    def _need(self, client: int, arguments: list[str]) -> str | None:
        """need MODULE...: before all others; the root file system's own."""
        self._root_requests().need()
        return self._load_for(client, arguments, "root=", first=True)

    def _load_for(self, client: int, names: list[str], who: str, *, first: bool = False) -> str | None:
        if not names:
            return "load: expected the names of modules"
        modules: dict[str, None] = {}
        for name in names:
            modules |= dict.fromkeys(self._registry.want_by_name(name, who, first=first))
        self._waiters.add_for_loads(client, tuple(modules))
        return None

    def _exit(self, client: int, arguments: list[str]) -> str | None:
        status = arguments[0] if arguments else ""
        if not (status.isascii() and status.isdigit() and len(status) <= 3 and int(status) <= 255):
            return "exit: expected a status from 0 to 255"
        self._writer.write("exit", {"status": int(status)})
        self._ledger.end()
        self._answer(client, {"ok": True})
        return None

    def _settled_script(self, client: int, arguments: list[str]) -> str | None:
        """settled-script STATUS PATH: a program of /etc/settled.d that failed, or could not be run (NOT_RUN)."""
        status, path = arguments[0] if arguments else "", " ".join(arguments[1:])
        if not (status.isascii() and status.isdigit() and path):
            return "settled-script: a status, and the program's path"
        message = (
            "it is not executable, and was not run" if status == NOT_RUN else f"it ended with status {status}"
        )
        self._writer.write("warning", {"what": "settled.d", "path": path, "message": message})
        self._answer(client, {"ok": True})
        return None

    def _freeze(self, client: int, _arguments: list[str]) -> None:
        self._gate.freeze()
        problem = self._on_freeze()
        self._answer(client, {"ok": not problem, "error": problem})

    def _may_load(self, client: int, arguments: list[str]) -> None:
        self._answer(client, {"ok": self._registry.may_load(" ".join(arguments)), "error": "denied"})

    def _wait_for(self, client: int, arguments: list[str]) -> str | None:
        """wait SECONDS WHAT: 0 is for ever."""
        deadline = 0 if arguments[:1] == ["0"] else self._deadline(arguments[0] if arguments else "")
        if deadline is None or len(arguments) != 2:
            return "wait: expected a number of seconds, and what to wait for"
        self._waiters.add_for_device(client, deadline, arguments[1])
        return None

    def _none_waits(self) -> None:
        """No client waits for a settle any more; the search for the root file system may."""
        if self._root is None or not self._root.waits:
            self._settlement.unasked()

    def _deadline(self, seconds: str) -> int | None:
        """Return when `seconds` from now are over; None if that is no sensible number."""
        try:
            number = float(seconds)
        except ValueError:
            return None
        if not 0 < number < LONGEST_WAIT_S:
            return None
        return self._clock() + int(number * 1e6)

    def _answer(self, client: int, fields: dict[str, Json]) -> None:
        control = self._control
        control.answer(client, to_json(fields))
        if control.wants_to_send(client):
            self._poll.modify(client, POLLOUT)
        else:
            self._forget_if_closed(client)

    def _busy(self) -> dict[str, Json]:
        """Return what the daemon is at."""
        counts = self._registry.devices.counts()
        waiting: list[Json] = list(self._loader.unfinished())
        received = self._intake.counts()
        return {
            "settled": self._settlement.settled,
            "walking": self._walker.walking,
            "loading": waiting,
            "seqnum": received["seqnum"],
            "devices": counts.devices,
            "with_modalias": counts.with_modalias,
            "matched": counts.matched,
            "bound": counts.bound,
            "lost": received["lost"],
            "recovered": received["recovered"],
            "unseen": received["unseen"],
            "dropped": received["dropped"],
            "unsent": self._intake.unsent,
            "busiest_turn": self._intake.busiest_turn,
            "failed_writes": self._ledger.failed_writes,
        }
