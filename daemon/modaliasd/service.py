"""The daemon's loop: subscribe, walk, then uevents, children and the control socket, until told to end.

The loop waits for whatever comes first and hands it to the one whose it is:

    uevents  ->  Intake  --\\
    /sys     ->  Walker  --->  Registry  ->  Gate  ->  Loader  ->  modprobe
    clients  ->  Desk    --/

It tells the Settlement what goes on, and does what that advises: look whether all events have come, judge what is
missing, check the index, tell that all is settled.
"""

from __future__ import annotations

from select import POLLIN, POLLOUT, poll

from modaliasd.children import reap
from modaliasd.core.device import Phase
from modaliasd.core.outcome import Outcome
from modaliasd.core.record import FORMAT
from modaliasd.core.settlement import Advice
from modaliasd.descriptors import with_reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.children import Child
    from modaliasd.core.modprobed import Configuration
    from modaliasd.core.record import Json
    from modaliasd.core.settlement import Settlement
    from modaliasd.desk import Desk
    from modaliasd.gate import Gate
    from modaliasd.intake import Intake
    from modaliasd.ports import AliasTable, Clock, Flushable, Hook, LoopLoader, NumberedSysfs, Writer
    from modaliasd.registry import Registry
    from modaliasd.settlereport import SettleReport
    from modaliasd.unloader import Unloader
    from modaliasd.walker import Walker

LOOKS = (Advice.READ_SOCKET, Advice.LOOK_AGAIN)


