"""Made-up module trees, configurations and fates, driven through resolver, loader and scheduler: no process, no kernel.

A world is made from one number (its seed), so that a failing one is told by it. What a process inserts is taken from
its argument list, as the modprobe of that flavour would understand it.
"""

import itertools
import random
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any
from unittest import mock

from modaliasd.core.device import Phase
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modprobe_d import parse_modprobe_d
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.ledger.write import line
from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.policy.rules import parse_policy
from modaliasd.linux.process import Child, Ended
from modaliasd.service.gate import Gate
from modaliasd.service.loads import jobs
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.tools import Tools
from tests.support.fakekernel import closure, dep_text
from tests.support.fakeworld import FakeSysfs

if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json


@dataclass
class World:
    """What is there: modules and whom each needs, modprobe.d, devices' modaliases, what fails."""

    needs: dict[str, tuple[str, ...]]
    config: str
    aliases: dict[str, list[str]]
    flavour: Flavour
    limit: int
    alone: frozenset[str]
    bad: frozenset[str]
    softdeps: dict[str, tuple[list[str], list[str]]]
    installs: frozenset[str]
    blacklist: frozenset[str]


@dataclass
class Process:
    """A modprobe that runs: the modules that it is going to insert, in its order."""

    argv: list[str]
    modules: list[str]


def make_world(rng: random.Random) -> World:
    """Make a world of a few modules, of which most go together in some way."""
    names = [f"m{number}" for number in range(rng.randint(2, 9))]
    needs = {
        name: tuple(rng.sample(names[:at], min(at, rng.choice((0, 0, 1, 1, 2)))))
        for at, name in enumerate(names)
    }

    def some(most: int) -> list[str]:
        return rng.sample(names, min(len(names), rng.randint(0, most)))

    softdeps: dict[str, tuple[list[str], list[str]]] = {}
    for name in some(5):
        pre, post = some(2), some(2)
        if rng.random() < 0.2:
            pre.append("nothing_like_it")
        softdeps[name] = (pre, post)
    installs, blacklist, options = frozenset(some(1)), frozenset(some(1)), some(3)
    if rng.random() < 0.6:
        installs = frozenset()
    if rng.random() < 0.6:
        blacklist = frozenset()
    lines = [
        f"softdep {n} pre: {' '.join(pre)} post: {' '.join(post)}" for n, (pre, post) in softdeps.items()
    ]
    lines += [f"options {name} debug=1" for name in options]
    lines += [f"install {name} /bin/true" for name in installs]
    lines += [f"blacklist {name}" for name in blacklist]
    if rng.random() < 0.3:
        lines.append(f"alias nick {rng.choice(names)}")
    rng.shuffle(lines)
    aliases = {f"pci:{number}": some(3) for number in range(rng.randint(1, 5))}
    return World(
        needs,
        "\n".join(lines) + "\n",
        aliases,
        rng.choice((Flavour.BUSYBOX, Flavour.KMOD)),
        rng.randint(1, 4),
        frozenset(some(1)) if rng.random() < 0.3 else frozenset(),
        frozenset(some(2)) if rng.random() < 0.4 else frozenset(),
        softdeps,
        installs,
        blacklist,
    )


