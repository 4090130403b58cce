"""A world without a kernel for modaliasd.service.loop: scripted uevents, a loader that only notes, a fake /sys."""

from __future__ import annotations

import json
import os
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from modaliasd.core.device import Device, Phase
from modaliasd.core.kmod.modprobe_d import Configuration
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.plan import Match, Plan, Stage
from modaliasd.core.settlement import Settlement
from modaliasd.linux.netlink import Datagram, Oddity
from modaliasd.service.assembly import assemble
from modaliasd.service.devices import Registry
from modaliasd.service.gate import Gate
from modaliasd.service.writer import LedgerWriter
from tests.support.schema import check_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from modaliasd.core.errors import Problem
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.loading.outcome import Outcome
    from modaliasd.core.loading.priority import Rank
    from modaliasd.core.policy.rules import Policy
    from modaliasd.linux.process import Child
    from modaliasd.service.loop import Service
    from modaliasd.service.ports.loading import AnyLoader
    from modaliasd.service.ports.outside import ClientListener, Clock, Hook, Told


class FakeUevents:
    """Gives what `script` holds, then nothing; its descriptor is readable only if `ring` was called."""

    def __init__(self) -> None:
        self.script: deque[Datagram | Oddity] = deque()
        self.listening = False
        self.dropped = 0
        self._rung = False
        self.sent: list[bytes] = []
        self._out, self._in = os.pipe()

    def fileno(self) -> int:
        """The descriptor for poll."""
        return self._out

    def ring(self) -> None:
        """Make the descriptor readable."""
        if not self._rung:
            os.write(self._in, b"!")
        self._rung = True

    def receive(self) -> Datagram | Oddity:
        """The next of the script; the bell is silent once that is at its end."""
        if not self.script and self._rung:
            os.read(self._out, 1)
            self._rung = False
        return self.script.popleft() if self.script else Oddity.EMPTY

    def drops(self) -> int:
        """As many as the test says."""
        return self.dropped

    def has_listeners(self) -> bool:
        """Whether somebody listens to what is sent on: as the test has set it."""
        return self.listening

    def send(self, message: bytes) -> bool:
        """Keep what is sent on."""
        self.sent.append(message)
        return True

    def event(self, devpath: str, seqnum: int, action: str = "add", **env: str) -> None:
        """Put a kernel's datagram at the end of the script."""
        pairs = {"ACTION": action, "DEVPATH": devpath, "SUBSYSTEM": "pci", "SEQNUM": str(seqnum)} | env
        lines = [f"{action}@{devpath}", *(f"{key}={value}" for key, value in pairs.items())]
        self.script.append(Datagram("\0".join(lines).encode() + b"\0"))


class FakeSysfs:
    """A /sys with these devices, walked in one stride, and uevent numbers as given."""

    def __init__(self, devices: list[Device] | None = None, seqnums: list[int] | None = None) -> None:
        self.devices = devices or []
        self.seqnums = deque(seqnums or [0])
        self.put_off: list[tuple[str, str]] = []
        self.drivers: dict[str, list[tuple[str, str]]] = {}  # module -> its drivers, each with its bus

    def uevent_seqnum(self) -> int:
        """The next number; the last one again and again."""
        return self.seqnums.popleft() if len(self.seqnums) > 1 else self.seqnums[0]

    def exists(self, devpath: str) -> bool:
        """Is it one of the devices?"""
        return any(device.devpath == devpath for device in self.devices)

    def walk(self) -> Iterator[list[Device]]:
        """All devices at once."""
        yield self.devices

    def driver(self, devpath: str) -> str:  # noqa: ARG002
        """No driver ever binds."""
        return ""

    def driver_module(self, devpath: str) -> str:  # noqa: ARG002
        """Nor is any module known."""
        return ""

    def deferred(self) -> list[tuple[str, str]]:
        """The devices whose probes are put off, as the test has set them, each with the reason."""
        return self.put_off

    def is_live(self, module: str) -> bool:  # noqa: ARG002
        """No module is in the kernel."""
        return False

    def removable(self, devpath: str) -> str:  # noqa: ARG002
        """Nobody knows."""
        return ""

    def drivers_of(self, module: str) -> list[tuple[str, str]]:
        """The drivers of the module, as the test has set them: none by default."""
        return self.drivers.get(module, [])


