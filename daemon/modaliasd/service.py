"""The daemon's loop: subscribe, walk, then uevents, children and the control socket, until told to end.

Settled means: no walk under way, nothing queued, nothing loading, and the uevent socket read up to the
number that /sys/kernel/uevent_seqnum shows. It is never a quiet period.
"""

from __future__ import annotations

from select import POLLIN, POLLOUT, poll

from modaliasd.children import reap
from modaliasd.core.errors import FormatError
from modaliasd.core.inventory import Inventory
from modaliasd.core.lean import Record
from modaliasd.core.outcome import Outcome
from modaliasd.core.plan import Stage
from modaliasd.core.record import FORMAT, device_fields, line, to_json
from modaliasd.core.scheduler import Cause
from modaliasd.core.sequence import Sequence
from modaliasd.core.uevent import Action, device_from_env, parse_uevent
from modaliasd.netlink import Datagram, Oddity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modaliasd.children import Child
    from modaliasd.control import Control
    from modaliasd.core.device import Device
    from modaliasd.core.inventory import Entry
    from modaliasd.core.record import Json
    from modaliasd.core.resolve import Resolver
    from modaliasd.core.uevent import Uevent
    from modaliasd.indexfile import AliasIndex
    from modaliasd.ledger import Ledger
    from modaliasd.loader import Loader
    from modaliasd.netlink import UeventSocket
    from modaliasd.sysfs import Sysfs

EVENTS_A_TURN = 256  # uevents handled before the other descriptors get their turn
BUILTIN_STAGES = (Stage.BUILTIN, Stage.BUILTIN_ALIAS)
GRACE_US = 50_000  # how long a missing sequence number may be on its way before a walk is made
BLIND_POLL_MS = 5  # how soon to look again while a number is awaited that no datagram announces


class World(Record):
    """What the service works on; the command line opens it, tests hand in what they like."""

    sysfs: Sysfs
    uevents: UeventSocket
    aliases: AliasIndex
    resolver: Resolver
    loader: Loader
    ledger: Ledger
    control: Control | None
    clock: Callable[[], int]  # microseconds of CLOCK_BOOTTIME
    on_settled: Callable[[], Child | None]  # called once, after the first settle; what it started
    wanted: tuple[str, ...]  # modules to load by name before anything else
    start: dict[str, Json]  # fields of the `start` line


class Waiter(Record):
    """A client that waits for the next settle, until `deadline_us` (0: for ever)."""

    client: int
    deadline_us: int


