"""A world without a kernel for modaliasd.service.loop: scripted uevents, a loader that only notes, a fake /sys."""

import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from modaliasd.core.device import Device
from modaliasd.core.kmod.modprobe_d import Configuration
from modaliasd.core.kmod.plan import Match, Plan, Stage
from modaliasd.core.kmod.tables import BadLine
from modaliasd.linux.netlink import Datagram, Oddity
from modaliasd.service.loop import Service
from modaliasd.service.world import World
from tests.support.schema import check_records


class FakeUevents:
    """Gives what `script` holds, then nothing; its descriptor is readable only if `ring` was called."""

    def __init__(self) -> None:
        self.script: deque[Datagram | Oddity] = deque()
        self.listening = False
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
        self.wanted: list[str] = []
        self.started: list[str] = []
        self.scheduler = self

    @property
    def idle(self) -> bool:
        """Whether all that was wanted is started (and so done)."""
        return len(self.started) == len(self.wanted)

    def load_of(self, module: str) -> None:
        """No load is known by its module."""

    def loads(self) -> list[Any]:
        """None are told."""
        return []

    def want(self, plan: Plan, cause: object, modalias: str) -> None:  # noqa: ARG002
        """Queue the plan's modules."""
        self.wanted += [match.module for match in plan.matches]

    def start_jobs(self, *, coldplug: bool = False) -> list[int]:  # noqa: ARG002
        """Start everything that is queued."""
        self.started = list(self.wanted)
        return []

    def write_ended(self) -> list[Any]:
        """Nothing to write."""
        return []

    def recheck_live(self) -> None:
        """Nothing to ask."""

    def appeared(self, module: str, at_us: int) -> bool:  # noqa: ARG002
        """Modules come by somebody else's hand."""
        return True

    def left(self, module: str) -> None:
        """Nothing is kept of modules."""

    def report_slow(self) -> int:
        """Nothing is slow."""
        return -1

    def report_waiting(self) -> None:
        """Nothing is waited for."""

    def is_job(self, descriptor: int) -> bool:  # noqa: ARG002
        """No process is a job."""
        return False


class FakeResolver:
    """Every modalias asks for a module that is called like it."""

    def __init__(self) -> None:
        self.configuration = Configuration()

    def resolve(self, modalias: str) -> Plan:
        """One match, or none for an empty modalias."""
        matches = (Match(modalias, modalias, "modules.alias", 1),) if modalias else ()
        return Plan(modalias, Stage.ALIAS if matches else Stage.NONE, matches)


class FakeLedger:
    """Keeps the lines, once the schema has passed them."""

    torn_bytes = lost_lines = failed_writes = 0
    has_backlog = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said: list[tuple[int, str]] = []

    def append(self, line: str) -> None:
        """Keep the line. Raises AssertionError if it is no record of the ledger's format."""
        check_records([json.loads(line)])
        self.lines.append(line)

    def flush(self) -> None:
        """Nothing to flush."""

    def drain(self) -> None:
        """Nothing to wait for."""

    def end(self) -> None:
        """Nothing to wait for."""

    def say(self, text: str, priority: int = 6) -> None:
        """Keep it."""
        self.said.append((priority, text))

    def channel_fileno(self) -> int:
        """There is no channel."""
        return -1


@dataclass
class FakeAliases:
    """An index of aliases; `damaged` is what the first check finds."""

    generation: int = 1
    message: str = ""
    warnings: tuple[BadLine, ...] = ()
    damaged: str = ""

    def check(self) -> bool:
        """Find the damage once, as the real index does."""
        if not self.damaged:
            return True
        self.generation, self.message, self.damaged = self.generation + 1, self.damaged, ""
        return False


@dataclass
class Fakes:
    """The parts of a fake world, and the service that works on them."""

    uevents: FakeUevents = field(default_factory=FakeUevents)
    sysfs: FakeSysfs = field(default_factory=FakeSysfs)
    loader: FakeLoader = field(default_factory=FakeLoader)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    aliases: FakeAliases = field(default_factory=FakeAliases)
    now_us: int = 0
    more: dict[str, Any] = field(default_factory=dict)  # further parts of the World

    def service(self) -> Service:
        """The service in this world."""
        return Service(self.world())

    def world(self) -> World:
        """This world, for a part that works on it without the service."""
        parts: dict[str, Any] = {
            "sysfs": self.sysfs,
            "uevents": self.uevents,
            "aliases": self.aliases,
            "resolver": FakeResolver(),
            "loader": self.loader,
            "ledger": self.ledger,
            "control": None,
            "clock": lambda: self.now_us,
            "on_settled": lambda _status: None,
            "wanted": (),
            "start": {"version": "0", "kernel": "6.1.0-test", "pid": 1},
        }
        return World(**parts | self.more)

    def records(self) -> list[dict[str, Any]]:
        """The ledger's records."""
        return [json.loads(line) for line in self.ledger.lines]