class FakeLoader:
    """Notes what is wanted; `start_jobs` starts it all, and it is done at once."""

    def __init__(self) -> None:
        self.holds: list[Rank | None] = []
        self.wanted: list[str] = []
        self.started: list[str] = []
        self.dispatches = 0

    @property
    def idle(self) -> bool:
        """Whether all that was wanted is started (and so done)."""
        return len(self.started) == len(self.wanted)

    running = 0

    def hold(self, worst: Rank | None) -> None:
        """Note what waits."""
        self.holds.append(worst)

    def want(self, plan: Plan, cause: Cause, modalias: str, *, first: bool = False) -> None:  # noqa: ARG002
        """Queue the plan's modules."""
        self.wanted += [match.module for match in plan.matches]

    def start_jobs(self, *, coldplug: bool = False) -> list[int]:  # noqa: ARG002
        """Start everything that is queued."""
        self.dispatches += 1
        self.started = list(self.wanted)
        return []

    def write_ended(self) -> bool:
        """Nothing to write."""
        return False

    def recheck_live(self) -> None:
        """Nothing to ask."""

    def appeared(self, module: str, at_us: int) -> bool:  # noqa: ARG002
        """Modules come by somebody else's hand."""
        return True

    def left(self, module: str) -> None:
        """Nothing is kept of modules."""

    def forget_failures(self, modules: Iterable[str]) -> None:
        """Nothing has failed."""

    def is_pending(self, module: str) -> bool:  # noqa: ARG002
        """No event has to wait for a load."""
        return False

    def is_known(self, module: str) -> bool:
        """What has been wanted is."""
        return module in self.wanted

    def has_inserted(self, module: str) -> bool:  # noqa: ARG002
        """No module is known to be this daemon's."""
        return False

    def unfinished(self) -> list[str]:
        """No load is told of."""
        return []

    def outcomes(self) -> list[Outcome]:
        """No load is told of."""
        return []

    def start_removal(self, module: str, command: str) -> Child:
        """Nothing is ever removed."""
        raise AssertionError(f"{module} is not to be removed by {command}")

    def report_slow(self) -> int:
        """Nothing is slow."""
        return -1

    def stuck(self) -> list[str]:
        """Nothing is."""
        return []

    def causes(self) -> list[Cause]:
        """Nobody wants anything."""
        return []

    def is_job(self, descriptor: int) -> bool:  # noqa: ARG002
        """No process is a job."""
        return False

    def finish(self, pidfd: int) -> None:
        """No process is a job."""
        raise AssertionError(f"{pidfd} is no job")


class FakeSupervisor:
    """Keeps what it is told; `end` asks the daemon to end."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._event = os.eventfd(0)

    def catch_end(self) -> None:
        """Do nothing: `end` needs no signal."""

    def fileno(self) -> int:
        """Readable once `end` was called."""
        return self._event

    def ready(self, status: str) -> None:
        """Keep it."""
        self.told.append(f"ready: {status}")

    def status(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)

    def stopping(self) -> None:
        """Keep it."""
        self.told.append("stopping")

    def end(self) -> None:
        """Have the daemon end."""
        os.eventfd_write(self._event, 1)


class NoLog:
    """A kernel that says nothing."""

    def lines(self) -> list[str]:
        """Nothing."""
        return []

    def take_missing_firmware(self) -> list[tuple[str, str]]:
        """Nothing."""
        return []


class FakeResolver:
    """Every modalias asks for a module that is called like it."""

    def __init__(self) -> None:
        self.configuration = Configuration()
        self.dependencies = Dependencies("")

    def resolve(self, modalias: str) -> Plan:
        """One match, or none for an empty modalias."""
        matches = (Match(modalias, modalias, "modules.alias", 1),) if modalias else ()
        return Plan(modalias, Stage.ALIAS if matches else Stage.NONE, matches)

    def brings(self, module: str, *, softdeps: bool = False) -> frozenset[str]:  # noqa: ARG002
        """No module needs another."""
        return frozenset()

    def remove_command(self, module: str) -> str:  # noqa: ARG002
        """No module has a `remove` line."""
        return ""


class FakeLedger:
    """Keeps the lines, once the schema has passed them."""

    torn_bytes = failed_writes = 0
    problem = ""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said: list[tuple[int, str]] = []

    def append(self, text: str) -> None:
        """Keep the line. Raises AssertionError if it is no record of the ledger's format."""
        check_records([json.loads(text)])
        self.lines.append(text)

    def take_mishaps(self) -> list[str]:
        """Nothing has befallen it."""
        return []

    def trim(self, now_us: int) -> None:
        """It has no limit."""

    def flush(self) -> None:
        """Nothing to flush."""

    def is_due(self, now_us: int) -> bool:  # noqa: ARG002
        """Nothing waits."""
        return False

    def drain(self) -> None:
        """Nothing to wait for."""

    def end(self) -> None:
        """Nothing to wait for."""

    def say(self, short: str, priority: int = 6) -> None:
        """Keep it."""
        self.said.append((priority, short))

    def channel_fileno(self) -> int:
        """There is no channel."""
        return -1


