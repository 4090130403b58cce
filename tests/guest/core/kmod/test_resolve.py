"""core/kmod/resolve.py beyond kmod's tests: who denied what by which line, reasons, order, what is broken."""

import pytest

from modaliasd.core.kmod.modprobe_d import EMPTY, Configuration, join, parse_command_line, parse_modprobe_d
from modaliasd.core.kmod.modules_dep import Dependencies, Softdep, parse_softdeps
from modaliasd.core.kmod.plan import Broken, Denial, Denied, Match, Plan, Stage, Step, Why
from modaliasd.core.kmod.resolve import REMEMBERED, Resolver

DEP = """\
kernel/a.ko: kernel/b-x.ko kernel/c.ko
kernel/b-x.ko: kernel/c.ko
kernel/c.ko:
kernel/d.ko:
kernel/e.ko:
kernel/gone.ko: kernel/nowhere.ko
kernel/ring.ko: kernel/ding.ko
kernel/ding.ko: kernel/ring.ko
kernel/on-ring.ko: kernel/ring.ko kernel/ding.ko
"""
ALIASES = {
    "pci:a": [("a", "pci:*", 7, False), ("d", "pci:a", 9, False), ("d", "pci:[a]", 10, False)],
    "mix:": [("d", "mix:*", 3, False), ("kernel_part", "mix:", 0, True)],
    "in:": [("kernel_part", "in:*", 0, True)],
}


def resolver(conf: str = "", cmdline: str = "", softdeps: tuple[Softdep, ...] = ()) -> Resolver:
    both: Configuration = join(
        parse_modprobe_d([("/etc/modprobe.d/t.conf", conf)]), parse_command_line(cmdline)
    )
    dependencies = Dependencies(DEP, frozenset({"kernel_part", "c_part"}))
    return Resolver(both, dependencies, lambda modalias: ALIASES.get(modalias, []), softdeps)


def names(plan: Plan) -> list[str]:
    return [step.module for step in plan.steps]


def test_a_plan_says_why_and_after_what() -> None:
    """Each step names its path, its reason and what must come before; a module found twice is there once."""
    plan = resolver().resolve("pci:a")
    assert plan == Plan(
        "pci:a",
        Stage.ALIAS,
        (Match("a", "pci:*", "modules.alias", 7, "pci:a"), Match("d", "pci:a", "modules.alias", 9, "pci:a")),
        (
            Step("c", "kernel/c.ko", why=Why.DEPENDENCY, of="a"),
            Step("b_x", "kernel/b-x.ko", why=Why.DEPENDENCY, of="a", needs=("c",)),
            Step("a", "kernel/a.ko", needs=("c", "b_x")),
            Step("d", "kernel/d.ko"),
        ),
    )


def test_unknown() -> None:
    """What nothing knows gives an empty plan of stage NONE, and so does an unbalanced bracket."""
    assert resolver().resolve("pci:zz") == Plan("pci:zz", Stage.NONE)
    assert resolver().resolve("a]") == Plan("a]", Stage.NONE)


def test_several_lookups_at_once() -> None:
    """Lines are lookups of their own: the plan has all that they come to, each module once."""
    plan = resolver("blacklist d\n").resolve("in:\nzz\npci:a\nmix:")
    assert plan.stage is Stage.ALIAS
    assert [match.module for match in plan.matches] == ["kernel_part", "a", "d"]
    assert names(plan) == ["c", "b_x", "a"]
    assert [denial.module for denial in plan.denied] == ["d"]
    both = resolver("blacklist d\nblacklist a\n").resolve("pci:a\nmix:")
    assert [denial.module for denial in both.denied] == ["a", "d"]
    assert resolver().resolve("zz\nin:").stage is Stage.BUILTIN_ALIAS
    assert resolver().resolve("zz\ny") == Plan("zz\ny", Stage.NONE)


