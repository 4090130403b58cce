"""What a prediction is made for, and what it says, as values; simulate.py makes it. docs/predicting.md describes it."""

from dataclasses import dataclass
from enum import Enum

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modules_load import Listed
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.kmod.tables import MayAsk
from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class Target:
    """What is booted: a kernel's module tree with its configuration.

    kernel: its release. name: what to call it in sentences: "this kernel", "this image". flavour: whose modprobe.
    wanted: modules to load by name (`modaliasd.load=`). listed: those of modules-load.d, which come after the first
    walk. may_ask: who has the kernel ask for which module, as the image says. policy: what the daemon asks before it
    loads, None for nothing.
    """

    resolver: Resolver
    kernel: str
    name: str
    flavour: Flavour = Flavour.BUSYBOX
    wanted: tuple[str, ...] = ()
    policy: Policy | None = None
    listed: tuple[Listed, ...] = ()
    may_ask: tuple[MayAsk, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Lines of the module tree's tables, of modprobe.d and of modules-load.d that have no, or another, effect."""
        vain = [
            Problem(one.file, one.line, f"nothing is called {one.name}, by name or by alias")
            for one in self.listed
            if self.resolver.resolve(one.name).stage is Stage.NONE
        ]
        return (*self.resolver.dependencies.problems, *self.resolver.configuration.problems, *vain)

    def has(self, module: str) -> bool:
        """Return whether there is such a module, loadable or part of the kernel."""
        return self.is_builtin(module) or self.resolver.dependencies.find(module) is not None

    def is_builtin(self, module: str) -> bool:
        """Return whether it is part of the kernel."""
        return module in self.resolver.dependencies.builtin


class Fate(Enum):
    """What becomes of a device."""

    BOUND = "bound"  # the driver that it had in the capture takes it again
    EXPECTED = "expected"  # a module comes for it, and the capture does not show whether its driver takes it
    HANDLED = "handled"  # its modules come, and its class knows no drivers (input)
    ABSENT = "absent"  # it does not appear: what it hangs on has no driver
    NO_ALIAS = "no alias"  # nothing matches its modalias
    BUILTIN = "builtin"  # what matches is part of the kernel, and did not take it in the capture
    DENIED = "denied"  # everything that matches is denied
    BROKEN = "broken"  # what matches cannot be inserted
    DECLINED = "declined"  # its modules come, and their drivers did not take it in the capture
    NO_MODULE = "no module"  # the driver that it had is not there, and nothing matches


_NOT_LACKING = (Fate.BOUND, Fate.EXPECTED, Fate.HANDLED, Fate.ABSENT)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A module that would be loaded, or asked for in vain.

    round: 0 for what the devices of the bare machine ask for; a device that appears by a driver comes later.
    by_kernel: the kernel, and not the daemon, has it inserted. causes, needs: as `causes` and `deps` in the ledger.
    """

    module: str
    outcome: Outcome
    message: str
    causes: tuple[Cause, ...]
    needs: tuple[str, ...]
    round: int
    by_kernel: bool = False


@dataclass(frozen=True, slots=True)
class DeviceFate:
    """A device with its fate.

    driver: that of the capture. modules, aliases: what its modalias matched. why: a sentence. of_node: its node's path
    in the device tree.
    """

    devpath: str
    subsystem: str
    modalias: str
    fate: Fate
    driver: str
    modules: tuple[str, ...]
    why: str
    aliases: tuple[str, ...] = ()
    of_node: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A boot predicted.

    loads: in the order of insertion. devices: those with a modalias or a driver, by devpath. unexplained: modules that
    the captured machine had, the target has, and nothing here accounts for. opened: devices without a driver in the
    capture that would get one: what appears below them is not in the capture.
    """

    kernel: str
    loads: tuple[Foreseen, ...]
    devices: tuple[DeviceFate, ...]
    unexplained: tuple[str, ...]
    opened: tuple[str, ...]

    @property
    def modules(self) -> list[str]:
        """The modules that the daemon would insert, in order."""
        return [load.module for load in self.loads if load.outcome is Outcome.INSERTED and not load.by_kernel]

    @property
    def requested(self) -> list[str]:
        """The modules that the kernel would have inserted by itself, in order."""
        return [load.module for load in self.loads if load.outcome is Outcome.INSERTED and load.by_kernel]

    @property
    def lost(self) -> list[DeviceFate]:
        """The devices that had a driver in the capture and would have none, or would not be there."""
        return [device for device in self.devices if device.driver and device.fate is not Fate.BOUND]

    @property
    def without_driver(self) -> list[DeviceFate]:
        """The devices that would be there, ask for a driver, and get none."""
        return [device for device in self.devices if device.modalias and device.fate not in _NOT_LACKING]
