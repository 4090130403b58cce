"""The walks of /sys: the coldplug, and those that make good for lost uevents or that somebody asks for.

A walk goes on in strides between which children and uevents get their turn. One that is asked for while
another is under way begins when that has ended, since it must see what came meanwhile.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from modaliasd.core.device import Device
    from modaliasd.core.ledger.write import Json
    from modaliasd.service.ports.loading import CheckingLoader
    from modaliasd.service.ports.outside import Clock, WalkableSysfs, Writer
    from modaliasd.service.ports.parts import WalkedRegistry


class Walked(NamedTuple):
    """A walk that has ended: why it was made, when it began, and whether it found what no event had told of."""

    reason: str
    begun_us: int
    found: bool


class Walker:
    """At most one walk at a time."""

    def __init__(
        self,
        *,
        sysfs: WalkableSysfs,
        registry: WalkedRegistry,
        loader: CheckingLoader,
        writer: Writer,
        clock: Clock,
    ) -> None:
        self._sysfs = sysfs
        self._registry = registry
        self._loader = loader
        self._writer = writer
        self._clock = clock
        self._strides: Iterator[list[Device]] | None = None
        self._number = 0
        self._again = ""
        self._reason = ""
        self._in_background = False
        self._begun_us = 0
        self._known = 0  # what the registry had learnt from walks before this one
        self._counts = [0, 0, 0]  # devices, with modalias, matched
        self._seen: set[str] = set()

    @property
    def walking(self) -> bool:
        """Is a walk under way, or about to begin?"""
        return self._strides is not None

    @property
    def pressing(self) -> bool:
        """Is one that others wait for? One that only confirms what is believed is not."""
        return self._strides is not None and (not self._in_background or bool(self._again))

    @property
    def first(self) -> bool:
        """Is it the first walk that is under way?"""
        return self._strides is not None and self._number == 1

    def request(self, reason: str, *, in_background: bool = False) -> None:
        """Begin a walk that sees everything that is there from now on. in_background: nobody waits for it."""
        if self._strides is None:
            self._in_background = in_background
            self._begin(reason)
        else:
            self._again = reason

    def _begin(self, reason: str) -> None:
        self._number += 1
        self._counts = [0, 0, 0]
        self._seen.clear()
        self._reason, self._begun_us, self._known = reason, self._clock(), self._registry.found
        self._writer.write("walk", {"walk": self._number, "reason": reason})
        if self._number > 1:
            self._loader.recheck_live()
        self._strides = self._sysfs.walk()

    def walk_on(self) -> Walked | None:
        """Take the next stride of the walk; gives what to tell of it if it has ended."""
        if self._strides is None:
            return None
        stride = next(self._strides, None)
        if stride is None:
            return self._end()
        for device in stride:
            extra: dict[str, Json] = {"walk": self._number}
            if device.driver:
                extra["module"] = self._sysfs.driver_module(device.devpath)
            entry = self._registry.see(device, "coldplug", extra)
            self._seen.add(device.devpath)
            self._counts[0] += 1
            self._counts[1] += bool(device.modalias)
            self._counts[2] += bool(entry.modules)
        return None

    def _end(self) -> Walked:
        self._strides = None
        if self._number > 1:
            self._registry.forget_gone(self._seen, self._number)
        devices, with_modalias, matched = self._counts
        self._writer.write(
            "walked",
            {"walk": self._number, "devices": devices, "with_modalias": with_modalias, "matched": matched},
        )
        self._seen.clear()
        walked = Walked(self._reason, self._begun_us, self._registry.found > self._known)
        if self._again:
            reason, self._again = self._again, ""
            self._in_background = False
            self._begin(reason)
        return walked