def test_builtin() -> None:
    """A loadable match hides the built-in ones; where only those match, they are the outcome and no step."""
    assert names(resolver().resolve("mix:")) == ["d"]
    assert resolver().resolve("mix:").builtin == ()
    assert resolver().resolve("in:").builtin == ("kernel_part",)
    by_name = resolver().resolve("kernel-part")
    assert (by_name.stage, by_name.builtin, by_name.steps) == (Stage.BUILTIN, ("kernel_part",), ())


def test_blacklist_names_its_line() -> None:
    """A denied match is named with the file and line that denied it, and the other matches stay."""
    plan = resolver("\nblacklist a\n").resolve("pci:a")
    assert plan.denied == (Denial("a", Denied.BLACKLIST, "/etc/modprobe.d/t.conf", 2),)
    assert names(plan) == ["d"]


def test_blacklist_on_the_command_line_names_it() -> None:
    """So is one denied by modprobe.blacklist=, dashes or not."""
    plan = resolver("", "modprobe.blacklist=b-x").resolve("b_x")
    assert plan.denied == (Denial("b_x", Denied.BLACKLIST, "kernel command line", 0),)
    assert plan.steps == ()


def test_a_name_asked_for_as_modprobe_does() -> None:
    """Without `-b` a blacklist does not count for a name."""
    assert names(resolver("blacklist d\n").resolve("d", use_blacklist=False)) == ["d"]


def test_alias_to_off() -> None:
    """`alias X off` is a denial by that line."""
    plan = resolver("alias pci:* off\n").resolve("pci:a")
    assert plan.denied == (Denial("off", Denied.ALIAS_OFF, "/etc/modprobe.d/t.conf", 1),)
    assert (plan.steps, plan.broken) == ((), ())


def test_kernel_blacklist() -> None:
    """What the kernel refuses takes down what needs it, and nothing else."""
    plan = resolver("", "module_blacklist=c").resolve("pci:a")
    where = "kernel command line"
    assert plan.denied == (
        Denial("c", Denied.KERNEL, where, 0),
        Denial("b_x", Denied.NEEDS_DENIED, where, 0),
        Denial("a", Denied.NEEDS_DENIED, where, 0),
    )
    assert names(plan) == ["d"]


def test_kernel_blacklist_of_a_softdep() -> None:
    """A softdep that the kernel refuses does not hinder the module."""
    plan = resolver("softdep d pre: e\n", "module_blacklist=e").resolve("d")
    assert names(plan) == ["d"]


def test_softdeps_of_all_lines() -> None:
    """All softdep lines of a module count, modprobe.d's first, each name once."""
    conf = "softdep d pre: c\nsoftdep d pre: e c post: b-x\n"
    plan = resolver(conf, softdeps=(Softdep("d", (), ("a",), "modules.softdep", 2),)).resolve("d")
    assert names(plan) == ["c", "e", "d", "b_x", "a"]
    steps = {step.module: step for step in plan.steps}
    assert steps["e"] == Step("e", "kernel/e.ko", why=Why.SOFTDEP, of="d", required=False)
    assert steps["d"].prefers == ("c", "e")
    assert steps["d"].required
    assert steps["a"].prefers == ("d",)
    assert not steps["b_x"].required


def test_required_wins() -> None:
    """A module that is a softdep of one and needed by another is required."""
    plan = resolver("softdep b_x pre: d\nsoftdep c pre: d\n").resolve("pci:a")
    steps = {step.module: step for step in plan.steps}
    assert steps["d"].required
    assert steps["d"].why is Why.MATCH


def test_a_match_stays_a_match() -> None:
    """A match that another match's softdep inserts first, by the same lookup, is still there as a match."""
    plan = resolver("alias x d\nalias x e\nsoftdep d pre: x\n").resolve("x")
    assert [(step.module, step.why, step.of) for step in plan.steps] == [
        ("e", Why.MATCH, ""),
        ("d", Why.MATCH, ""),
    ]


