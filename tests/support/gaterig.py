"""A registry, a gate and a loader that are real, on a made-up module tree, with no process: modprobe is simulated.

The simulated modprobe inserts what the real ones do: what modules.dep names, and, if it is kmod's, the softdeps of
each module, before and after. kmod never asks whether a policy likes that.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from modaliasd.core.device import Device, Phase
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modprobe_d import Configuration, parse_modprobe_d
from modaliasd.core.kmod.modules_dep import Dependencies, parse_softdeps
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.loading.outcome import INSERTED, LoadResult
from modaliasd.core.policy.rules import Policy, parse_policy
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.devices import Registry
from modaliasd.service.gate import Gate
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.tools import Tools
from modaliasd.service.writer import LedgerWriter
from tests.support.fakeworld import FakeAliases, FakeLedger, FakeSysfs, NoLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.loading.load import Job


class GateRig:
    """See the module's docstring.

    `inserted`: what went into the kernel, in order. `programs`: what was run, with its arguments. `on_job` is called
    before each job is carried out, with all that it inserts.
    """

    def __init__(
        self,
        dep: str,
        aliases: dict[str, list[str]],
        *,
        softdep: str = "",
        policy: str = "",
        conf: str = "",
        phase: Phase = Phase.COLDPLUG,
        flavour: Flavour = Flavour.BUSYBOX,
        limit: int = 4,
    ) -> None:
        self.now = 0
        self.live: set[str] = set()
        self.inserted: list[str] = []
        self.programs: list[str] = []
        self.on_job: Callable[[list[str]], None] = lambda _modules: None
        self.running: deque[Job] = deque()
        self.ledger = FakeLedger()
        self.flavour = flavour
        parsed: Policy | None = None
        if policy:
            parsed = parse_policy(policy, "policy.toml")
            assert not parsed.mistakes
        self.writer = writer = LedgerWriter(ledger=self.ledger, clock=self.clock)
        self.resolver = Resolver(
            parse_modprobe_d([("t.conf", conf)]) if conf else Configuration(),
            Dependencies(dep),
            lambda modalias: [(module, modalias, 1, False) for module in aliases.get(modalias, ())],
            parse_softdeps(softdep)[0],
        )
        sysfs = FakeSysfs()
        self.gate = Gate(
            policy=parsed,
            phase=phase,
            resolver=self.resolver,
            follows_softdeps=flavour is Flavour.KMOD,
            sysfs=sysfs,
            writer=writer,
            clock=self.clock,
        )
        self.loader = Loader(
            tools=Tools("modprobe", "insmod", "sh", flavour, "/nowhere"),
            sysfs=Sysfs("/nowhere"),
            writer=writer,
            kernel_log=NoLog(),
            gate=self.gate,
            clock=self.clock,
            live=(),
            limit=limit,
        )
        self.registry = Registry(
            sysfs=sysfs,
            aliases=FakeAliases(),
            resolver=self.resolver,
            gate=self.gate,
            loader=self.loader,
            listener=self,
            writer=writer,
            clock=self.clock,
        )

    def happened(self) -> None:
        """Nobody settles here."""

    def clock(self) -> int:
        """Every look is a microsecond later."""
        self.now += 1
        return self.now

    def plug(self, devpath: str, modalias: str) -> None:
        """A device shows."""
        self.registry.see(Device(devpath, "pci", modalias), "add", {"seqnum": 1})

    def unplug(self, devpath: str, modalias: str) -> None:
        """A device goes."""
        self.registry.remove(Device(devpath, "pci", modalias), {"seqnum": 1})

    def rmmod(self, module: str) -> None:
        """Root removes a module, if it is there."""
        if module in self.live:
            self.live.discard(module)
            self.registry.module_left(module)

    def start(self) -> None:
        """Start what may run: the simulated modprobe inserts at once, its end comes later."""
        while job := self.loader.scheduler.next_job(self.clock()):
            loader = self.loader
            program, arguments, _environment = loader._tools.program(job, loader._steps, loader._needs)
            self.programs.append(f"{program} {' '.join(arguments)}")
            modules = self._inserts(program, arguments, job)
            self.on_job(modules)
            for module in modules:
                if module not in self.live:
                    self.live.add(module)
                    self.inserted.append(module)
            self.running.append(job)

    def end(self) -> None:
        """The oldest job ends."""
        job = self.running.popleft()
        results: dict[str, LoadResult] = {}
        for module in job.modules:
            load = self.loader.scheduler.load_of(module)
            if load is not None and load.result is None:
                results[module] = INSERTED
        self.loader.live.update(results)
        self.loader.scheduler.finished(results, self.clock())
        # what modprobe brought along besides is told by its uevent
        for module in self.live - self.loader.live:
            self.loader.appeared(module, self.clock())

    def settle(self) -> None:
        """Go on until nothing is left to do."""
        for _ in range(1000):
            self.start()
            if not self.running:
                break
            self.end()
        assert self.loader.idle, "it does not come to rest"
        self.loader.write_ended()

    def step(self, what: str, port: str = "", module: str = "") -> None:
        """One thing that happens: plug, rmmod, start, end, settle, freeze or hotplug."""
        if what == "plug":
            self.plug(f"/devices/{port}/{self.clock()}", f"pci:{module}")
        elif what == "rmmod":
            self.rmmod(module)
        elif what == "end" and self.running:
            self.end()
        elif what in {"start", "settle"}:
            getattr(self, what)()
        elif what == "freeze":
            self.gate.freeze()
        elif what == "hotplug":
            self.gate.first_settled()
        elif what == "stuck" and self.gate.phase is Phase.COLDPLUG:
            self.gate.end_coldplug(["a module"], self.loader.causes())

    def _inserts(self, program: str, arguments: list[str], job: Job) -> list[str]:  # noqa: ARG002
        """All that the process inserts, in order."""
        if program == "insmod":
            return [job.modules[-1]]
        order: list[str] = []
        for target in job.targets:
            self._probe(target, order, set())
        return order

    def _probe(self, module: str, order: list[str], seen: set[str]) -> None:
        """libkmod's __kmod_module_get_probe_list, for a small graph."""
        if module in seen:
            return
        seen.add(module)
        file = self.resolver.dependencies.find(module)
        for need in (*(file.needs if file else ()), module):
            pre, post = self.resolver.softdeps(need) if self.flavour is Flavour.KMOD else ((), ())
            for other in pre:
                self._probe(other, order, seen)
            if need not in order:
                order.append(need)
            for other in post:
                self._probe(other, order, seen)

    def records(self) -> list[dict[str, Any]]:
        """The ledger's records."""
        return [json.loads(line) for line in self.ledger.lines]

    def outcomes(self) -> dict[str, list[str]]:
        """What the ledger says became of each module, in order."""
        found: dict[str, list[str]] = {}
        for load in self.loader.scheduler.loads():
            if load.result is not None:
                found.setdefault(load.module, []).append(load.result.outcome.value)
        return found