@dataclass
class FakeAliases:
    """An index of aliases; `damaged` is what the first check finds."""

    generation: int = 1
    message: str = ""
    warnings: tuple[Problem, ...] = ()
    damaged: str = ""

    def check(self) -> bool:
        """Find the damage once, as the real index does."""
        if not self.damaged:
            return True
        self.generation, self.message, self.damaged = self.generation + 1, self.damaged, ""
        return False


def _given(control: ClientListener) -> ClientListener:
    """Return what is open already."""
    return control


def _no_hook(_status: int) -> None:
    """Start nothing after the first settle."""


@dataclass
class Fakes:
    """The parts of a fake world, and the service that works on them."""

    uevents: FakeUevents = field(default_factory=FakeUevents)
    sysfs: FakeSysfs = field(default_factory=FakeSysfs)
    loader: FakeLoader = field(default_factory=FakeLoader)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    aliases: FakeAliases = field(default_factory=FakeAliases)
    now_us: int = 0
    clock: Clock | None = None  # `now_us`, if there is none
    control: ClientListener | None = None
    resolver: FakeResolver = field(default_factory=FakeResolver)
    on_settled: Hook = _no_hook
    no_modules: str = ""
    chores: Callable[[Registry], None] | None = None
    find_request: Callable[[str], Cause | None] | None = None
    policy: Policy | None = None
    phase: Phase = Phase.COLDPLUG
    watcher: AnyLoader | None = None  # in the loader's place
    supervisor: Told | None = None
    observing: bool = False
    wanted: tuple[str, ...] = ()  # what the command line has loaded before anything else
    start: dict[str, Json] = field(default_factory=lambda: {"version": "0", "kernel": "6.1.0-test", "pid": 1})
    hotplugs: int = 0  # how often the coldplug has ended before its settle
    settlement: Settlement = field(default_factory=Settlement)  # of a registry without a service

    def service(self) -> Service:
        """The service in this world, which has begun."""
        resolver, clock = self.resolver, self._clock()
        service = assemble(
            sysfs=self.sysfs,
            uevents=self.uevents,
            aliases=self.aliases,
            resolver=resolver,
            gate=self._gate(),
            loader=self.watcher or self.loader,
            kernel_log=NoLog(),
            open_control=None if self.control is None else partial(_given, self.control),
            ledger=self.ledger,
            writer=self.writer(),
            clock=clock,
            on_settled=self.on_settled,
            on_freeze=lambda: "",
            on_hotplug=self._note_hotplug,
            no_modules=self.no_modules,
            chores=self.chores,
            find_request=self.find_request,
            supervisor=self.supervisor,
            observing=self.observing,
        )
        service.begin(
            self.start, resolver.configuration.problems, resolver.dependencies.problems, self.wanted
        )
        service.listen()
        return service

    def registry(self) -> Registry:
        """A registry in this world, without the rest of the service."""
        return Registry(
            sysfs=self.sysfs,
            aliases=self.aliases,
            resolver=self.resolver,
            gate=self._gate(),
            loader=self.loader,
            listener=self.settlement,
            writer=self.writer(),
            clock=self._clock(),
        )

    def writer(self) -> LedgerWriter:
        """What writes to this world's ledger."""
        return LedgerWriter(ledger=self.ledger, clock=self._clock())

    def _gate(self) -> Gate:
        return Gate(
            policy=self.policy,
            phase=self.phase,
            resolver=self.resolver,
            follows_softdeps=False,
            sysfs=self.sysfs,
            writer=self.writer(),
            clock=self._clock(),
        )

    def _note_hotplug(self) -> None:
        self.hotplugs += 1

    def _clock(self) -> Clock:
        return self.clock or (lambda: self.now_us)

    def records(self) -> list[dict[str, Any]]:
        """The ledger's records."""
        return [json.loads(line) for line in self.ledger.lines]