def test_order_holds_under_softdep_cycles() -> None:
    """Whatever cycle softdeps make, every step's needs and prefers stand before it."""
    plan = resolver("softdep c pre: a post: d\nsoftdep d pre: a\nsoftdep a post: d e\n").resolve("pci:a")
    done: set[str] = set()
    for step in plan.steps:
        assert {*step.needs, *step.prefers} <= done
        done.add(step.module)
    assert done == {"a", "b_x", "c", "d", "e"}


def test_missing_dependency() -> None:
    """A module whose dependency has no file gets no step but a reason that names it."""
    plan = resolver().resolve("gone")
    assert plan.steps == ()
    (broken,) = (entry for entry in plan.broken if entry.module == "gone")
    assert broken == Broken("gone", missing=("nowhere",))
    assert broken.message == "gone cannot be inserted: it needs nowhere, not in modules.dep"


def test_alias_to_nothing() -> None:
    """A modprobe.d alias to an unknown module is broken, by name."""
    (broken,) = resolver("alias pci:* nothing\n").resolve("pci:a").broken
    assert broken.message == "nothing cannot be inserted: there is no such module in modules.dep"


def test_dependency_cycle() -> None:
    """Modules around a cycle, and those that lead to it, have no step; the cycle is named."""
    plan = resolver().resolve("on-ring")
    assert plan.steps == ()
    messages = [entry.message for entry in plan.broken]
    assert "ring cannot be inserted: dependency cycle ring -> ding -> ring" in messages
    assert {entry.module for entry in plan.broken} == {"ring", "ding", "on_ring"}


@pytest.mark.parametrize(
    ("conf", "field"),
    [("blacklist c\n", "blacklisted"), ("alias c d\n", "shadowed"), ("install c true\n", "beside_command")],
)
def test_what_modprobe_would_do_otherwise(conf: str, field: str) -> None:
    """Steps are marked where a modprobe that is given the bare name would not do what the plan says."""
    marked = [step.module for step in resolver(conf).resolve("pci:a").steps if getattr(step, field)]
    assert marked == (["b_x", "a", "d"] if field == "beside_command" else ["c"])


@pytest.mark.parametrize("kind", ["pre", "post"])
def test_a_ring_of_two_thousand_softdeps(kind: str) -> None:
    """However long a chain of softdeps is, and though it bites its tail, each module is in the plan once."""
    count = 2000
    dep = "".join(f"kernel/m{n}.ko:\n" for n in range(count))
    softdeps = "".join(f"softdep m{n} {kind}: m{(n + 1) % count}\n" for n in range(count))
    resolver = Resolver(EMPTY, Dependencies(dep), lambda _modalias: [], parse_softdeps(softdeps)[0])
    assert len(resolver.resolve("m0").steps) == count


def test_a_ring_of_two_thousand_dependencies() -> None:
    """A cycle in modules.dep is told as one, however long it is."""
    count = 2000
    dep = "".join(f"kernel/m{n}.ko: kernel/m{(n + 1) % count}.ko\n" for n in range(count))
    resolver = Resolver(EMPTY, Dependencies(dep), lambda _modalias: [])
    broken = {one.module: one for one in resolver.resolve("m0").broken}
    assert len(broken["m0"].cycle) == count + 1


def test_a_name_that_modules_dep_has_is_found_there() -> None:
    """The match names the file, with no line, and is no alias; it goes before an alias of the same text."""
    assert resolver().find("b-x") == (Stage.NAME, (Match("b_x", file="modules.dep"),))
    assert resolver().find("d")[1][0].place == ""
    assert Match("a", "pci:*", "modules.alias", 7).place == "line 7 of modules.alias"
    assert Match("a", "pci:*", "/etc/x.conf", 7).place == "line 7 of /etc/x.conf"