class Service:
    """One life of the daemon.

    poller: where the desk has registered its descriptors, if there is a desk. unloader: None where the policy has
    nothing unloaded. make_report: called before the first settle is told.
    """

    def __init__(
        self,
        *,
        poller: poll,
        registry: Registry,
        walker: Walker,
        intake: Intake,
        loader: LoopLoader,
        unloader: Unloader | None,
        desk: Desk | None,
        gate: Gate,
        settlement: Settlement,
        make_report: Callable[[], SettleReport],
        uevents_fileno: int,
        sysfs: NumberedSysfs,
        aliases: AliasTable,
        ledger: Flushable,
        writer: Writer,
        clock: Clock,
        on_settled: Hook,
        on_hotplug: Callable[[], None],
    ) -> None:
        self._poll = poller
        self._registry = registry
        self._walker = walker
        self._intake = intake
        self._loader = loader
        self._unloader = unloader
        self._desk = desk
        self._gate = gate
        self._settlement = settlement
        self._make_report = make_report
        self._report: SettleReport | None = None
        self._uevents_fileno = uevents_fileno
        self._sysfs = sysfs
        self._aliases = aliases
        self._ledger = ledger
        self._writer = writer
        self._clock = clock
        self._on_settled = on_settled
        self._on_hotplug = on_hotplug
        self._stop = False
        self._hook: Child | None = None

    def begin(self, start: dict[str, Json], configuration: Configuration, wanted: tuple[str, ...]) -> None:
        """Write down who this is and what was found wrong on the way here; ask for the first walk.

        start: fields of the `start` line. wanted: modules to load by name before anything else.
        """
        self._writer.write("start", {"format": FORMAT} | start)
        if self._ledger.torn_bytes:
            message = f"{self._ledger.torn_bytes} bytes of a line that was never finished were cut off"
            self._writer.write("warning", {"what": "ledger repaired", "message": message})
        for problem in (self._ledger.problem, self._desk.problem if self._desk is not None else ""):
            if problem:
                self._writer.write("warning", {"what": "/run", "message": f"{problem}; going on without it"})
                self._writer.say(f"{problem}; going on without it")
        self._registry.tell_of_index()
        for mistake in configuration.problems:
            where = {"path": mistake.file, "line": mistake.line or None}
            self._writer.write("warning", {"what": "modprobe.d", **where, "message": mistake.message})
        self._gate.write_mistakes()
        if self._gate.phase is Phase.FROZEN:
            self._gate.freeze()
        self._ledger.flush()  # a life that ends early shall have left its first line
        self._poll.register(self._uevents_fileno, POLLIN)
        for name in wanted:
            self._registry.want_by_name(name, "modaliasd.load=")
        self._walker.request("coldplug")

    def run(self, *, once: bool = False) -> int:
        """Serve until asked to stop, or until the first settle with `once`; 1 if a load failed then."""
        while not self._stop:
            self._turn()
            self._stop = self._stop or (once and self._settlement.settles > 0)
            if not self._stop:
                self._wait()
        self._ledger.drain()
        return int(Outcome.FAILED in self._loader.outcomes())

    def stop(self) -> None:
        """End at the next turn."""
        self._stop = True

    def _turn(self) -> None:
        """One round: walk on, look for more events if nothing else is to do, start jobs, follow the advice."""
        settlement = self._settlement
        walked = self._walker.walk_on()
        if walked is not None:
            self._intake.walked(walked)
        self._intake.confirm()
        settlement.work(busy=self._is_busy())
        now = number = -1
        if settlement.advice in LOOKS:
            now = self._clock()
            again = settlement.advice is Advice.LOOK_AGAIN
            # before the socket is read: all that it counts has been sent by now, or is being sent
            number = settlement.target if again else self._sysfs.uevent_seqnum()
            self._take_uevents()
        self._dispatch()
        if self._gate.phase is Phase.COLDPLUG:
            self._leave_coldplug()
        settlement.work(busy=self._is_busy())
        if number >= 0:
            intake = self._intake
            complete = intake.sequence.reached(number)
            settlement.looked(drained=intake.drained, complete=complete, number=number, now_us=now)
            self._follow()
        if self._desk is not None:
            self._desk.attend()

    def _take_uevents(self) -> None:
        if self._intake.read():
            self._settlement.received()

    def _leave_coldplug(self) -> None:
        """End the phase where nothing is left of it but loads that are known to be slow."""
        if self._walker.walking:
            return
        self._loader.report_slow()
        if not self._loader.stuck():
            return
        self._take_uevents()  # what the loads before these have brought about is part of the boot
        self._dispatch()
        slow = self._loader.stuck()
        if slow and self._intake.drained and not self._walker.walking:
            self._gate.end_coldplug(slow, self._loader.causes())
            self._on_hotplug()

    def _is_busy(self) -> bool:
        unloading = self._unloader is not None and self._unloader.busy
        return self._walker.pressing or not self._loader.idle or unloading

    def _follow(self) -> None:
        """Do what the settlement advises now that the socket was read."""
        settlement = self._settlement
        if settlement.advice is Advice.JUDGE_GAP:
            if self._intake.judge_gap(settlement.target):
                settlement.believed()
            else:
                settlement.lost()
        if settlement.advice is Advice.CHECK_INDEX:
            good = self._aliases.check()
            if not good:
                self._registry.start_over()
                self._walker.request("index")
            settlement.index_checked(good=good)
        if settlement.settled:
            self._intake.made_good()
        if settlement.advice is Advice.TELL:
            if self._report is None:
                self._report = with_reserve(self._make_report)
            fields = self._report.write(self._intake.counts() | {"seqnum": settlement.target})
            self._ledger.flush()
            settlement.told()
            if self._desk is not None:
                self._desk.settled(fields, settlement.as_of_us)
            if settlement.settles == 1:
                self._gate.first_settled()
                self._start_hook()

    def _dispatch(self) -> None:
        """Start what may run now, write down what has ended."""
        for pidfd in self._loader.start_jobs(coldplug=self._walker.first):
            self._poll.register(pidfd, POLLIN)
        if self._loader.write_ended():
            self._settlement.happened()
            self._intake.loads_ended()
        if (
            self._unloader is not None
            and self._unloader.due
            and self._loader.idle
            and not self._walker.walking
        ):
            pidfd = self._unloader.start()
            if pidfd >= 0:
                self._poll.register(pidfd, POLLIN)

    def _wait(self) -> None:
        """Write what there is to write, wait for whatever comes first, and hand it over."""
        timeout = self._timeout()
        channel = -1
        if timeout != 0:
            self._ledger.flush()
            self._tell_of_lost_lines()
            channel = self._ledger.channel_fileno()
        if channel >= 0:
            self._poll.register(channel, POLLOUT)
        self._intake.end_turn()
        ready = self._poll.poll(timeout)
        if channel >= 0:
            self._poll.unregister(channel)
        for descriptor, _events in ready:
            self._serve(descriptor)

    def _timeout(self) -> int:
        """Milliseconds that poll may sleep; -1 for ever, 0 while there is something to do."""
        if self._walker.walking or self._stop:
            return 0
        times = [
            self._settlement.timeout_ms(self._clock()),
            self._loader.report_slow(),
            self._intake.timeout_ms(),
        ]
        if self._desk is not None:
            times.append(self._desk.timeout_ms())
        due = [t for t in times if t >= 0]
        return min(due) if due else -1

    def _tell_of_lost_lines(self) -> None:
        """/run was full, and has room again: what is missing from the ledger is said in it."""
        lost = self._ledger.take_lost_lines()
        if lost:
            message = f"{lost} lines were lost while there was no room for them"
            self._writer.write("warning", {"what": "ledger", "message": message})
            self._ledger.flush()

    def _serve(self, descriptor: int) -> None:
        if descriptor == self._uevents_fileno:
            self._take_uevents()
        elif self._loader.is_job(descriptor):
            self._poll.unregister(descriptor)
            self._loader.finish(descriptor)
        elif self._unloader is not None and self._unloader.is_child(descriptor):
            self._poll.unregister(descriptor)
            self._unloader.finish()
        elif self._desk is not None and self._desk.serve(descriptor):
            return
        elif self._hook is not None and descriptor == self._hook.pidfd:
            self._poll.unregister(descriptor)
            reap(self._hook)
            self._hook = None
        elif descriptor == self._ledger.channel_fileno():
            self._ledger.flush()

    def _start_hook(self) -> None:
        """Run what waits for the first settle."""
        self._hook = self._on_settled()
        if self._hook is not None:
            self._poll.register(self._hook.pidfd, POLLIN)
