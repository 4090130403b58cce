"""Takes uevents in: who sent them, which numbers are missing, and what each says of a device or a module.

A turn reads what the socket holds, a batch at most, and only then handles it: that empties the kernel's
buffer fastest, gives every event the time at which it came, and lets a batch be put in the order of its
numbers (since Linux 6.10 two CPUs can send in the wrong order). An event that is late for all that, or that
a walk has overtaken, may tell of a past that is over: sysfs decides what of it still holds.

What has been handled is sent on to libudev's clients if there are any (core/uevent/monitor.py, core/uevent/relay.py).
"""

from __future__ import annotations

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.write import device_fields
from modaliasd.core.uevent.doubt import Doubt
from modaliasd.core.uevent.parse import Action, device_from_env, parse_uevent
from modaliasd.core.uevent.relay import Relay
from modaliasd.core.uevent.sequence import Sequence
from modaliasd.linux.descriptors import with_reserve
from modaliasd.linux.netlink import Datagram, Oddity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.device import Device
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.loading.cause import Cause
    from modaliasd.core.uevent.parse import Uevent
    from modaliasd.service.coldplug import Walked
    from modaliasd.service.ports.loading import EventLoader
    from modaliasd.service.ports.outside import Clock, EventSysfs, UeventSource, Writer
    from modaliasd.service.ports.parts import EventRegistry, WalkRequests

GAP = "gap"  # why a walk is made: numbers are missing
OVERRUN = "overrun"  # or the kernel dropped events
EVENTS_A_TURN = 32  # uevents handled before the other descriptors get their turn


