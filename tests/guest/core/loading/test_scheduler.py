"""core/loading/scheduler.py with core/loading/demand.py on made-up module trees: no process, no kernel."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.load import MOST_CAUSES, Admission, Needs
from modaliasd.core.loading.outcome import LoadResult, Outcome
from modaliasd.core.loading.scheduler import Scheduler
from tests.support.fakekernel import FakeKernel, closure, dep_text
from tests.support.fuzzing import examples

TREE = dep_text({"base": (), "bus": ("base",), "net": ("bus",), "disk": ("bus",), "lone": ()})


def test_one_process_brings_a_module_with_what_it_needs() -> None:
    """A job inserts the module after its dependencies, and has the module alone as its argument."""
    kernel = FakeKernel(TREE)
    kernel.want("net")
    [job] = kernel.start()
    assert job.targets == ("net",)
    assert job.modules == ("base", "bus", "net")


def test_a_second_request_adds_its_cause_only() -> None:
    """However many devices ask, before, while and after it is loaded, there is one load with all their causes."""
    kernel = FakeKernel(TREE)
    kernel.want("net")
    kernel.want("net")
    kernel.start()
    kernel.want("net")
    kernel.run()
    kernel.want("net")
    kernel.run()
    assert kernel.inserted == ["base", "bus", "net"]
    load = kernel.scheduler.load_of("net")
    assert load is not None
    assert len(load.causes) == 4


def test_a_shared_dependency_is_waited_for() -> None:
    """The second of two modules that need the same one starts when that is in, not when the first has ended."""
    kernel = FakeKernel(TREE)
    kernel.want("net")
    kernel.want("disk")
    assert [job.targets for job in kernel.start()] == [("net",)]
    kernel.scheduler.inserted("base", 1)
    assert kernel.start() == []
    kernel.live |= {"base", "bus"}
    kernel.scheduler.inserted("bus", 2)
    assert [job.modules for job in kernel.start()] == [("disk",)]


def test_a_module_that_is_live_is_not_loaded_again() -> None:
    """A dependency that is in the kernel already is no part of the job."""
    kernel = FakeKernel(TREE)
    kernel.live.add("base")
    kernel.want("net")
    assert kernel.start()[0].modules == ("bus", "net")


def test_the_limit() -> None:
    """No more jobs run at once than the limit says; the next starts when one ends."""
    kernel = FakeKernel("".join(f"kernel/m{n}.ko:\n" for n in range(9)), limit=3)
    for n in range(9):
        kernel.want(f"m{n}")
    assert len(kernel.start()) == 3
    kernel.end(1)
    assert len(kernel.start()) == 1
    assert len(kernel.running) == 3
    kernel.run()
    assert len(kernel.inserted) == 9


def test_ranks_and_sizes_decide_who_goes_first() -> None:
    """Lower ranks go first, the smaller files among equals, with what they have to bring along."""
    dep = dep_text({"big": (), "small": (), "chain": ("big",), "late": ()})
    kernel = FakeKernel(dep, limit=1, sizes={"big": 50, "small": 9, "chain": 1, "late": 1})
    kernel.want("late", rank=5)
    kernel.want("chain", rank=1)
    kernel.want("big", rank=1)
    kernel.want("small", rank=1)
    kernel.run()
    assert [job.targets[0] for job in kernel.jobs] == ["small", "big", "chain", "late"]


def test_a_more_urgent_request_moves_a_waiting_load_up() -> None:
    """A load that waits takes the best rank of all who ask."""
    kernel = FakeKernel(TREE, limit=1)
    kernel.want("lone", rank=2)
    kernel.want("base", rank=5)
    kernel.want("base", rank=1)
    kernel.run()
    assert kernel.inserted == ["base", "lone"]


def test_a_module_that_bears_no_company() -> None:
    """It starts when nothing runs, and nothing starts until it has ended."""
    kernel = FakeKernel("kernel/a.ko:\nkernel/b.ko:\nkernel/c.ko:\n", alone=["b"])
    kernel.want("a", rank=0)
    kernel.want("b", rank=1)
    kernel.want("c", rank=2)
    assert [job.targets for job in kernel.start()] == [("a",)]
    kernel.end()
    assert [job.targets for job in kernel.start()] == [("b",)]
    assert kernel.start() == []
    kernel.end()
    assert [job.targets for job in kernel.start()] == [("c",)]


def test_a_failed_dependency_fails_what_needs_it() -> None:
    """The message names it, also for a module that asks when the dependency has failed long ago."""
    kernel = FakeKernel(TREE, bad=["base"])
    kernel.want("base")
    kernel.run()
    kernel.want("net")
    kernel.run()
    load = kernel.scheduler.load_of("net")
    assert load is not None
    assert load.result is not None
    assert load.result.outcome is Outcome.FAILED
    assert "it needs base, which is failed" in load.result.message
    assert kernel.inserted == []


def test_a_failed_softdep_is_no_obstacle() -> None:
    """A softdep that fails leaves its own result; the module is loaded all the same."""
    kernel = FakeKernel("kernel/m.ko:\nkernel/pre.ko:\n", "softdep m pre: pre\n", bad=["pre"])
    kernel.want("m")
    kernel.run()
    assert kernel.outcome("pre") is Outcome.FAILED
    assert kernel.outcome("m") is Outcome.INSERTED


def test_softdeps_before_and_after() -> None:
    """`pre` modules go before, `post` ones after, and each has the module as its cause."""
    dep = "kernel/m.ko:\nkernel/first.ko:\nkernel/last.ko:\n"
    kernel = FakeKernel(dep, "softdep m pre: first post: last\n")
    kernel.want("m")
    kernel.run()
    assert kernel.inserted == ["first", "m", "last"]
    causes = {load.module: load.causes for load in kernel.scheduler.loads()}
    assert causes["first"] == causes["last"] == [Cause(softdep="m")]


@pytest.mark.parametrize("asked", ["a", "b", "c"])
def test_a_cycle_of_softdeps_ends(asked: str) -> None:
    """Modules that name one another as softdeps are all loaded, once each, whoever is asked for."""
    dep = "kernel/a.ko:\nkernel/b.ko:\nkernel/c.ko:\n"
    kernel = FakeKernel(dep, "softdep a pre: b\nsoftdep b pre: c\nsoftdep c pre: a\n")
    kernel.want(asked)
    kernel.run()
    assert sorted(kernel.inserted) == ["a", "b", "c"]
    assert kernel.scheduler.idle


def test_a_cycle_of_dependencies_is_refused_by_the_plan() -> None:
    """modules.dep with a cycle gives no step: the scheduler is never asked for what cannot be ordered."""
    kernel = FakeKernel("kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n")
    plan = kernel.resolver.resolve("a")
    assert plan.steps == ()
    messages = {one.module: one.message for one in plan.broken}
    assert "dependency cycle a -> b -> a" in messages["a"]


def test_a_missing_dependency_is_refused_by_the_plan() -> None:
    """A module whose dependency has no line in modules.dep gets no step, and the message names it."""
    plan = FakeKernel("kernel/a.ko: kernel/gone.ko\n").resolver.resolve("a")
    assert plan.steps == ()
    messages = {one.module: one.message for one in plan.broken}
    assert messages["a"] == "a cannot be inserted: it needs gone, not in modules.dep"


def test_options_keep_a_module_in_a_process_of_its_own() -> None:
    """A dependency that needs its own process is a job of its own, which what needs it waits for."""
    kernel = FakeKernel(TREE, single=["base"])
    kernel.want("net")
    assert [job.modules for job in kernel.start()] == [("base",)]
    kernel.end()
    assert [job.modules for job in kernel.start()] == [("bus", "net")]
    kernel.run()
    assert kernel.inserted == ["base", "bus", "net"]


def test_a_module_that_left_is_loaded_again() -> None:
    """After its removal the next request loads it anew."""
    kernel = FakeKernel("kernel/m.ko:\n")
    kernel.want("m")
    kernel.run()
    kernel.live.clear()
    kernel.scheduler.forget("m")
    kernel.want("m")
    kernel.run()
    assert kernel.inserted == ["m", "m"]


def test_rivals_for_a_device_go_in_their_order() -> None:
    """The second candidate of a lookup starts when the first has its end, smaller and more urgent as it may be."""
    kernel = FakeKernel(
        "kernel/first.ko:\nkernel/second.ko:\n", sizes={"first": 99, "second": 1}, bad={"first"}
    )
    kernel.want("first", rank=3)
    kernel.want("second", rank=1, behind="first")
    assert [job.targets for job in kernel.start()] == [("first",)]
    kernel.end()
    assert [job.targets for job in kernel.start()] == [("second",)]


def test_a_rival_that_nobody_wants_is_not_waited_for() -> None:
    """Going behind a module does not pull it in."""
    kernel = FakeKernel("kernel/first.ko:\nkernel/second.ko:\n")
    kernel.want("second", behind="first")
    kernel.run()
    assert kernel.inserted == ["second"]


def test_a_dependency_goes_before_an_order() -> None:
    """A module that has to go behind what depends on it does not wait: nobody would ever start."""
    kernel = FakeKernel(TREE)
    kernel.want("bus", behind="net")
    kernel.want("net")
    kernel.run()
    assert kernel.inserted == ["base", "bus", "net"]


def test_outcomes_without_a_job_are_told_once() -> None:
    """A denial is one record, however many devices meet it; their causes come together in it."""
    scheduler = Scheduler(lambda _name: Needs(), lambda _name: 0, 1, set())
    for device in ("one", "two"):
        scheduler.conclude("m", Cause(devpath=device), LoadResult(Outcome.DENIED, "blacklist: f:1"), 1)
    [load] = scheduler.take_told()
    assert [cause.devpath for cause in load.causes] == ["one", "two"]
    assert scheduler.idle


@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[str, tuple[str, ...]], str]:
    """Modules that need earlier ones, and softdeps between any two of them, cycles included."""
    names = [f"m{number}" for number in range(draw(st.integers(1, 9)))]
    needs: dict[str, tuple[str, ...]] = {}
    for at, name in enumerate(names):
        earlier = st.lists(st.sampled_from(names[:at]), unique=True, max_size=3) if at else st.just([])
        needs[name] = tuple(draw(earlier))
    some = st.lists(st.sampled_from(names), max_size=2)
    subjects = draw(st.lists(st.sampled_from(names), unique=True, max_size=4))
    lines = [f"softdep {n} pre: {' '.join(draw(some))} post: {' '.join(draw(some))}\n" for n in subjects]
    return needs, "".join(lines)


@settings(max_examples=examples(100), deadline=None)
@given(trees(), st.data())
def test_any_demand(tree: tuple[dict[str, tuple[str, ...]], str], data: st.DataObject) -> None:
    """For any tree, any modules that fail, any order of requests and of jobs' ends, whichever number runs at once:

    each module is inserted at most once and after all that it needs; whatever can be inserted is; everything ends.
    """
    needs, softdeps = tree
    names = sorted(needs)
    some = st.sets(st.sampled_from(names), max_size=2)
    bad, alone, single = data.draw(some), data.draw(some), data.draw(some)
    kernel = FakeKernel(
        dep_text(needs), softdeps, bad=bad, alone=alone, single=single, limit=data.draw(st.integers(1, 4))
    )
    wanted = data.draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.integers(0, 3), st.sampled_from(["", *names])),
            min_size=1,
            max_size=12,
        )
    )
    while wanted or not kernel.scheduler.idle:
        kernel.start()
        if wanted and (not kernel.running or data.draw(st.booleans())):
            kernel.want(*wanted.pop())
        elif kernel.running:
            kernel.end(data.draw(st.integers(0, len(kernel.running) - 1)), piecemeal=data.draw(st.booleans()))
        else:
            assert kernel.scheduler.idle, "nothing runs, nothing can start, and loads wait"
        assert not (len(kernel.running) > 1 and any(job.modules[-1] in alone for job in kernel.running))
    assert len(kernel.inserted) == len(set(kernel.inserted))
    for at, name in enumerate(kernel.inserted):
        assert set(closure(needs, name)) <= set(kernel.inserted[:at])
    started = [name for job in kernel.jobs for name in job.modules]
    assert len(started) == len(set(started))
    for load in kernel.scheduler.loads():
        assert load.result is not None
        spoiled = bad & {load.module, *closure(needs, load.module)}
        assert (load.result.outcome is Outcome.INSERTED) == (not spoiled)


def test_a_ring_that_closes_late_is_opened_at_a_wish() -> None:
    """One driver has z after it, its rival has z before it, and z wants a process of its own: all three go in.

    z is admitted only when the rival comes to wait for it, and then waits for the driver that stands behind the rival.
    """
    dep = "kernel/b.ko:\nkernel/d.ko:\nkernel/z.ko:\n"
    kernel = FakeKernel(dep, "softdep b post: z\nsoftdep d pre: z\n", single=["z"])
    kernel.want("b")
    kernel.want("d")
    kernel.want("b", behind="d")
    kernel.run()
    assert kernel.scheduler.idle
    assert sorted(kernel.inserted) == ["b", "d", "z"]


def test_a_softdep_of_two_modules_comes_with_either() -> None:
    """A module that two others have after them is loaded when one of these fails, and the other is in."""
    dep = "kernel/m.ko: kernel/n.ko\nkernel/n.ko:\nkernel/z.ko:\nkernel/k.ko:\n"
    kernel = FakeKernel(dep, "softdep k post: z\nsoftdep n post: k z\n", bad=["k"])
    kernel.want("m")
    kernel.run()
    assert kernel.outcome("z") is Outcome.INSERTED


def test_a_load_that_left_is_not_waited_for() -> None:
    """A load that waited, went in with another job and was removed again is no longer woken by whom it waited for."""
    dep = dep_text({"first": (), "second": (), "third": ("second",)})
    kernel = FakeKernel(dep, limit=2)
    kernel.want("first")
    kernel.start()
    kernel.want("second", behind="first")
    assert kernel.start() == []
    kernel.want("third")
    assert [job.modules for job in kernel.start()] == [("second", "third")]
    kernel.end(1)
    for name in ("third", "second"):
        kernel.live.discard(name)
        kernel.scheduler.forget(name)
    kernel.end()
    assert kernel.scheduler.idle


def test_a_ring_that_should_not_be_is_broken() -> None:
    """Should loads wait for one another all the same, they are named and given up, and what waits for them ends too.

    Dependencies have no rings, since no plan has them: these are made by hand.
    """
    needs = {
        "a": Needs(("b",), single=True),
        "b": Needs(("c",), single=True),
        "c": Needs(("a",), single=True),
        "other": Needs(("a",), single=True),
    }
    scheduler = Scheduler(needs.__getitem__, lambda _name: 0, 4, set())
    scheduler.request("other", Cause(request="test"), 0, 1)
    scheduler.request("a", Cause(request="test"), 0, 1)
    assert scheduler.break_ring(2) == [], "what is ready is not stuck"
    assert scheduler.next_job(2) is None
    assert sorted(scheduler.break_ring(3)) == ["a", "b", "c"]
    assert scheduler.next_job(4) is None
    assert scheduler.idle
    messages = {load.module: load.result.message for load in scheduler.loads() if load.result}
    assert "waits for itself" in messages["b"]
    assert messages["other"].startswith("it needs a, which is failed")


def test_causes_are_bounded() -> None:
    """The first causes are kept, the others counted, and once a load's end has been told, no more are kept."""
    kernel = FakeKernel(TREE)
    for _ in range(MOST_CAUSES + 5):
        kernel.want("net")
    kernel.run()
    load = kernel.scheduler.load_of("net")
    assert load is not None
    assert (len(load.causes), load.more_causes) == (MOST_CAUSES, 5)
    base = kernel.scheduler.load_of("base")
    assert base is not None
    assert base in kernel.scheduler.take_told()
    known = len(base.causes)
    kernel.want("base")
    assert (len(base.causes), base.more_causes) == (known, 1)


