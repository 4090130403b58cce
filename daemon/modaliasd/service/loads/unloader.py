"""Removes modules whose last device has gone, in the subsystems that the policy names (`unload`); off by default.

Only what this daemon has inserted for a device is removed, and only when nothing else goes on: then no load can
be on its way that needs the module. A device that is plugged in meanwhile gets it loaded again.
"""

from __future__ import annotations

from modaliasd.linux.process import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json
    from modaliasd.linux.process import Child
    from modaliasd.service.ports.loading import RemovingLoader
    from modaliasd.service.ports.outside import LiveSysfs, RemoveCommands, Writer
    from modaliasd.service.ports.parts import Orphans


class Unloader:
    """At most one removal at a time."""

    def __init__(
        self,
        *,
        registry: Orphans,
        loader: RemovingLoader,
        resolver: RemoveCommands,
        sysfs: LiveSysfs,
        writer: Writer,
    ) -> None:
        self._registry = registry
        self._loader = loader
        self._resolver = resolver
        self._sysfs = sysfs
        self._writer = writer
        self._child: Child | None = None
        self._module = ""
        self._next: dict[str, str] = {}  # modules to go -> the device that had them last
        self._ours: dict[str, str] = {}  # the one that goes, and what may go with it

    @property
    def busy(self) -> bool:
        """Is a module being removed, or about to be?"""
        return self._child is not None or bool(self._next) or self._registry.has_orphans()

    @property
    def due(self) -> bool:
        """Is there a module to be removed, and none on its way out?"""
        return self._child is None and self.busy

    def start(self) -> int:
        """Begin the next removal, if there is one; its pidfd, to be polled, else -1."""
        waiting = self._next | self._registry.take_orphans()
        self._next = {module: devpath for module, devpath in waiting.items() if self._may_go(module)}
        self._ours = dict(self._next)
        while self._next:
            self._module = next(iter(self._next))
            del self._next[self._module]
            try:
                command = self._resolver.remove_command(self._module)
                self._child = self._loader.start_removal(self._module, command)
            except OSError as e:
                self._write(self._module, "kept", f"cannot run modprobe: {e.strerror}")
                continue
            return self._child.pidfd
        return -1

    def _may_go(self, module: str) -> bool:
        """Did this daemon insert it, and does no device want it?"""
        return self._loader.has_inserted(module) and not self._registry.is_wanted(module)

    def is_child(self, descriptor: int) -> bool:
        """Return whether this is the pidfd of the removal."""
        return self._child is not None and self._child.pidfd == descriptor

    def finish(self) -> None:
        """Handle the end of the removal's process."""
        assert self._child is not None
        ended = reap(self._child)
        self._child = None
        if self._sysfs.is_live(self._module):
            message = ended.words.strip() or f"modprobe ended with status {ended.status}"
            self._write(self._module, "kept", message)
            return
        # modprobe takes along what only this one needed, and that may have been next
        gone = [module for module in self._ours if not self._sysfs.is_live(module)]
        for module in gone:
            self._write(module, "removed", "")
            self._next.pop(module, None)
            self._registry.module_left(module)
        for module in gone:
            self._registry.want_again(module)

    def _write(self, module: str, outcome: str, message: str) -> None:
        fields: dict[str, Json] = {"module": module, "devpath": self._ours[module], "outcome": outcome}
        self._writer.write("unload", fields | {"message": message})