class Intake:
    """`sequence` says which events have come; `dropped` how many datagrams were not believed; `unsent` how many
    could not be sent on; `busiest_turn` how many uevents at most were handled while clients had to wait.

    seqnum, drops: the last uevent's number, and how many datagrams the kernel had dropped, before the first walk.
    find_request: why the kernel asked for a module that came by somebody else's doing; None if it did not.
    """

    def __init__(
        self,
        *,
        uevents: UeventSource,
        seqnum: int,
        drops: int,
        sysfs: EventSysfs,
        registry: EventRegistry,
        loader: EventLoader,
        walker: WalkRequests,
        writer: Writer,
        clock: Clock,
        find_request: Callable[[str], Cause | None] | None = None,
    ) -> None:
        self.sequence = Sequence(seqnum)
        self.doubt = Doubt()
        self._drops = drops
        self.dropped = 0
        self.unsent = 0
        self.busiest_turn = 0
        self._this_turn = 0
        self.drained = False  # did the last read come to the socket's end?
        self._relay = Relay()
        self._message: Callable[[bytes, str, str], bytes] | None = None  # made once somebody listens
        self._uevents = uevents
        self._sysfs = sysfs
        self._registry = registry
        self._loader = loader
        self._walker = walker
        self._writer = writer
        self._clock = clock
        self._find_request = find_request

    def read(self) -> bool:
        """Read and handle one batch; was there anything?"""
        batch, overrun = self._receive()
        events = [(event, t_us, data) for event, t_us, data in map(self._parse, batch) if event is not None]
        if any(events[at][0].seqnum < events[at - 1][0].seqnum for at in range(1, len(events))):
            events.sort(key=_seqnum)
        listening = bool(events) and (len(self._relay) > 0 or self._uevents.has_listeners())
        self._this_turn += len(events)
        latest = 0
        for event, t_us, data in events:
            latest = max(latest, t_us)
            self._handle(event, latest)
            if listening:
                self._send_on(event, data)
        # The kernel tells of a full buffer once, and goes on dropping until the socket has been read to its end.
        overrun = overrun or (self.drained and self._uevents.drops() != self._drops)
        if overrun:
            self.lose(OVERRUN)
        return bool(batch) or overrun

    def end_turn(self) -> None:
        """Give the others their turn now."""
        self.busiest_turn = max(self.busiest_turn, self._this_turn)
        self._this_turn = 0

    def _receive(self) -> tuple[list[tuple[bytes, int]], bool]:
        """Datagrams with the time of each, and whether the kernel had to drop some."""
        uevents, clock = self._uevents, self._clock
        batch: list[tuple[bytes, int]] = []
        overrun = self.drained = False
        for _ in range(EVENTS_A_TURN):
            got = uevents.receive()
            if isinstance(got, Datagram):
                batch.append((got.payload, clock()))
            elif got is Oddity.EMPTY:
                self.drained = True
                break
            elif got is Oddity.OVERRUN:
                overrun = True
            else:
                self._drop("the sender is not the kernel")
        return batch, overrun

    def _parse(self, received: tuple[bytes, int]) -> tuple[Uevent | None, int, bytes]:
        payload, t_us = received
        try:
            return parse_uevent(payload), t_us, payload
        except FormatError as e:
            self._drop(str(e))
            return None, t_us, payload

    def _send_on(self, event: Uevent, data: bytes) -> None:
        """Tell libudev's clients of an event, once the loads that it caused have ended."""
        if self._message is None:
            self._message = with_reserve(_message_maker)
        entry = self._registry.devices.find(event.devpath)
        loads = filter(self._loader.is_pending, entry.modules) if entry is not None else ()
        message = self._message(data, event.env.get("SUBSYSTEM", ""), event.env.get("DEVTYPE", ""))
        self._send(self._relay.offer(event.devpath, message, loads))

    def loads_ended(self) -> None:
        """Send on what waited for loads that have ended."""
        if len(self._relay):
            self._send(self._relay.release(self._loader.is_pending))

    def _send(self, messages: list[bytes]) -> None:
        for message in messages:
            self.unsent += not self._uevents.send(message)

    def _handle(self, event: Uevent, t_us: int) -> None:
        late = self.sequence.saw(event.seqnum)
        subsystem = event.env.get("SUBSYSTEM", "")
        if subsystem == "module":
            self._take_module(event, t_us)
            return
        if not event.devpath.startswith("/devices/"):
            return  # drivers, buses, caches of the slab allocator: no devices
        device = device_from_env(event.devpath, subsystem, event.env)
        seqnum: dict[str, Json] = {"seqnum": event.seqnum}
        if late and self._is_over(event, device, seqnum, t_us):
            return
        if event.action is Action.REMOVE:
            self._registry.remove(device, seqnum, t_us)
        elif event.action in {Action.BIND, Action.UNBIND}:
            self._take_binding(event, device, seqnum, t_us)
        else:
            if event.action is Action.MOVE:
                old = event.env.get("DEVPATH_OLD", "")
                self._registry.devices.move(old, device)
                seqnum["from"] = old
            self._registry.see(device, event.action.value, seqnum, t_us)

    def _is_over(self, event: Uevent, device: Device, seqnum: dict[str, Json], t_us: int) -> bool:
        """Return whether a late event tells of what is no more; then it is written down, and nothing else."""
        is_there = self._sysfs.exists(device.devpath)
        if is_there == (event.action is not Action.REMOVE):
            return False
        self._writer.write("device", device_fields(device, event.action.value) | seqnum, t_us)
        return True

    def _take_binding(self, event: Uevent, device: Device, seqnum: dict[str, Json], t_us: int) -> None:
        bound = event.action is Action.BIND
        driver = event.env.get("DRIVER", "") or (self._sysfs.driver(event.devpath) if bound else "")
        if bound:
            seqnum["module"] = self._sysfs.driver_module(event.devpath)
        self._registry.bind(device, event.action.value, driver, seqnum, t_us)

    def _take_module(self, event: Uevent, t_us: int) -> None:
        if "SYNTH_UUID" in event.env:
            return  # somebody wrote to its `uevent` file, as `udevadm trigger` does: nothing has come or gone
        module = event.devpath.rpartition("/")[2]
        fields: dict[str, Json] = {"action": event.action.value, "module": module, "seqnum": event.seqnum}
        if event.action is Action.REMOVE:
            self._registry.module_left(module)
            self._writer.write("module", fields, t_us)
        elif event.action is Action.ADD and self._loader.appeared(module, t_us):
            cause = self._find_request(module) if self._find_request is not None else None
            if cause is not None:
                fields["causes"] = [cause.fields()]
            self._writer.write("module", fields, t_us)

    def lose(self, reason: str) -> None:
        """Events were lost: what they told is found by a new walk, which begins after the counts are taken."""
        self._drops = self._uevents.drops()  # before the number: all that these were is made good
        number = self._sysfs.uevent_seqnum()
        lost = self.sequence.forgive(number)
        self._writer.write("lost", {"reason": reason, "events": lost, "seqnum": number})
        self._walker.request(reason)

    def judge_gap(self, number: int) -> bool:
        """Numbers up to this one are missing: are they somebody else's? If not, they are lost, and a walk follows.

        The kernel has not dropped anything, or `read` would have found that.
        """
        now = self._clock()
        confirming = self._walker.walking  # in the background: nothing is judged while others wait for a walk
        if not confirming and not self.doubt.believes(now):
            self.lose(GAP)
            return False
        self.sequence.believe(number)
        self.doubt.believed(now)
        return True

    def confirm(self) -> None:
        """If it is time for that, have a walk look whether what was believed holds."""
        if self.doubt.is_due(self._clock()) and not self._walker.walking:
            self._walker.request(GAP, in_background=True)

    def walked(self, walked: Walked) -> None:
        """Note that a walk has ended."""
        self.doubt.walked(
            begun_us=walked.begun_us,
            ended_us=self._clock(),
            for_gap=walked.reason == GAP,
            found=walked.found,
        )

    def timeout_ms(self) -> int:
        """Until `confirm` may have something to do; -1 for never."""
        return self.doubt.timeout_ms(self._clock())

    def made_good(self) -> None:
        """Note that all is settled: every loss has asked for a walk, and none is under way."""
        self.sequence.made_good()

    def counts(self) -> dict[str, Json]:
        """Return the last uevent's number, and how many were lost, recovered and dropped."""
        sequence = self.sequence
        return {
            "seqnum": sequence.last,
            "lost": sequence.lost,
            "recovered": sequence.recovered,
            "unseen": sequence.unseen,
            "dropped": self.dropped,
        }

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        self._writer.write("dropped", {"reason": reason, "count": self.dropped})


def _message_maker() -> Callable[[bytes, str, str], bytes]:
    from modaliasd.core.uevent.monitor import monitor_message

    return monitor_message


def _seqnum(received: tuple[Uevent, int, bytes]) -> int:
    return received[0].seqnum