def test_a_failure_that_is_known_gets_another_cause_only() -> None:
    """What ended in a job, and is then found impossible for somebody else as well, is one load and told once."""
    kernel = FakeKernel(TREE, bad=("lone",))
    kernel.want("lone")
    kernel.run()
    scheduler = kernel.scheduler
    assert [load.module for load in scheduler.take_told()] == ["lone"]
    failed = LoadResult(Outcome.FAILED, "no")
    scheduler.conclude("lone", Cause(request="other"), failed, 9)
    scheduler.conclude("lone", Cause(request="third"), failed, 10)
    load = scheduler.load_of("lone")
    assert load is not None
    assert ([cause.request for cause in load.causes], load.more_causes) == (["test"], 2)
    assert scheduler.take_told() == []
    scheduler.conclude("new", Cause(request="one"), failed, 11)
    scheduler.conclude("new", Cause(request="two"), failed, 12)
    [told] = scheduler.take_told()
    assert (told.queued_us, told.end_us, len(told.causes)) == (11, 11, 2)


def test_what_is_admitted_late_says_why() -> None:
    """A dependency, and a softdep, that want a process of their own are loads because of the module that has them."""
    kernel = FakeKernel(TREE, "softdep net pre: lone\n", single=("base", "lone"))
    kernel.want("net")
    kernel.run()
    causes = {name: kernel.scheduler.load_of(name) for name in ("base", "lone", "net")}
    assert [load and load.causes for load in causes.values()] == [
        [Cause(module="net")],
        [Cause(softdep="net")],
        [Cause(request="test")],
    ]
    assert kernel.inserted.index("lone") < kernel.inserted.index("net")