def test_what_matches_a_built_in_module_names_its_alias() -> None:
    """With the modalias, as for a loadable one; and it is no step, though modules.builtin does not list it."""
    assert resolver().find("in:") == (
        Stage.BUILTIN_ALIAS,
        (Match("kernel_part", "in:*", "modules.builtin.modinfo", 0, "in:", builtin=True),),
    )
    both = Resolver(EMPTY, Dependencies(DEP), lambda _modalias: [("unlisted", "odd:*", 0, True)])
    plan = both.resolve("odd:")
    assert (plan.builtin, plan.steps, plan.broken) == (("unlisted",), (), ())


def counting(dep: str = DEP) -> tuple[Resolver, list[str]]:
    """A resolver, and what its index was asked."""
    asked: list[str] = []

    def lookup(modalias: str) -> list[tuple[str, str, int, bool]]:
        asked.append(modalias)
        return [("d", "*", 1, False)] if modalias != "zz" else []

    return Resolver(EMPTY, Dependencies(dep), lookup), asked


def test_an_answer_is_looked_up_once_and_nothing_is_not_remembered() -> None:
    """Devices of a kind cost one lookup; by a blacklist or without are two answers; a package may bring a module."""
    cached, asked = counting()
    assert cached.resolve("x") is cached.resolve("x")
    cached.resolve("x", use_blacklist=False)
    assert asked == ["x", "x"]
    cached.resolve("zz")
    cached.resolve("zz")
    assert asked[2:] == ["zz", "zz"]


def test_no_more_answers_are_kept_than_a_machine_has_use_for() -> None:
    """At the limit all are forgotten, not one before it."""
    cached, asked = counting()
    for number in range(REMEMBERED):
        cached.resolve(f"x{number}")
    cached.resolve("x0")
    assert len(asked) == REMEMBERED
    cached.resolve("one more")
    cached.resolve("x0")
    assert len(asked) == REMEMBERED + 2


def test_a_module_called_off() -> None:
    """Where modules.dep has one, an alias to it is an alias as any other."""
    conf = parse_modprobe_d([("/etc/modprobe.d/t.conf", "alias x off\n")])
    there = Resolver(conf, Dependencies("kernel/off.ko:\n"), lambda _modalias: [])
    assert names(there.resolve("x")) == ["off"]
    assert there.resolve("x").denied == ()
    assert there.resolve("off").denied == ()


def test_commands_are_those_of_the_first_line_that_matches() -> None:
    """install and remove lines have patterns; "" where none is for the module."""
    both = resolver("install d one\ninstall [de] two\nremove e three\nremove * four\n")
    assert [both.install_command(name) for name in "dea"] == ["one", "two", ""]
    assert [both.remove_command(name) for name in "dea"] == ["four", "three", "four"]
    assert resolver().remove_command("d") == ""


def test_options_that_modprobe_finds_by_itself_and_all_of_them() -> None:
    """Those of an alias are not among those that the bare name has."""
    [step] = resolver("options d a=1\noptions x b=2\nalias x d\noptions d c=3\n").resolve("x").steps
    assert (step.options, step.plain_options) == ("a=1 b=2 c=3", "a=1 c=3")
    [step] = resolver("options d a=1\n").resolve("d").steps
    assert (step.options, step.plain_options) == ("a=1", "a=1")


def test_several_lookups_keep_what_is_broken() -> None:
    """The first that names a module says what is wrong with it."""
    plan = resolver().resolve("gone\nring\ngone")
    assert plan.broken == (*resolver().resolve("gone").broken, *resolver().resolve("ring").broken)


def test_what_a_module_brings() -> None:
    """Its dependencies, with softdeps of all of these where modprobe follows them; neither itself nor built-in ones."""
    both = resolver("softdep c pre: d kernel-part\nsoftdep d post: e a\n")
    assert both.brings("a") == {"b_x", "c"}
    assert both.brings("a", softdeps=True) == {"b_x", "c", "d", "e"}
    assert both.brings("nobody") == frozenset()
