"""The values that a history is made of: devices, matches, loads, appearances, settles. history.py makes them."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.loading.outcome import SUCCESSES, FailureKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from modaliasd.core.kmod.plan import Match
    from modaliasd.core.loading.cause import Cause

UNKNOWN = -1
SUCCESSFUL = tuple(outcome.value for outcome in SUCCESSES)


class DeviceHistory:
    """A device as the ledger last knew it.

    seen_us: when it was first written of; bound_us: when a driver took it (UNKNOWN if it was bound before the
    daemon looked); gone_us: when it was removed. driver: what drives it now; former: what has let go of it, as
    any driver does before its device is removed ("" if nothing has, or a driver has it again).
    module: the module of that driver, "" if it is part of the kernel or unknown. hotplugged: an `add` uevent after the
    first settle brought it. idle_drivers: drivers for its bus that its modules brought and that did not take it (the
    last `unbound` line). parent: devpath of the nearest ancestor that is known, "" for none. of_node: the path of its
    node in the device tree.
    """

    __slots__ = (
        "bound_us",
        "children",
        "devname",
        "devpath",
        "devtype",
        "driver",
        "former",
        "gone_us",
        "hotplugged",
        "idle_drivers",
        "ifname",
        "matches",
        "modalias",
        "module",
        "of_node",
        "parent",
        "seen_us",
        "subsystem",
    )

    def __init__(self, devpath: str, seen_us: int) -> None:
        self.devpath = devpath
        self.seen_us = seen_us
        self.subsystem = self.modalias = self.driver = self.former = self.module = ""
        self.devtype = self.devname = self.ifname = self.of_node = self.parent = ""
        self.bound_us = self.gone_us = UNKNOWN
        self.hotplugged = False
        self.matches: tuple[Match, ...] = ()
        self.idle_drivers: tuple[str, ...] = ()
        self.children: list[str] = []

    @property
    def name(self) -> str:
        """The last part of the devpath."""
        return self.devpath.rpartition("/")[2]

    @property
    def node(self) -> str:
        """How user space reaches it: its network interface, or its node in /dev; "" if there is neither."""
        if self.ifname:
            return self.ifname
        return f"/dev/{self.devname}" if self.devname else ""

    @property
    def present(self) -> bool:
        """Is it there, as far as the ledger goes?"""
        return self.gone_us < 0


class LoadHistory(NamedTuple):
    """One load of a module, ended.

    own_us: how long its own insertion took, its probes included: from its start to the start of the next
    module that the same modprobe inserted, or to the end of that modprobe. UNKNOWN where it was not inserted.
    brought: modules of the same job that were inserted because this one needs them, in order.
    failure: why it was denied or failed, UNKNOWN where the ledger does not tell (or tells what is not known here); None
    for other outcomes. blocked_by: the needed module for lack of which it failed.
    """

    module: str
    outcome: str
    causes: tuple[Cause, ...] = ()
    deps: tuple[str, ...] = ()
    message: str = ""
    queued_us: int = UNKNOWN
    start_us: int = UNKNOWN
    end_us: int = UNKNOWN
    own_us: int = UNKNOWN
    brought: tuple[str, ...] = ()
    failure: FailureKind | None = None
    blocked_by: str = ""

    @property
    def succeeded(self) -> bool:
        """Is the module's code in the kernel?"""
        return self.outcome in SUCCESSFUL

    @property
    def asker(self) -> str:
        """The devpath of the first device that asked for it by alias; "" if no device did."""
        return next((cause.devpath for cause in self.causes if cause.devpath), "")

    @property
    def askers(self) -> list[str]:
        """The devpaths of the devices among its causes."""
        return [cause.devpath for cause in self.causes if cause.devpath]


class Appearance(NamedTuple):
    """A module that came (or went) without the daemon: the kernel's own request, or somebody's modprobe.

    causes: for whom the kernel asked for it; () where that is not known.
    """

    module: str
    t_us: int
    came: bool = True
    causes: tuple[Cause, ...] = ()


class Settle(NamedTuple):
    """A `settled` line: when, and its numbers as they were written; {} for all but the first and the last."""

    t_us: int
    fields: dict[str, Any]