def test_a_job_says_how_large_it_is_and_how_urgent() -> None:
    """Its cost is that of the module and of what it brings; a dependency that is live costs nothing."""
    sizes = {"base": 10, "bus": 20, "net": 40, "disk": 80}
    kernel = FakeKernel(TREE, sizes=sizes)
    kernel.want("net", rank=3)
    [job] = kernel.start()
    assert (job.cost, job.rank, job.bare) == (70, 3, False)
    kernel.run()
    kernel.want("disk", rank=2)
    [job] = kernel.start()
    assert (job.cost, job.rank) == (80, 2)


def test_a_softdep_gives_way_to_whoever_needs_the_module() -> None:
    """`b` needs `a`, and `a` has `b` as a softdep: whichever is wanted first, `a` goes in and then `b`."""
    for first in ("a", "b"):
        kernel = FakeKernel(dep_text({"a": (), "b": ("a",)}), "softdep a pre: b\n", single=("a", "b"))
        for module in (first, *({"a", "b"} - {first})):
            kernel.want(module)
        kernel.run()
        assert kernel.inserted == ["a", "b"]
        assert kernel.scheduler.idle


def test_a_gate_that_has_a_module_inserted_bare() -> None:
    """What modprobe would bring along stays out: the job says so, has the module alone; who was refused is told."""
    needs = {
        "base": Needs(),
        "nic": Needs(before=("base", "soft"), soft=frozenset({"soft"})),
        "soft": Needs(),
    }
    denied = LoadResult(Outcome.DENIED, "by a rule")
    admission = Admission(None, frozenset({"soft"}), {"soft": denied}, bare=True)
    scheduler = Scheduler(
        needs.__getitem__, lambda _name: 1, 4, set(), lambda load: admission if load.module == "nic" else None
    )
    scheduler.request("nic", Cause(request="test"), 0, 1)
    first = scheduler.next_job(2)
    assert first is not None
    assert (first.modules, first.bare) == (("base",), False)
    assert scheduler.next_job(3) is None
    scheduler.finished({"base": LoadResult(Outcome.INSERTED)}, 4)
    second = scheduler.next_job(5)
    assert second is not None
    assert (second.targets, second.modules, second.bare) == (("nic",), ("nic",), True)
    refused = [load for load in scheduler.take_told() if load.module == "soft"]
    assert [(load.result, load.causes) for load in refused] == [(denied, [Cause(softdep="nic")])]


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_wish_gives_way_where_it_would_close_a_ring(first: str) -> None:
    """The same where no plan has put them in order: `a` goes in without waiting for its softdep, `b` after it."""
    needs = {
        "a": Needs(before=("b",), soft=frozenset({"b"}), single=True),
        "b": Needs(before=("a",), single=True),
    }
    scheduler = Scheduler(needs.__getitem__, lambda _name: 1, 4, set())
    for module in (first, *({"a", "b"} - {first})):
        scheduler.request(module, Cause(request="test"), 0, 1)
    order: list[str] = []
    while job := scheduler.next_job(2):
        order += job.modules
        scheduler.finished(dict.fromkeys(job.modules, LoadResult(Outcome.INSERTED)), 3)
    assert order == ["a", "b"]
    assert scheduler.idle
