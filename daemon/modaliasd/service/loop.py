"""The daemon's loop: subscribe, walk, then uevents, children and the control socket, until told to end.

The loop waits for whatever comes first and hands it to the one whose it is:

    uevents  ->  Intake  --\\
    /sys     ->  Walker  --->  Registry  ->  Gate  ->  Loader  ->  modprobe
    clients  ->  Clients    --/

It tells the Settlement what goes on, and does what that advises: look whether all events have come, judge what is
missing, check the index, tell that all is settled.
"""

from __future__ import annotations

from select import POLLIN, POLLOUT, poll

from modaliasd.core.device import Phase
from modaliasd.core.errors import UsageError, WorldError
from modaliasd.core.kmod.modprobe_d import topic_of
from modaliasd.core.ledger.write import FORMAT
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.settlement import Advice
from modaliasd.linux.descriptors import with_reserve
from modaliasd.linux.ledger import ERROR
from modaliasd.linux.process import give_way, reap
from modaliasd.service.ledger_care import LedgerCare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modaliasd.core.errors import Problem
    from modaliasd.core.ledger.write import Json
    from modaliasd.core.settlement import Settlement
    from modaliasd.linux.process import Child
    from modaliasd.service.clients.serve import Clients
    from modaliasd.service.coldplug import Walker
    from modaliasd.service.devices import Registry
    from modaliasd.service.gate import Gate
    from modaliasd.service.intake import Intake
    from modaliasd.service.loads.unloader import Unloader
    from modaliasd.service.ports.loading import LoopLoader
    from modaliasd.service.ports.outside import (
        AliasTable,
        Clock,
        Flushable,
        Hook,
        NumberedSysfs,
        Told,
        Writer,
    )
    from modaliasd.service.settle_report import SettleReport

LOOKS = (Advice.READ_SOCKET, Advice.LOOK_AGAIN)


