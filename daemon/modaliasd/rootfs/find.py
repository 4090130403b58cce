"""Waits for the device that `root=` names: exactly as long as something is on its way.

The daemon says which block devices come, and when nothing is loading and no event is unread. Some devices come later
than that, by the kernel's own work (coming.py); for these there is a time. With rootwait it goes on for ever.
"""

from __future__ import annotations

from time import monotonic

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.root.target import BlockDevice, best_of, find, needs_content
from modaliasd.core.root.words import By
from modaliasd.linux.root.coming import on_its_way, signs_of_life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from modaliasd.core.root.words import RootWords
    from modaliasd.linux.root.blockdev import BlockDevices
    from modaliasd.rootfs.daemon import Daemon

STUCK_PATIENCE_S = 30.0  # beside loads that are known to be slow, and nothing else


class Waited(NamedTuple):
    """device: None where it did not come. devices: all that did. stuck: modules whose loads had not ended.

    others: devices that have the same name. shared: it is no block device, and mounted already.
    """

    device: BlockDevice | None
    devices: tuple[BlockDevice, ...] = ()
    stuck: tuple[str, ...] = ()
    others: tuple[BlockDevice, ...] = ()
    shared: bool = False


class Finder:
    """Looks for one target.

    assemble: makes a device of a member that is there, if it can. last: does so with what waits until nothing else is
    on its way; False where there is none. share: mounts a target that is a tag; False where that is not there yet.
    pause: called once, before waiting on and on.
    """

    def __init__(
        self,
        words: RootWords,
        daemon: Daemon,
        devices: BlockDevices,
        *,
        assemble: Callable[[BlockDevice], None],
        last: Callable[[tuple[BlockDevice, ...]], bool],
        share: Callable[[], bool],
        pause: Callable[[Waited], None],
        root: str = "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        assert words.target is not None
        self._words = words
        self._target = words.target
        self._daemon = daemon
        self._devices = devices
        self._assemble = assemble
        self._last = last
        self._share = share
        self._pause = pause
        self._root = root
        self._clock = clock
        self._known: dict[str, BlockDevice] = {}
        self._ends = clock() + words.delay_s
        self._stuck: tuple[str, ...] = ()
        self._stuck_ends = 0.0
        self._alive: frozenset[str] = frozenset()
        self._paused = False

    def wait(self) -> Waited:
        """Return the device once it is there; without one when there is no reason to wait any longer."""
        seen, until = 0, "settled"
        while True:
            answer = self._daemon.ask("blocks", str(seen), until)
            seen = answer["seen"]
            self._look(answer["devices"])
            found = self._found(final=False)
            if found is not None:
                return found
            following = self._following(answer)
            if following in ("", "ever") and self._target.by is not By.TAG:
                found = self._found(final=True)
                if found is not None:
                    return found
            if not following:
                return Waited(None, self._devices_known(), self._stuck)
            if following == "ever" and not self._paused:
                self._paused = True
                self._pause(Waited(None, self._devices_known(), self._stuck))
            until = following

    def _look(self, paths: list[str]) -> None:
        content = needs_content(self._target)
        for path in dict.fromkeys(paths):
            if path.startswith("/"):
                continue  # what shares directories
            name = path.replace("/", "!")  # as /sys has cciss/c0d0
            self._devices.forget(name)
            device = self._devices.look(name, content=content)
            if device is None:
                self._known.pop(name, None)
                continue
            self._known[name] = device
            self._assemble(device)

    def _found(self, *, final: bool) -> Waited | None:
        known = self._devices_known()
        if self._target.by is By.TAG:
            return Waited(BlockDevice(self._target.value), known, shared=True) if self._share() else None
        found = find(self._target, known)
        if not found:
            return None
        best = best_of(found)
        if best.holds is None and not best.error:  # found by its name, and not read yet
            best = self._devices.look(best.node.removeprefix("/dev/").replace("/", "!")) or best
        expected = best.holds.parts if best.holds is not None else 1
        if len(found) < expected and not final:
            return None  # a file system over several devices
        return Waited(best, known, others=tuple(one for one in found if one.node != best.node))

    def _following(self, answer: dict[str, Any]) -> str:
        """Return until when to wait now; "" to give up."""
        now = self._clock()
        if "stuck" in answer:
            self._stuck, self._stuck_ends = tuple(answer["stuck"]), now + STUCK_PATIENCE_S
        elif "settled" in answer:
            self._stuck = ()
        if self._words.wait:
            return self._go_on(answer)
        left = max(self._ends, self._stuck_ends if self._stuck else 0.0) - now
        if answer["devices"] and not self._stuck:
            return "settled"
        if left > 0:
            return f"{left + 0.001:.3f}"
        alive = signs_of_life(self._root)
        seconds = on_its_way(self._root)
        if self._stuck or not seconds or alive == self._alive:
            return "settled" if self._last(self._devices_known()) else ""
        self._alive = alive
        return f"{seconds:.3f}"

    def _go_on(self, answer: dict[str, Any]) -> str:
        """Wait for ever, once nothing is on its way."""
        if answer["devices"]:
            return "ever" if self._paused else "settled"
        return "settled" if self._last(self._devices_known()) else "ever"

    def _devices_known(self) -> tuple[BlockDevice, ...]:
        return tuple(self._known.values())
