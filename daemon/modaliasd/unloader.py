"""Removes modules whose last device has gone, in the subsystems that the policy names (`unload`); off by default.

Only what this daemon has inserted for a device is removed, and only when nothing else goes on: then no load can
be on its way that needs the module. A device that is plugged in meanwhile gets it loaded again.
"""

from __future__ import annotations

from modaliasd.children import reap
from modaliasd.core.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.children import Child
    from modaliasd.core.record import Json
    from modaliasd.registry import Registry
    from modaliasd.world import World


class Unloader:
    """At most one removal at a time."""

    def __init__(self, world: World, registry: Registry) -> None:
        self._world = world
        self._registry = registry
        self._child: Child | None = None
        self._module = self._devpath = ""

    @property
    def busy(self) -> bool:
        """Is a module being removed, or about to be?"""
        return self._child is not None or bool(self._registry.orphans)

    def start(self) -> int:
        """Begin the next removal, if there is one; its pidfd, to be polled, else -1."""
        orphans = self._registry.orphans
        while self._child is None and orphans:
            module = next(iter(orphans))
            devpath = orphans.pop(module)
            load = self._world.loader.scheduler.load_of(module)
            ours = load is not None and load.verdict is not None and load.verdict.outcome is Outcome.INSERTED
            if not ours or self._registry.is_wanted(module):
                continue
            self._module, self._devpath = module, devpath
            try:
                self._child = self._world.loader.start_removal(module)
            except OSError as e:
                self._write("kept", f"cannot run modprobe: {e.strerror}")
                continue
            return self._child.pidfd
        return -1

    def is_child(self, descriptor: int) -> bool:
        """Is this the pidfd of the removal?"""
        return self._child is not None and self._child.pidfd == descriptor

    def finish(self) -> None:
        """The removal's process has ended."""
        assert self._child is not None
        ended = reap(self._child)
        self._child = None
        if self._world.sysfs.is_live(self._module):
            self._write("kept", ended.words.strip() or f"modprobe ended with status {ended.status}")
            return
        self._write("removed", "")
        self._registry.module_left(self._module)
        self._registry.want_again(self._module)

    def _write(self, outcome: str, message: str) -> None:
        fields: dict[str, Json] = {"module": self._module, "devpath": self._devpath, "outcome": outcome}
        self._world.write("unload", fields | {"message": message})
