"""This machine as it is now, without a daemon and without a ledger: devices from /sys, modules from its own tree.

    machine = open_machine(modules_dir="", sys_root="/sys", config_root="/")
    machine.history()     -> the History that a daemon's first walk would give, had it begun now; nothing is loaded
    machine.rehearse()    -> the loads that `modaliasd coldplug --once` would carry out, in its order

Both go through the daemon's own parts: the walk, the registry, the policy's gate, the scheduler. Nothing is written
anywhere, and none of it needs to be root. The alias index is read if the tree has a good one, and built in memory if
not.
"""

from __future__ import annotations

import posix

from modaliasd.core.device import Phase
from modaliasd.core.errors import Problem, UsageError
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.ledger.door import admit
from modaliasd.core.ledger.history import LIVE, UNKNOWN, history_of
from modaliasd.core.loading.outcome import INSERTED, LoadResult, Outcome
from modaliasd.core.settings import parse_settings
from modaliasd.linux.config import read_command_line, read_config
from modaliasd.linux.fullsystem.moduletree import check_tree, require_tree
from modaliasd.linux.indexfile import open_index
from modaliasd.linux.module_tables import open_resolver
from modaliasd.linux.paths import INSMOD, MODPROBE, SHELL
from modaliasd.linux.procmodules import read_live_modules
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.boot import ranks_of, read_policy
from modaliasd.service.devices import Registry
from modaliasd.service.gate import Gate
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.onlooker import Onlooker
from modaliasd.service.loads.tools import Tools
from modaliasd.service.writer import LedgerWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.device import Device
    from modaliasd.core.kmod.resolve import Resolver
    from modaliasd.core.ledger.history import History
    from modaliasd.core.loading.load import Load
    from modaliasd.core.policy.rules import Policy
    from modaliasd.core.settings import Settings
    from modaliasd.linux.indexfile import AliasIndex
    from modaliasd.service.ports.loading import WantingLoader


class Tally(NamedTuple):
    """How many devices were met; of them with a modalias, with a match (built-in ones too), with a driver."""

    devices: int
    with_modalias: int
    matched: int
    bound: int


class Rehearsal(NamedTuple):
    """What a coldplug would come to. loads: in the order of loading, refused and live ones among them.

    unmatched: devices whose modalias nothing matches. by_kernel: modalias and module of each match built into the
    kernel. problems: of the configuration and the module tree's tables.
    """

    loads: tuple[Load, ...]
    devices: tuple[Device, ...]
    unmatched: tuple[Device, ...]
    tally: Tally
    problems: tuple[Problem, ...]


class _Lines:
    """Keeps the ledger's lines in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, text: str) -> None:
        """Take a line."""
        self.lines.append(text)

    def say(self, short: str, priority: int = 6) -> None:
        """Nobody's log is written to."""


class _NoLog:
    """A kernel's log in which nothing stands."""

    def lines(self) -> list[str]:
        """Return nothing."""
        return []

    def take_missing_firmware(self) -> list[tuple[str, str]]:
        """Return nothing."""
        return []


class _Nobody:
    """Hears of what happens, and does nothing about it."""

    def happened(self) -> None:
        """Do nothing."""