@dataclass
class Chain:
    """Resolver, loader and scheduler of a world, and the kernel that they work on."""

    world: World
    denied: frozenset[str] = frozenset()  # by a policy
    live: set[str] = field(default_factory=set)
    inserted: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    running: dict[int, Process] = field(default_factory=dict)
    now: int = 0
    _next_pidfd: int = 100

    def __post_init__(self) -> None:
        """Build the daemon's parts on the world."""
        tools = Tools("/sbin/modprobe", "/sbin/insmod", "/bin/sh", self.world.flavour, "/lib/modules/x")
        self.dependencies = Dependencies(dep_text(self.world.needs))
        self.resolver = Resolver(
            parse_modprobe_d([("t.conf", self.world.config)]),
            self.dependencies,
            lambda modalias: [
                (module, modalias, 1, False) for module in self.world.aliases.get(modalias, ())
            ],
        )
        writer = _Writer(self.lines)
        rules = "".join(f'[[rule]]\naction = "deny"\nmodule = "{name}"\n' for name in sorted(self.denied))
        gate = Gate(
            policy=parse_policy(rules, "policy.toml") if rules else None,
            phase=Phase.COLDPLUG,
            resolver=self.resolver,
            follows_softdeps=self.world.flavour is Flavour.KMOD,
            sysfs=FakeSysfs(),
            writer=writer,
            clock=self._tick,
        )
        self.loader = Loader(
            tools=tools,
            sysfs=_Sysfs(self.live),
            writer=writer,
            kernel_log=_KernelLog(),
            gate=gate,
            clock=self._tick,
            live=(),
            limit=self.world.limit,
            alone=self.world.alone,
        )

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def plug(self, modalias: str) -> None:
        """A device with this modalias shows."""
        plan = self.resolver.resolve(modalias)
        self.loader.want(plan, Cause(f"/devices/{modalias}", "pci", modalias), modalias)

    def ask(self, name: str) -> None:
        """Somebody asks for a module by name."""
        self.loader.want(self.resolver.resolve(name), Cause(request="test"), "")

    def remove(self, module: str) -> None:
        """Somebody removes a module that nothing that is in needs."""
        load = self.loader.scheduler.load_of(module)
        used = any(module in closure(self.world.needs, name) for name in self.live)
        if module in self.live and not used and not (load is not None and load.running):
            self.live.discard(module)
            self.inserted = [name for name in self.inserted if name != module]
            self.loader.left(module)

    def start(self) -> None:
        """Start what may run now, each process with what it will insert."""
        with (
            mock.patch.object(jobs, "start", self._spawn),
            mock.patch.object(jobs, "niceness", return_value={}),
        ):
            self.loader.start_jobs()

    def _spawn(self, path: str, arguments: list[str], _environment: object = ()) -> Child:
        argv = [path.rpartition("/")[2], *arguments]
        process = Process(argv, self.insertions(argv))
        for other in self.running.values():
            both = set(process.modules) & set(other.modules)
            if both:
                self.complaints.append(f"{argv} and {other.argv} would both insert {sorted(both)}")
        self._next_pidfd += 1
        self.running[self._next_pidfd] = process
        return Child(self._next_pidfd, self._next_pidfd, -1)

    def insertions(self, argv: list[str]) -> list[str]:
        """What the process inserts, in order, as far as that is not in yet."""
        tool, *words = argv
        if tool == "sh":
            return []
        if tool == "insmod":
            module = words[0].rpartition("/")[2].removesuffix(".ko")
            lacking = [name for name in self.world.needs[module] if name not in self.live]
            spoiled = (self.world.bad | self.world.installs) & set(closure(self.world.needs, module))
            if lacking and not spoiled:
                self.complaints.append(f"{argv} without {lacking}")
            return [module]
        flags = words[: words.index("--")]
        names = words[words.index("--") + 1 :]
        found: list[str] = []
        for name in names if "-a" in flags else names[:1]:
            if "-b" in flags and name in self.world.blacklist:
                continue
            self._modprobe(name, found, set())
        return [name for name in dict.fromkeys(found) if name not in self.live]

    def _modprobe(self, name: str, found: list[str], seen: set[str]) -> None:
        if name in seen or name not in self.world.needs:
            return
        seen.add(name)
        soft = self.world.flavour is Flavour.KMOD
        for need in closure(self.world.needs, name):
            self._one(need, found, seen, soft=soft)
        self._one(name, found, seen, soft=soft)

    def _one(self, name: str, found: list[str], seen: set[str], *, soft: bool) -> None:
        pre, post = self.world.softdeps.get(name, ([], [])) if soft else ([], [])
        for other in pre:
            self._modprobe(other, found, seen)
        if name not in found and not (soft and name in self.world.installs and not pre + post):
            found.append(name)
        for other in post:
            self._modprobe(other, found, seen)

    def end(self, pidfd: int) -> None:
        """A process ends: it has inserted what could be inserted."""
        process = self.running.pop(pidfd)
        status = 0
        for name in process.modules:
            hard = closure(self.world.needs, name)
            if name in self.world.bad or not self.live.issuperset(hard):
                status = 1
            elif name not in self.live:
                self.live.add(name)
                self.inserted.append(name)
        with (
            mock.patch.object(jobs, "reap", return_value=Ended(status, "")),
            mock.patch.object(jobs, "niceness", return_value={}),
        ):
            self.loader.finish(pidfd)

    def results(self) -> dict[str, set[Outcome]]:
        """The outcomes that each module has had."""
        found: dict[str, set[Outcome]] = {}
        for load in self.loader.scheduler.loads():
            if load.result is not None:
                found.setdefault(load.module, set()).add(load.result.outcome)
        return found


