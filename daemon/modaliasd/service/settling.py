"""Says when the daemon has settled, and tells the ledger where that is news.

Settled means: no walk under way, nothing queued, nothing loading, and the uevent socket read up to the
number that /sys/kernel/uevent_seqnum shows. It is never a quiet period.

A line is written if a device that asks for something has come or gone since the last one, or a driver has
taken one or left it, or a load has ended, or somebody waits; the kernel's log is told only of other counts.
"""

from __future__ import annotations

from modaliasd.core.loading.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json
    from modaliasd.service.coldplug import Walker
    from modaliasd.service.devices import Registry
    from modaliasd.service.intake import Intake
    from modaliasd.service.unloader import Unloader
    from modaliasd.service.world import World

GRACE_US = 50_000  # how long a missing sequence number may be on its way before a walk is made
BLIND_POLL_MS = 5  # how soon to look again while a number is awaited that no datagram announces


class Settling:
    """`settled`: nothing has happened since the last settle; `settles`: how many of this life were told."""

    def __init__(
        self, world: World, registry: Registry, walker: Walker, intake: Intake, unloader: Unloader
    ) -> None:
        self.settled = False
        self.settles = 0
        self._world = world
        self._registry = registry
        self._walker = walker
        self._intake = intake
        self._unloader = unloader
        self._blind_since = -1
        self._born_us = world.clock()
        self._index_checked = False
        self._said = (-1, -1, -1)

    def check(self, *, awaited: bool) -> dict[str, Json] | None:
        """The fields of the `settled` line if this is the moment and it is news; None otherwise.

        awaited: somebody waits for it, which makes it news.
        """
        if self.settled or not self._is_idle():
            return None
        number = self._world.sysfs.uevent_seqnum()
        self._intake.read()
        if not self._intake.drained:
            self._blind_since = -1  # nothing is missing before the socket is empty
            return None
        if not self._is_idle():
            return None
        if not self._intake.sequence.reached(number):
            self._wait_for_number()
            return None
        self._blind_since = -1
        if not self._index_was_right():
            return None
        self._intake.sequence.made_good()  # every loss has asked for a walk, and none is under way
        self.settled = True
        if not (awaited or self._registry.news):
            return None
        self._registry.news = False
        return self._settle(number)

    def _index_was_right(self) -> bool:
        """Sum up the index once, before the first settle; if it is damaged, look all devices up again."""
        if self._index_checked:
            return True
        self._index_checked = True
        if self._world.aliases.check():
            return True
        self._registry.tell_of_index()
        self._registry.start_over()
        self._walker.request("index")
        return False

    def timeout_ms(self) -> int:
        """When to look again although no descriptor is ready; -1: no need."""
        return BLIND_POLL_MS if self._blind_since >= 0 and self._is_idle() else -1

    def is_due(self) -> bool:
        """Would another look be worth it at once?"""
        return not self.settled and self._blind_since < 0 and self._is_idle()

    def _is_idle(self) -> bool:
        return not self._walker.walking and self._world.loader.scheduler.idle and not self._unloader.busy

    def _wait_for_number(self) -> None:
        """Numbers are missing and the socket is empty: give them a moment, then make good by a walk."""
        now = self._world.clock()
        if self._blind_since < 0:
            self._blind_since = now
        elif now - self._blind_since > GRACE_US:
            self._blind_since = -1
            self._intake.lose("gap")

    def _settle(self, number: int) -> dict[str, Json]:
        world = self._world
        self.settles += 1
        self._registry.write_unbound()
        world.loader.report_waiting()
        counts = self._registry.devices.counts()
        outcomes = [load.verdict.outcome for load in world.loader.scheduler.loads() if load.verdict]
        fields: dict[str, Json] = {
            "seqnum": number,
            "devices": counts.devices,
            "with_modalias": counts.with_modalias,
            "matched": counts.matched,
            "bound": counts.bound,
            "loads": outcomes.count(Outcome.INSERTED),
            "failed": outcomes.count(Outcome.FAILED),
            "ms": (world.clock() - self._born_us) / 1000,
            "lost": self._intake.sequence.lost,
            "recovered": self._intake.sequence.recovered,
            "dropped": self._intake.dropped,
        }
        world.write("settled", fields)
        said = (
            outcomes.count(Outcome.INSERTED),
            outcomes.count(Outcome.FAILED),
            outcomes.count(Outcome.DENIED),
        )
        if said != self._said:
            self._said = said
            world.ledger.say(
                f"settled: {counts.devices} devices, {counts.matched} matched, {counts.bound} bound, "
                f"{said[0]} modules loaded, {said[1]} failed, in {fields['ms']:.0f} ms"
            )
        world.ledger.flush()
        return fields
