"""The daemon's loop: subscribe, walk, then uevents, children and the control socket, until told to end.

The loop waits for whatever comes first and hands it to the one whose it is:

    uevents  ->  Intake  --\\
    /sys     ->  Walker  --->  Registry  ->  Loader  ->  modprobe
    clients  ->  Clients    --/                             Settling says when all of it is done
"""

from __future__ import annotations

from select import POLLIN, POLLOUT, poll

from modaliasd.core.device import Phase
from modaliasd.core.kmod.modprobe_d import topic_of
from modaliasd.core.ledger.write import FORMAT
from modaliasd.core.loading.outcome import Outcome
from modaliasd.linux.ledger import ERROR
from modaliasd.linux.process import reap
from modaliasd.service.clients import Clients
from modaliasd.service.coldplug import Walker
from modaliasd.service.devices import Registry
from modaliasd.service.intake import Intake
from modaliasd.service.settling import Settling
from modaliasd.service.unloader import Unloader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json
    from modaliasd.linux.process import Child
    from modaliasd.service.world import World


class Service:
    """One life of the daemon."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._poll = poll()
        self._registry = Registry(world)
        self._walker = Walker(world, self._registry)
        self._intake = Intake(world, self._registry, self._walker)
        self._unloader = Unloader(world, self._registry)
        self._settling = Settling(world, self._registry, self._walker, self._intake, self._unloader)
        self._clients: Clients | None = None
        if world.control is not None:
            self._clients = Clients(
                world,
                world.control,
                self._poll,
                self._registry,
                self._walker,
                self._intake,
                self._settling,
            )
        self._stop = False
        self._hook: Child | None = None

    def run(self, *, once: bool = False) -> int:
        """Serve until asked to stop, or until the first settle with `once`; the exit status: 1 if a load failed."""
        world = self._world
        self._write_start()
        self._poll.register(world.uevents.fileno(), POLLIN)
        for name in world.wanted:
            self._registry.want_by_name(name, "modaliasd.load=")
        self._walker.request("coldplug")
        while not self._stop:
            self._turn(once=once)
        world.ledger.drain()
        verdicts = [load.verdict for load in world.loader.scheduler.loads()]
        return world.status or int(any(v and v.outcome is Outcome.FAILED for v in verdicts))

    def stop(self) -> None:
        """End at the next turn."""
        self._stop = True

    def _write_start(self) -> None:
        """Who this is, and what was found wrong on the way here."""
        world = self._world
        world.write("start", {"format": FORMAT} | world.start)
        if world.ledger.torn_bytes:
            message = f"{world.ledger.torn_bytes} bytes of a line that was never finished were cut off"
            world.write("warning", {"what": "ledger repaired", "message": message})
        if world.no_modules:
            world.write("warning", {"what": "modules", "message": world.no_modules})
            world.ledger.say(world.no_modules, ERROR)
        self._registry.tell_of_index()
        for problem in world.resolver.configuration.problems:
            where = {"path": problem.file, "line": problem.line or None}
            world.write("warning", {"what": topic_of(problem), **where, "message": problem.message})
        if world.policy is not None:
            for mistake in world.policy.mistakes:
                message = f"{mistake.message}; the whole policy is void, and everything is denied"
                place: dict[str, Json] = {"path": world.policy.path, "line": mistake.line}
                world.write("warning", {"what": "policy", **place, "message": message})
                world.ledger.say(f"{world.policy.path}:{mistake.line}: {message}", ERROR)
        if world.phase is Phase.FROZEN:
            self._registry.freeze()
        world.ledger.flush()  # a life that ends early shall have left its first line

    def _turn(self, *, once: bool) -> None:
        """One round: walk on, start jobs, write, then wait for whatever comes first."""
        world = self._world
        self._walker.walk_on()
        self._dispatch()
        settled = self._settling.check(awaited=self._clients is not None and self._clients.awaits_settle())
        if settled is None:
            self._dispatch()  # what the check itself has read may want modules
        else:
            if self._clients is not None:
                self._clients.settled(settled)
            self._start_hook()
            self._stop = self._stop or once
        if self._clients is not None:
            self._clients.attend()
        timeout = self._timeout()
        channel = -1
        if timeout != 0:
            world.ledger.flush()
            self._tell_of_lost_lines()
            channel = world.ledger.channel_fileno()
        if channel >= 0:
            self._poll.register(channel, POLLOUT)
        self._intake.end_turn()
        ready = self._poll.poll(timeout)
        if channel >= 0:
            self._poll.unregister(channel)
        for descriptor, _events in ready:
            self._serve(descriptor)

    def _tell_of_lost_lines(self) -> None:
        """/run was full, and has room again: what is missing from the ledger is said in it."""
        ledger = self._world.ledger
        if ledger.lost_lines and not ledger.has_backlog:
            message = f"{ledger.lost_lines} lines were lost while there was no room for them"
            ledger.lost_lines = 0
            self._world.write("warning", {"what": "ledger", "message": message})
            ledger.flush()

    def _serve(self, descriptor: int) -> None:
        world = self._world
        if descriptor == world.uevents.fileno():
            if self._intake.read():
                self._settling.settled = False
        elif world.loader.is_job(descriptor):
            self._poll.unregister(descriptor)
            world.loader.finish(descriptor)
        elif self._unloader.is_child(descriptor):
            self._poll.unregister(descriptor)
            self._unloader.finish()
        elif self._clients is not None and self._clients.serve(descriptor):
            return
        elif self._hook is not None and descriptor == self._hook.pidfd:
            self._poll.unregister(descriptor)
            reap(self._hook)
            self._hook = None
        elif descriptor == world.ledger.channel_fileno():
            world.ledger.flush()

    def _timeout(self) -> int:
        """Milliseconds that poll may sleep; -1 for ever, 0 while there is something to do."""
        if self._walker.walking or self._settling.is_due() or self._stop:
            return 0
        times = [self._world.loader.report_slow(), self._settling.timeout_ms()]
        if self._clients is not None:
            times.append(self._clients.timeout_ms())
        due = [t for t in times if t >= 0]
        return min(due) if due else -1

    def _dispatch(self) -> None:
        world = self._world
        for pidfd in world.loader.start_jobs(coldplug=self._walker.first):
            self._poll.register(pidfd, POLLIN)
        if world.loader.write_ended():
            self._registry.news = True
            self._intake.loads_ended()
        if (
            self._registry.orphans
            and not self._unloader.running
            and world.loader.scheduler.idle
            and not self._walker.walking
        ):
            pidfd = self._unloader.start()
            if pidfd >= 0:
                self._poll.register(pidfd, POLLIN)

    def _start_hook(self) -> None:
        """After the first settle, what waits for it."""
        if self._settling.settles > 1:
            return
        self._registry.first_settled()
        self._hook = self._world.on_settled(self._world.status)
        if self._hook is not None:
            self._poll.register(self._hook.pidfd, POLLIN)
