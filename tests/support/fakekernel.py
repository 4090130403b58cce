"""A kernel that inserts modules, as far as the scheduler can tell: jobs in, verdicts out, no process."""

from collections.abc import Iterable

from modaliasd.core.kmod.modprobe_d import EMPTY
from modaliasd.core.kmod.modules_dep import Dependencies, parse_softdeps
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.loading.demand import needs_of_plan
from modaliasd.core.loading.outcome import Outcome, Verdict
from modaliasd.core.loading.scheduler import Cause, Job, Needs, Scheduler


class FakeKernel:
    """Modules as modules.dep and modules.softdep tell of them; `bad` ones can't be inserted.

    `inserted`: every insertion in order. `jobs`: every job that was started.
    """

    def __init__(
        self,
        dep: str,
        softdep: str = "",
        *,
        bad: Iterable[str] = (),
        alone: Iterable[str] = (),
        single: Iterable[str] = (),
        limit: int = 4,
        sizes: dict[str, int] | None = None,
    ) -> None:
        self.resolver = Resolver(EMPTY, Dependencies(dep), lambda _modalias: [], parse_softdeps(softdep))
        self.bad = set(bad)
        self.live: set[str] = set()
        self.inserted: list[str] = []
        self.jobs: list[Job] = []
        self.running: list[Job] = []
        self.now = 0
        self.needs: dict[str, Needs] = {}
        self._alone = set(alone)
        self._single = set(single)
        sizes = sizes or {}
        self.scheduler = Scheduler(self.needs.__getitem__, lambda name: sizes.get(name, 1), limit, self.live)

    def want(self, module: str, rank: int = 0, behind: str = "") -> None:
        """Somebody asks for the module, and has it go behind another."""
        plan = self.resolver.resolve(module)
        needs = needs_of_plan(plan, lambda step: step.module in self._single, self._alone)
        for name, one in needs.items():
            self.needs.setdefault(name, one)
        if module in needs:
            self.scheduler.request(module, Cause(request="test"), rank, self._tick(), behind)

    def start(self) -> list[Job]:
        """Start whatever may run now."""
        started = []
        while job := self.scheduler.next_job(self._tick()):
            started.append(job)
        self.jobs += started
        self.running += started
        return started

    def end(self, which: int = 0, *, piecemeal: bool = False) -> Job:
        """The running job of that number ends: modprobe has taken its modules in order.

        piecemeal: the scheduler is told of each module when the next one begins, as uevents do.
        """
        job = self.running.pop(which)
        verdicts: dict[str, Verdict] = {}
        for name in job.modules:
            hard = [n for n in self.needs[name].before if n not in self.needs[name].soft]
            missing = [n for n in hard if n not in self.live]
            if name in self.bad or missing:
                verdicts[name] = Verdict(Outcome.FAILED, f"bad, lacking {missing}")
                continue
            self.live.add(name)
            self.inserted.append(name)
            if piecemeal and name != job.modules[-1]:
                self.scheduler.inserted(name, self._tick())
            else:
                verdicts[name] = Verdict(Outcome.INSERTED)
        self.scheduler.finished(verdicts, self._tick())
        return job

    def run(self) -> None:
        """Go on until nothing is left to do."""
        while self.start() or self.running:
            self.end()

    def outcome(self, module: str) -> Outcome | None:
        """What became of the module; None if nobody asked for it."""
        load = self.scheduler.load_of(module)
        return load.verdict.outcome if load and load.verdict else None

    def _tick(self) -> int:
        self.now += 1
        return self.now


def dep_text(needs: dict[str, tuple[str, ...]]) -> str:
    """modules.dep of these modules: whom each needs, directly or not, what is inserted first at the end."""
    lines = []
    for name, direct in needs.items():
        order: list[str] = []
        for need in direct:
            order += [n for n in (*closure(needs, need), need) if n not in order]
        lines.append(f"kernel/{name}.ko:{''.join(f' kernel/{n}.ko' for n in reversed(order))}\n")
    return "".join(lines)


def closure(needs: dict[str, tuple[str, ...]], name: str) -> list[str]:
    """Whatever `name` needs, in the order of insertion."""
    order: list[str] = []
    for need in needs.get(name, ()):
        order += [n for n in (*closure(needs, need), need) if n not in order]
    return order
