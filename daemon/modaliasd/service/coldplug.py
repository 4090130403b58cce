"""The walks of /sys: the coldplug, and those that make good for lost uevents or that somebody asks for.

A walk goes on in strides between which children and uevents get their turn. One that is asked for while
another is under way begins when that has ended, since it must see what came meanwhile.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from modaliasd.core.device import Device
    from modaliasd.core.ledger.write import Json
    from modaliasd.service.devices import Registry
    from modaliasd.service.world import World


class Walker:
    """At most one walk at a time."""

    def __init__(self, world: World, registry: Registry) -> None:
        self._world = world
        self._registry = registry
        self._strides: Iterator[list[Device]] | None = None
        self._number = 0
        self._again = ""
        self._counts = [0, 0, 0]  # devices, with modalias, matched
        self._seen: set[str] = set()

    @property
    def walking(self) -> bool:
        """Is a walk under way, or about to begin?"""
        return self._strides is not None

    @property
    def first(self) -> bool:
        """Is it the first walk that is under way?"""
        return self._strides is not None and self._number == 1

    def request(self, reason: str) -> None:
        """Begin a walk that sees everything that is there from now on."""
        if self._strides is None:
            self._begin(reason)
        else:
            self._again = reason

    def _begin(self, reason: str) -> None:
        self._number += 1
        self._counts = [0, 0, 0]
        self._seen.clear()
        self._world.write("walk", {"walk": self._number, "reason": reason})
        if self._number > 1:
            self._world.loader.recheck_live()
        self._strides = self._world.sysfs.walk()

    def walk_on(self) -> None:
        """Take the next stride of the walk."""
        if self._strides is None:
            return
        stride = next(self._strides, None)
        if stride is None:
            self._end()
            return
        for device in stride:
            extra: dict[str, Json] = {"walk": self._number}
            if device.driver:
                extra["module"] = self._world.sysfs.driver_module(device.devpath)
            entry = self._registry.see(device, "coldplug", extra)
            self._seen.add(device.devpath)
            self._counts[0] += 1
            self._counts[1] += bool(device.modalias)
            self._counts[2] += bool(entry.modules)

    def _end(self) -> None:
        self._strides = None
        if self._number > 1:
            self._registry.forget_gone(self._seen, self._number)
        devices, with_modalias, matched = self._counts
        self._world.write(
            "walked",
            {"walk": self._number, "devices": devices, "with_modalias": with_modalias, "matched": matched},
        )
        self._seen.clear()
        if self._again:
            reason, self._again = self._again, ""
            self._begin(reason)