def drive(seed: int, *, with_policy: bool = False) -> tuple[Chain, list[str]]:
    """Live through the world of this seed to its end; what is wrong with it, [] if nothing is.

    with_policy: one that denies one to three modules.
    """
    rng = random.Random(seed)
    world = make_world(rng)
    names = sorted(world.needs)
    denied = rng.sample(names, min(len(names), rng.randint(1, 3))) if with_policy else ()
    chain = Chain(world, frozenset(denied))
    todo: list[tuple[str, str]] = [("plug", modalias) for modalias in chain.world.aliases]
    todo += [("plug", rng.choice(sorted(chain.world.aliases))) for _ in range(rng.randint(0, 3))]
    todo += [("ask", rng.choice([*names, "nick"])) for _ in range(rng.randint(0, 2))]
    todo += [("remove", rng.choice(names)) for _ in range(rng.choice((0, 0, 1, 2)))]
    rng.shuffle(todo)
    done: list[tuple[str, str]] = []
    for _ in range(1000):
        chain.start()
        if todo and (not chain.running or rng.random() < 0.5):
            done.append(todo.pop())
            getattr(chain, done[-1][0])(done[-1][1])
        elif chain.running:
            chain.end(rng.choice(sorted(chain.running)))
        elif not chain.loader.scheduler.idle:
            waiting = [load.module for load in chain.loader.scheduler.loads() if load.result is None]
            return chain, [f"nothing runs, and these wait: {waiting}"]
        else:
            break
    else:
        return chain, ["it never comes to rest"]
    return chain, [*chain.complaints, *_findings(chain, done)]


def _findings(chain: Chain, done: list[tuple[str, str]]) -> list[str]:
    """What is wrong at the end."""
    wrong = [text for text in chain.lines if "ring of loads" in text]
    results = chain.results()
    world = chain.world
    removed = {name for what, name in done if what == "remove"}
    for at, name in enumerate(chain.inserted):
        lacking = set(closure(world.needs, name)) - set(chain.inserted[:at]) - removed
        if lacking:
            wrong.append(f"{name} went in before {sorted(lacking)}")
    by_name = any(what == "ask" for what, _word in done)  # which no rule is about
    if not by_name and not chain.denied.isdisjoint(chain.inserted):
        wrong.append(f"the policy denies {sorted(chain.denied)}, and inserted were {chain.inserted}")
    waived = any(load.waived for load in chain.loader.scheduler.loads())
    for what, word in done:
        if what == "remove":
            continue
        plan = chain.resolver.resolve(word)
        denied = {denial.module for denial in plan.denied}
        broken = {one.module for one in plan.broken}
        for match in plan.matches:
            module = match.module
            if module not in results and module not in removed:
                wrong.append(f"{word}: {module} has no result")
            spoiled = world.bad & {module, *closure(world.needs, module)}
            unasked = {module, *closure(world.needs, module)} & (
                world.installs | denied | broken | removed | chain.denied
            )
            if not spoiled and not unasked and module not in chain.live:
                wrong.append(f"{word}: {module} could be in, and is not: {results.get(module)}")
    late = by_name and chain.denied  # what a device may not have as a softdep can come by name afterwards
    if not waived and not removed and not late:
        wrong += _out_of_order(chain)
    return wrong


def _out_of_order(chain: Chain) -> list[str]:
    """Softdeps that went in on the wrong side, in worlds where all orders can be kept.

    With `post` softdeps kmod itself does not always keep them: what is asked for first decides.
    """
    world = chain.world
    if any(post for _pre, post in world.softdeps.values()):
        return []
    order: dict[str, set[str]] = {name: set(needs) for name, needs in world.needs.items()}
    for name, (pre, _post) in world.softdeps.items():
        order[name].update(set(pre) & set(order))
    for rivals in world.aliases.values():
        for first, second in itertools.pairwise(rivals):
            order[second].add(first)
    try:
        TopologicalSorter(order).prepare()
    except CycleError:
        return []
    place = {name: at for at, name in enumerate(chain.inserted)}
    return [
        f"{before} went in behind {name}, which has it as a softdep before it"
        for name, (pre, _post) in world.softdeps.items()
        for before in pre
        if place.get(before, -1) > place.get(name, len(place))
    ]


class _Sysfs:
    def __init__(self, live: set[str]) -> None:
        self._live = live

    def is_live(self, module: str) -> bool:
        return module in self._live

    def deferred(self) -> list[tuple[str, str]]:
        return []


class _Writer:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, kind: str, fields: "dict[str, Json]", t_us: int = -1) -> None:
        self._lines.append(line(kind, max(0, t_us), fields))

    def append(self, text: str) -> None:
        self._lines.append(text)

    def say(self, text: str, priority: int = 6) -> None:
        """Nobody reads the kernel's log."""


class _KernelLog:
    def lines(self) -> list[str]:
        return []

    def take_missing_firmware(self) -> list[tuple[str, str]]:
        return []


def describe(seed: int) -> dict[str, Any]:
    """The world of a seed, for a failed test's message."""
    return vars(make_world(random.Random(seed)))
