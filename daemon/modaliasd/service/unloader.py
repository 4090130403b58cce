"""Removes modules whose last device has gone, in the subsystems that the policy names (`unload`); off by default.

Only what this daemon has inserted for a device is removed, and only when nothing else goes on: then no load can
be on its way that needs the module. A device that is plugged in meanwhile gets it loaded again.
"""

from __future__ import annotations

from modaliasd.core.loading.outcome import Outcome
from modaliasd.linux.process import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json
    from modaliasd.linux.process import Child
    from modaliasd.service.devices import Registry
    from modaliasd.service.world import World


class Unloader:
    """At most one removal at a time."""

    def __init__(self, world: World, registry: Registry) -> None:
        self._world = world
        self._registry = registry
        self._child: Child | None = None
        self._module = ""
        self._ours: dict[str, str] = {}  # what may go with it, or is next -> the device that had it last

    @property
    def busy(self) -> bool:
        """Is a module being removed, or about to be?"""
        return self._child is not None or bool(self._registry.orphans)

    @property
    def running(self) -> bool:
        """Is a module being removed?"""
        return self._child is not None

    def start(self) -> int:
        """Begin the next removal, if there is one; its pidfd, to be polled, else -1."""
        orphans = self._registry.orphans
        self._ours = {m: devpath for m, devpath in orphans.items() if self._may_go(m)}
        orphans.clear()
        orphans |= self._ours
        while orphans:
            self._module = next(iter(orphans))
            del orphans[self._module]
            try:
                command = self._world.resolver.remove_command(self._module)
                self._child = self._world.loader.start_removal(self._module, command)
            except OSError as e:
                self._write(self._module, "kept", f"cannot run modprobe: {e.strerror}")
                continue
            return self._child.pidfd
        return -1

    def _may_go(self, module: str) -> bool:
        """Did this daemon insert it, and does no device want it?"""
        load = self._world.loader.scheduler.load_of(module)
        ours = load is not None and load.verdict is not None and load.verdict.outcome is Outcome.INSERTED
        return ours and not self._registry.is_wanted(module)

    def is_child(self, descriptor: int) -> bool:
        """Is this the pidfd of the removal?"""
        return self._child is not None and self._child.pidfd == descriptor

    def finish(self) -> None:
        """The removal's process has ended."""
        assert self._child is not None
        ended = reap(self._child)
        self._child = None
        if self._world.sysfs.is_live(self._module):
            self._write(
                self._module, "kept", ended.words.strip() or f"modprobe ended with status {ended.status}"
            )
            return
        # modprobe takes along what only this one needed, and that may have been next
        gone = [module for module in self._ours if not self._world.sysfs.is_live(module)]
        for module in gone:
            self._write(module, "removed", "")
            self._registry.orphans.pop(module, None)
            self._registry.module_left(module)
        for module in gone:
            self._registry.want_again(module)

    def _write(self, module: str, outcome: str, message: str) -> None:
        fields: dict[str, Json] = {"module": module, "devpath": self._ours[module], "outcome": outcome}
        self._world.write("unload", fields | {"message": message})