class Service:
    """One life of the daemon.

    poller: where the clients, if there are any, register their descriptors. open_ears: called by `listen`. unloader:
    None where the policy has nothing unloaded. make_report: called before the first settle is told. no_modules: why
    there are none for this kernel; "" where there are. chores: what can wait until the first walk has ended.
    supervisor: None where nobody wants to be told that the daemon serves. boot_log: what the kernel's log tells of its
    boot, asked after the first settle; None where that is known.
    """

    def __init__(
        self,
        *,
        poller: poll,
        registry: Registry,
        walker: Walker,
        open_ears: Callable[[], tuple[Intake, Clients | None]],
        loader: LoopLoader,
        unloader: Unloader | None,
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
        no_modules: str,
        chores: Callable[[], None] | None = None,
        supervisor: Told | None = None,
        boot_log: Callable[[], dict[str, Json]] | None = None,
    ) -> None:
        self._poll = poller
        self._registry = registry
        self._walker = walker
        self._open_ears = open_ears
        self._intake: Intake  # as is `_clients`: by `listen`
        self._loader = loader
        self._unloader = unloader
        self._clients: Clients | None = None
        self._listening = False
        self._gate = gate
        self._settlement = settlement
        self._make_report = make_report
        self._report: SettleReport | None = None
        self._uevents_fileno = uevents_fileno
        self._sysfs = sysfs
        self._aliases = aliases
        self._ledger = ledger
        self._ledger_care = LedgerCare(ledger=ledger, writer=writer, clock=clock)
        self._writer = writer
        self._clock = clock
        self._on_settled = on_settled
        self._on_hotplug = on_hotplug
        self._no_modules = no_modules
        self._chores = chores
        self._supervisor = supervisor
        self._boot_log = boot_log
        self._stop = False
        self._hook: Child | None = None

    @property
    def status(self) -> int:
        """What a boot ends with if nobody gives it another status: whose fault it is that nothing can be loaded."""
        if self._no_modules:
            return WorldError.exit_status
        return UsageError.exit_status if self._gate.is_void else 0

    def begin(
        self,
        start: dict[str, Json],
        problems: Iterable[Problem],
        skipped: Iterable[Problem],
        wanted: tuple[str, ...],
    ) -> None:
        """Write down who this is and what was found wrong on the way here; ask for the first walk.

        start: fields of the `start` line. problems: of modprobe.d and the kernel's command line. skipped: lines of the
        module tree's tables. wanted: modules to load by name before anything else.
        """
        self._writer.write("start", {"format": FORMAT} | start)
        if self._ledger.torn_bytes:
            message = f"{self._ledger.torn_bytes} bytes of a line that was never finished were cut off"
            self._writer.write("warning", {"what": "ledger repaired", "message": message})
        self._tell_lacking(self._ledger.problem)
        if self._no_modules:
            self._writer.write("warning", {"what": "modules", "message": self._no_modules})
            self._writer.say(self._no_modules, ERROR)
        self._registry.tell_of_index()
        for problem in problems:
            where = {"path": problem.file, "line": problem.line or None}
            self._writer.write("warning", {"what": topic_of(problem), **where, "message": problem.message})
        for problem in skipped:
            where = {"what": problem.file, "line": problem.line}
            self._writer.write("warning", {**where, "message": f"skipped: {problem.message}"})
        self._gate.write_mistakes()
        if self._gate.phase is Phase.FROZEN:
            self._gate.freeze()
        self._ledger.flush()  # a life that ends early shall have left its first line
        self._poll.register(self._uevents_fileno, POLLIN)
        for name in wanted:
            self._registry.want_by_name(name, "modaliasd.load=")
        self._walker.request("coldplug")
        if self._supervisor is not None:
            self._supervisor.catch_end()
            self._poll.register(self._supervisor.fileno(), POLLIN)

    def _tell_lacking(self, problem: str) -> None:
        if problem:
            self._writer.write("warning", {"what": "/run", "message": f"{problem}; going on without it"})
            self._writer.say(f"{problem}; going on without it", ERROR)

    def listen(self) -> None:
        """Import and open what hears of uevents and of clients, unless that has been done."""
        if self._listening:
            return
        self._listening = True
        self._intake, self._clients = self._open_ears()
        if self._clients is not None:
            self._tell_lacking(self._clients.problem)
        if self._supervisor is not None:
            self._supervisor.ready("walking /sys")

    def _first_turn(self) -> None:
        """Start what the walk's first stride asks for, and while modprobe works, get what the other turns need.

        The first of all loads speeds up the others (core/loading/signature.py), so the daemon gives way to it; after it
        there are more to be started.
        """
        walked = self._walker.walk_on()
        give_way()
        self._start_jobs()
        give_way(yielding=False)
        self.listen()
        if walked is not None:
            self._intake.walked(walked)

    def run(self, *, once: bool = False) -> int:
        """Serve for ever, or until the first settle with `once`; the exit status: 1 if a load failed.

        SIGTERM has its default action: it ends the process; with a supervisor it ends the loop, with status 0.
        """
        self._first_turn()
        while not self._stop:
            self._turn()
            self._stop = self._stop or (once and self._settlement.settles > 0) or self._has_left()
            if not self._stop:
                self._wait()
        if not once:
            self._ledger.flush()
            return 0
        self._ledger.drain()
        return self.status or int(Outcome.FAILED in self._loader.outcomes())

    def _has_left(self) -> bool:
        """Return whether a daemon that was asked to end has nothing more to wait for."""
        return self._clients is not None and self._clients.leaving and not self._loader.running

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
        if self._clients is not None:
            self._clients.attend()

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
            if self._clients is not None:
                self._clients.settled(fields, settlement.as_of_us)
            if self._supervisor is not None:
                self._supervisor.status(self._report.words)
            if settlement.settles == 1:
                self._gate.first_settled()
                self._start_hook()
                with_reserve(self._tell_of_boot)

    def _tell_of_boot(self) -> None:
        """Write down what the kernel did before the daemon; nobody waits for that."""
        fields = self._boot_log() if self._boot_log is not None else {}
        if fields:
            self._writer.write("boot", fields)

    def _dispatch(self) -> None:
        """Start what may run now, write down what has ended."""
        self._start_jobs()
        if self._chores is not None and not self._walker.first:
            chores, self._chores = self._chores, None
            with_reserve(chores)
            self._start_jobs()
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

    def _start_jobs(self) -> None:
        if self._clients is not None and (self._clients.leaving or self._clients.considering):
            return
        for pidfd in self._loader.start_jobs(coldplug=self._walker.first):
            self._poll.register(pidfd, POLLIN)

    def _wait(self) -> None:
        """Write what there is to write, wait for whatever comes first, and hand it over."""
        timeout = self._timeout()
        self._ledger_care.tend(idle=timeout != 0)
        channel = self._ledger.channel_fileno() if timeout != 0 else -1
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
        if self._clients is not None:
            times.append(self._clients.timeout_ms())
        due = [t for t in times if t >= 0]
        return min(due) if due else -1

    def _serve(self, descriptor: int) -> None:
        if descriptor == self._uevents_fileno:
            self._take_uevents()
        elif self._loader.is_job(descriptor):
            self._poll.unregister(descriptor)
            self._loader.finish(descriptor)
        elif self._unloader is not None and self._unloader.is_child(descriptor):
            self._poll.unregister(descriptor)
            self._unloader.finish()
        elif self._clients is not None and self._clients.serve(descriptor):
            return
        elif self._hook is not None and descriptor == self._hook.pidfd:
            self._poll.unregister(descriptor)
            reap(self._hook)
            self._hook = None
        elif descriptor == self._ledger.channel_fileno():
            self._ledger.flush()
        elif self._supervisor is not None and descriptor == self._supervisor.fileno():
            self._supervisor.stopping()
            self._stop = True

    def _start_hook(self) -> None:
        """Run what waits for the first settle."""
        self._hook = self._on_settled(self.status)
        if self._hook is not None:
            self._poll.register(self._hook.pidfd, POLLIN)