class Machine:
    """modules_dir: the tree to look into; "" where this kernel takes no modules."""

    def __init__(self, modules_dir: str, sysfs: Sysfs, config_root: str) -> None:
        self.modules_dir = modules_dir
        self._sysfs = sysfs
        command_line = read_command_line(config_root)
        self._settings: Settings = parse_settings(command_line)
        configuration = read_config(config_root, command_line)
        self._index: AliasIndex = open_index(modules_dir, tolerant=True)
        self._resolver: Resolver = open_resolver(configuration, self._index, modules_dir)
        self._live = read_live_modules()
        self.problems = (
            *self._settings.problems,
            *configuration.problems,
            *([Problem("modules.alias", 0, self._index.message)] if not self._index.aliases else []),
            *self._index.warnings,
            *self._resolver.dependencies.problems,
        )
        self._lines = _Lines()
        self._writer = LedgerWriter(ledger=self._lines, clock=_no_clock)

    def history(self) -> History:
        """Return what is there now, as the ledger of a first walk; its times are unknown."""
        onlooker = Onlooker(
            sysfs=self._sysfs,
            writer=self._writer,
            dependencies=lambda: self._resolver.dependencies,
            clock=_no_clock,
            live=self._live,
        )
        self._writer.write("start", {"mode": LIVE, "kernel": posix.uname().release})
        self._walk(self._registry(onlooker, self._gate(None)))  # whoever loads here does not ask the policy
        onlooker.write_ended()
        history = history_of(admit(line.encode("ascii").rstrip(b"\n")) for line in self._lines.lines)
        for found in history.devices.values():
            found.seen_us = UNKNOWN
        return history

    def rehearse(self) -> Rehearsal:
        """Return what a coldplug would load now, and what not."""
        gate = self._gate(read_policy())
        loader = Loader(
            tools=Tools(MODPROBE, INSMOD, SHELL, Flavour.KMOD, self.modules_dir),
            sysfs=self._sysfs,
            writer=self._writer,
            kernel_log=_NoLog(),
            gate=gate,
            clock=_no_clock,
            live=self._live,
            limit=1,
            ranks=ranks_of(self._settings, self._index, self._resolver, self.modules_dir),
        )
        registry = self._registry(loader, gate)
        for name in self._settings.load:
            registry.want_by_name(name, "modaliasd.load=")
        devices = self._walk(registry)
        scheduler = loader.scheduler
        while job := scheduler.next_job(0):
            scheduler.finished({module: _result(loader.command_of(module)) for module in job.modules}, 0)
            loader.live.update(job.modules)
        asking = [device for device in devices if device.modalias]
        unmatched = tuple(device for device in asking if not self._resolver.resolve(device.modalias).matches)
        tally = Tally(
            len(devices),
            len(asking),
            len(asking) - len(unmatched),
            sum(bool(device.driver) for device in devices),
        )
        return Rehearsal(tuple(scheduler.take_told()), tuple(devices), unmatched, tally, self.problems)

    def _gate(self, policy: Policy | None) -> Gate:
        return Gate(
            policy=policy,
            phase=Phase.COLDPLUG,
            resolver=self._resolver,
            follows_softdeps=True,
            sysfs=self._sysfs,
            writer=self._writer,
            clock=_no_clock,
        )

    def _registry(self, loader: WantingLoader, gate: Gate) -> Registry:
        return Registry(
            sysfs=self._sysfs,
            aliases=self._index,
            resolver=self._resolver,
            gate=gate,
            loader=loader,
            listener=_Nobody(),
            writer=self._writer,
            clock=_no_clock,
            has_modules=False,  # so that no warning tells of the index, which is built here as a rule
        )

    def _walk(self, registry: Registry) -> list[Device]:
        """Have the registry see every device; gives them."""
        devices = [device for stride in self._sysfs.walk() for device in stride]
        for device in devices:
            module = self._sysfs.driver_module(device.devpath) if device.driver else ""
            registry.see(device, "coldplug", {"walk": 1, "module": module})
        return devices


def open_machine(modules_dir: str = "", sys_root: str = "/sys", config_root: str = "/") -> Machine:
    """Open this machine. modules_dir: "" for the running kernel's.

    Raises WorldError where there is no sysfs, or no module tree; NoModulesError where this kernel takes none.
    """
    sysfs = Sysfs(sys_root)
    sysfs.require()
    try:
        posix.stat(config_root)
    except OSError as e:
        raise UsageError(f"--config-root {config_root}: no such directory") from e
    if modules_dir:
        check_tree(modules_dir)
    else:
        modules_dir = require_tree(posix.uname().release)
    return Machine(modules_dir, sysfs, config_root)


def _result(command: str) -> LoadResult:
    return LoadResult(Outcome.COMMAND, f"runs: {command}") if command else INSERTED


def _no_clock() -> int:
    """Return 0: a look at how things are now has no times."""
    return 0