class Service:
    """One life of the daemon."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._poll = poll()
        self._devices = Inventory()
        self._walk: Iterator[list[Device]] | None = None
        self._walk_number = 0
        self._walk_counts = [0, 0, 0]  # devices, with modalias, matched
        self._walk_again = ""
        self._again = False
        self._sequence = Sequence(0)
        self._blind_since = -1
        self._settled = False
        self._settles = 0
        self._waiters: list[Waiter] = []
        self._dropped = 0
        self._born_us = world.clock()
        self._stop = self._once = False
        self._hook: Child | None = None

    def run(self, *, once: bool = False) -> int:
        """Serve until asked to stop, or until the first settle with `once`; 1 if a load failed then."""
        world = self._world
        self._sequence = Sequence(world.sysfs.uevent_seqnum())
        self._write("start", {"format": FORMAT} | world.start)
        if world.ledger.torn_bytes:
            message = f"{world.ledger.torn_bytes} bytes of a line that was never finished were cut off"
            self._write("warning", {"what": "ledger repaired", "message": message})
        for warning in world.aliases.warnings:
            self._write(
                "warning",
                {"what": "modules.alias", "line": warning.line, "message": f"skipped: {warning.reason}"},
            )
        self._poll.register(world.uevents.fileno(), POLLIN)
        if world.control is not None:
            self._poll.register(world.control.fileno(), POLLIN)
        for name in world.wanted:
            self._want_by_name(name, "modaliasd.load=")
        self._begin_walk("coldplug")
        self._once = once
        while not self._stop:
            self._turn()
        world.ledger.drain()
        return int(any(_failed(load.verdict) for load in world.loader.scheduler.loads()))

    def stop(self) -> None:
        """End at the next turn."""
        self._stop = True

    def _turn(self) -> None:
        """One round: walk on, start jobs, write, then wait for whatever comes first."""
        world = self._world
        self._again = False
        if self._walk is not None:
            self._walk_on()
        self._dispatch()
        if self._walk is None:
            self._check_settled()
        timeout = self._timeout()
        if timeout != 0:
            world.ledger.flush()
        channel = world.ledger.channel_fileno()
        if channel >= 0 and timeout != 0:
            self._poll.register(channel, POLLOUT)
        ready = self._poll.poll(timeout)
        if channel >= 0 and timeout != 0:
            self._poll.unregister(channel)
        for descriptor, _events in ready:
            self._serve(descriptor)

    def _serve(self, descriptor: int) -> None:
        world = self._world
        if descriptor == world.uevents.fileno():
            self._read_uevents()
        elif world.loader.is_job(descriptor):
            self._poll.unregister(descriptor)
            world.loader.finish(descriptor)
        elif world.control is not None and descriptor == world.control.fileno():
            for client in world.control.accept():
                self._poll.register(client, POLLIN)
        elif world.control is not None and world.control.is_open(descriptor):
            self._serve_client(world.control, descriptor)
        elif self._hook is not None and descriptor == self._hook.pidfd:
            self._poll.unregister(descriptor)
            reap(self._hook)
            self._hook = None
        elif descriptor == world.ledger.channel_fileno():
            world.ledger.flush()

    def _timeout(self) -> int:
        """Milliseconds that poll may sleep; -1 for ever, 0 while the walk has more or the end has come."""
        if self._walk is not None or self._walk_again or self._again or self._stop:
            return 0
        times = [self._world.loader.report_slow()]
        if self._blind_since >= 0:
            times.append(BLIND_POLL_MS)
        now = self._world.clock()
        times += [max(0, (w.deadline_us - now) // 1000 + 1) for w in self._waiters if w.deadline_us]
        due = [t for t in times if t >= 0]
        return min(due) if due else -1

    def _dispatch(self) -> None:
        for pidfd in self._world.loader.start_jobs():
            self._poll.register(pidfd, POLLIN)
        self._world.loader.write_ended()

    # --- the walk ---------------------------------------------------------------------------------------

    def _begin_walk(self, reason: str) -> None:
        self._settled = False
        self._walk_again = ""
        self._walk_number += 1
        self._walk_counts = [0, 0, 0]
        self._write("walk", {"walk": self._walk_number, "reason": reason})
        self._walk = self._world.sysfs.walk()

    def _walk_on(self) -> None:
        """Take the next stride of the walk."""
        assert self._walk is not None
        stride = next(self._walk, None)
        if stride is None:
            self._walk = None
            devices, with_modalias, matched = self._walk_counts
            self._write(
                "walked",
                {
                    "walk": self._walk_number,
                    "devices": devices,
                    "with_modalias": with_modalias,
                    "matched": matched,
                },
            )
            if self._walk_again:
                self._begin_walk(self._walk_again)
            return
        for device in stride:
            entry = self._see(device, "coldplug", {"walk": self._walk_number})
            self._walk_counts[0] += 1
            self._walk_counts[1] += bool(device.modalias)
            self._walk_counts[2] += bool(entry.modules)

    def _see(self, device: Device, action: str, extra: dict[str, Json]) -> Entry:
        """A device is there: match its modalias where that is news, have the modules loaded, write it down."""
        known = self._devices.find(device.devpath)
        if known is not None and known.device == device and action == "coldplug":
            return known
        entry, news = self._devices.see(device)
        fields = device_fields(device, action) | extra
        parts = line("device", self._world.clock(), fields)
        if news:
            matches = self._want_modules(entry)
            parts = f'{parts[:-2]},"matches":{to_json(matches)}}}\n'
        self._world.ledger.append(parts)
        return entry

    def _want_modules(self, entry: Entry) -> list[Json]:
        """Look the device's modalias up and have done what the answer says; gives the matches for the ledger."""
        device = entry.device
        plan = self._world.resolver.resolve(device.modalias)
        built_in = plan.stage in BUILTIN_STAGES
        written: list[Json] = []
        for match in plan.matches:
            fields: dict[str, Json] = {"alias": match.alias, "line": match.line, "module": match.module}
            if match.file != "modules.alias":
                fields["file"] = match.file
            if built_in:
                fields["builtin"] = True
            written.append(fields)
        if not built_in:
            entry.modules = tuple(match.module for match in plan.matches)
            cause = Cause(device.devpath, device.subsystem, device.modalias)
            self._world.loader.want(plan, cause, device.modalias)
        return written

    # --- uevents ----------------------------------------------------------------------------------------

    def _read_uevents(self) -> int:
        """Deal with what the socket has, up to EVENTS_A_TURN datagrams; gives how many there were."""
        for count in range(EVENTS_A_TURN):
            got = self._world.uevents.receive()
            if isinstance(got, Datagram):
                self._settled = False
                self._take(got.payload)
            elif got is Oddity.EMPTY:
                return count
            elif got is Oddity.OVERRUN:
                self._lost("overrun")
            else:
                self._drop("the sender is not the kernel")
        return EVENTS_A_TURN

    def _take(self, payload: bytes) -> None:
        try:
            event = parse_uevent(payload)
        except FormatError as e:
            self._drop(str(e))
            return
        self._sequence.saw(event.seqnum)
        subsystem = event.env.get("SUBSYSTEM", "")
        if subsystem == "module":
            self._take_module(event)
            return
        device = device_from_env(event.devpath, subsystem, event.env)
        seqnum: dict[str, Json] = {"seqnum": event.seqnum}
        if event.action is Action.REMOVE:
            self._devices.remove(event.devpath)
            self._write("device", device_fields(device, "remove") | seqnum)
            return
        if event.action in {Action.BIND, Action.UNBIND}:
            self._take_binding(event, device, seqnum)
            return
        if event.action is Action.MOVE:
            self._devices.move(event.env.get("DEVPATH_OLD", ""), device)
            seqnum["from"] = event.env.get("DEVPATH_OLD", "")
        self._see(device, event.action.value, seqnum)

    def _take_binding(self, event: Uevent, device: Device, seqnum: dict[str, Json]) -> None:
        bound = event.action is Action.BIND
        driver = event.env.get("DRIVER", "") or (self._world.sysfs.driver(event.devpath) if bound else "")
        self._devices.bind(event.devpath, driver if bound else "")
        fields = device_fields(device._replace(driver=driver), event.action.value) | seqnum
        if bound:
            fields["module"] = self._world.sysfs.driver_module(event.devpath)
        self._write("device", fields)

    def _take_module(self, event: Uevent) -> None:
        module = event.devpath.rpartition("/")[2]
        if event.action is Action.REMOVE:
            self._world.loader.left(module)
            self._write("module", {"action": "remove", "module": module, "seqnum": event.seqnum})
        elif event.action is Action.ADD and self._world.loader.appeared(module):
            self._write("module", {"action": "add", "module": module, "seqnum": event.seqnum})

    def _lost(self, reason: str) -> None:
        """Events were lost: what they told is found by a new walk, which begins after the count is taken."""
        number = self._world.sysfs.uevent_seqnum()
        lost = self._sequence.forgive(number)
        self._write("lost", {"reason": reason, "events": lost, "seqnum": number})
        self._blind_since = -1
        if self._walk is None:
            self._begin_walk(reason)
        else:
            self._walk_again = reason

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        self._write("dropped", {"reason": reason, "count": self._dropped})

    # --- settling ---------------------------------------------------------------------------------------

    def _check_settled(self) -> None:
        world = self._world
        if self._walk_again:
            self._begin_walk(self._walk_again)
            return
        if self._settled or not world.loader.scheduler.idle:
            self._expire_waiters()
            return
        number = world.sysfs.uevent_seqnum()
        if self._read_uevents():
            self._again = True  # what they asked for is to be started before poll may sleep
            return
        if not self._sequence.reached(number):
            self._wait_for_number()
            return
        self._blind_since = -1
        self._settle(number)

    def _wait_for_number(self) -> None:
        """Numbers are missing and the socket is empty: give them a moment, then make good by a walk."""
        now = self._world.clock()
        if self._blind_since < 0:
            self._blind_since = now
        elif now - self._blind_since > GRACE_US:
            self._lost("gap")

    def _settle(self, number: int) -> None:
        world = self._world
        self._settled = True
        self._settles += 1
        self._stop = self._stop or self._once
        self._write_unbound()
        counts = self._devices.counts()
        loads = list(world.loader.scheduler.loads())
        fields: dict[str, Json] = {
            "seqnum": number,
            "devices": counts.devices,
            "with_modalias": counts.with_modalias,
            "matched": counts.matched,
            "bound": counts.bound,
            "loads": sum(
                load.verdict is not None and load.verdict.outcome is Outcome.INSERTED for load in loads
            ),
            "failed": sum(_failed(load.verdict) for load in loads),
            "ms": (world.clock() - self._born_us) / 1000,
            "lost": self._sequence.lost,
            "dropped": self._dropped,
        }
        self._write("settled", fields)
        world.ledger.say(
            f"settled: {counts.devices} devices, {counts.matched} matched, {counts.bound} bound, "
            f"{fields['loads']} modules loaded, {fields['failed']} failed, in {fields['ms']:.0f} ms"
        )
        world.ledger.flush()
        for waiter in self._waiters:
            self._answer(waiter.client, {"ok": True} | fields)
        self._waiters.clear()
        if self._settles == 1:
            self._hook = world.on_settled()
            if self._hook is not None:
                self._poll.register(self._hook.pidfd, POLLIN)

    def _write_unbound(self) -> None:
        """Devices whose modules are in, and have a driver for their bus, and yet no driver has taken them."""
        sysfs = self._world.sysfs
        for entry in self._devices:
            device = entry.device
            if device.driver or not entry.modules:
                continue
            drivers = [
                driver
                for module in entry.modules
                for bus, driver in sysfs.drivers_of(module)
                if bus == device.subsystem
            ]
            if not drivers:
                continue
            driver = sysfs.driver(device.devpath)
            if driver:
                self._devices.bind(device.devpath, driver)
                continue
            self._write(
                "unbound",
                {
                    "devpath": device.devpath,
                    "subsystem": device.subsystem,
                    "modalias": device.modalias,
                    "drivers": list(drivers),
                    "modules": list(entry.modules),
                },
            )

    def _expire_waiters(self) -> None:
        now = self._world.clock()
        for waiter in [w for w in self._waiters if w.deadline_us and w.deadline_us <= now]:
            self._waiters.remove(waiter)
            self._answer(waiter.client, self._busy() | {"ok": False, "error": "not settled in time"})

    # --- the control socket -----------------------------------------------------------------------------

    def _serve_client(self, control: Control, client: int) -> None:
        if control.wants_to_send(client):
            control.send(client)
        else:
            words = control.request(client)
            if words is not None:
                self._obey(client, words)
                return
        if not control.is_open(client):
            self._forget_client(client)

    def _forget_client(self, client: int) -> None:
        self._poll.unregister(client)
        self._waiters = [waiter for waiter in self._waiters if waiter.client != client]

    def _obey(self, client: int, words: list[str]) -> None:
        verb, arguments = (words[0], words[1:]) if words else ("", [])
        if verb == "settle":
            seconds = float(arguments[0]) if arguments else 0
            deadline = self._world.clock() + int(seconds * 1e6) if seconds else 0
            self._waiters.append(Waiter(client, deadline))
            self._settled = False
        elif verb == "status":
            self._answer(client, {"ok": True} | self._busy())
        elif verb == "coldplug":
            self._begin_walk("request")
            self._waiters.append(Waiter(client, 0))
        elif verb == "load" and arguments:
            for name in arguments:
                self._want_by_name(name, "modaliasd load")
            self._waiters.append(Waiter(client, 0))
            self._settled = False
        elif verb == "exit" and arguments:
            self._write("exit", {"status": int(arguments[0])})
            self._world.ledger.drain()
            self._answer(client, {"ok": True})
        else:
            self._answer(client, {"ok": False, "error": f"unknown request: {' '.join(words)[:80]}"})

    def _want_by_name(self, name: str, who: str) -> None:
        """Load what a name or an alias stands for, because somebody asked for it."""
        plan = self._world.resolver.resolve(name)
        if plan.stage is Stage.NONE:
            self._write("warning", {"what": who, "message": f"nothing is called {name}, by name or by alias"})
        self._world.loader.want(plan, Cause(request=who), "")

    def _answer(self, client: int, fields: dict[str, Json]) -> None:
        control = self._world.control
        if control is None:
            return
        control.answer(client, to_json(fields))
        if not control.is_open(client):
            self._forget_client(client)
        elif control.wants_to_send(client):
            self._poll.modify(client, POLLOUT)

    def _busy(self) -> dict[str, Json]:
        """What the daemon is at."""
        scheduler = self._world.loader.scheduler
        counts = self._devices.counts()
        waiting: list[Json] = [load.module for load in scheduler.loads() if load.verdict is None]
        return {
            "settled": self._settled,
            "walking": self._walk is not None,
            "loading": waiting,
            "seqnum": self._sequence.last,
            "devices": counts.devices,
            "with_modalias": counts.with_modalias,
            "matched": counts.matched,
            "bound": counts.bound,
            "lost": self._sequence.lost,
            "dropped": self._dropped,
        }

    def _write(self, kind: str, fields: dict[str, Json]) -> None:
        self._world.ledger.append(line(kind, self._world.clock(), fields))


def _failed(verdict: object) -> bool:
    return getattr(verdict, "outcome", None) is Outcome.FAILED
