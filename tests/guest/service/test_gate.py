"""gate.py and core/policy/admission.py: no module that the policy denies goes in, with whatever it would come along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modaliasd.core.device import Phase
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.policy.rules import Facts
from tests.support.fakekernel import dep_text
from tests.support.fuzzing import examples
from tests.support.gaterig import GateRig
from tests.support.kmodlive import NAMES, LiveTree

if TYPE_CHECKING:
    from modaliasd.core.loading.load import Job

DENY_D = '[[rule]]\naction = "deny"\nmodule = "d"\n'
BOTH = pytest.mark.parametrize("flavour", list(Flavour), ids=lambda flavour: flavour.value)
KINDS = pytest.mark.parametrize("kind", ["pre", "post"])


@BOTH
@KINDS
def test_what_a_softdep_needs_is_denied(flavour: Flavour, kind: str) -> None:
    """m has the softdep s, s needs d, d is denied: m comes in, s and d do not; the ledger names the rule."""
    rig = GateRig(
        "k/m.ko:\nk/s.ko: k/d.ko\nk/d.ko:\n",
        {"pci:m": ["m"]},
        softdep=f"softdep m {kind}: s\n",
        policy=DENY_D,
        flavour=flavour,
    )
    rig.plug("/devices/a", "pci:m")
    rig.settle()
    assert rig.inserted == ["m"]
    denied = [r for r in rig.records() if r["type"] == "load" and r["outcome"] == "denied"]
    assert [r["message"] for r in denied] == ["policy: policy.toml:1"]


@BOTH
@KINDS
def test_a_softdep_that_was_allowed_before_the_freeze(flavour: Flavour, kind: str) -> None:
    """Loaded at coldplug, removed, frozen, plugged again: the rule that holds now decides, not the first plan."""
    policy = (
        '[[rule]]\naction = "allow"\nphase = "frozen"\nmodule = "m"\n'
        '[[rule]]\naction = "deny"\nphase = ["hotplug", "frozen"]\nmodule = "s"\n'
    )
    rig = GateRig(
        "k/m.ko:\nk/s.ko:\n",
        {"pci:m": ["m"]},
        softdep=f"softdep m {kind}: s\n",
        policy=policy,
        flavour=flavour,
    )
    rig.plug("/devices/a", "pci:m")
    rig.settle()
    assert rig.live == {"m", "s"}
    rig.rmmod("m")
    rig.rmmod("s")
    rig.unplug("/devices/a", "pci:m")
    rig.gate.first_settled()
    rig.gate.freeze()
    rig.plug("/devices/b", "pci:m")
    rig.settle()
    assert rig.live == {"m"}


@BOTH
@KINDS
@pytest.mark.parametrize("ports", [("1-3", "1-4"), ("1-4", "1-3")], ids=["allowed-first", "denied-first"])
def test_each_port_has_its_own_answer(flavour: Flavour, kind: str, ports: tuple[str, str]) -> None:
    """A softdep that is denied in one port comes in for a device in the other, whichever was plugged in first."""
    rig = GateRig(
        "k/m.ko:\nk/s.ko:\n",
        {"pci:m": ["m"]},
        softdep=f"softdep m {kind}: s\n",
        policy='[[rule]]\naction = "deny"\nport = "1-4"\nmodule = "s"\n',
        flavour=flavour,
    )
    for port in ports:
        device = f"/devices/{port}/a"
        rig.plug(device, "pci:m")
        rig.settle()
        assert rig.live == ({"m"} if port == "1-4" else {"m", "s"})
        rig.rmmod("m")
        rig.rmmod("s")
        rig.unplug(device, "pci:m")


def test_kmods_modprobe_is_not_asked_where_it_would_bring_more() -> None:
    """kmod's modprobe would insert a softdep by itself: the driver goes in by insmod, with its softdep or without."""
    tree = "k/usb.ko:\nk/uhci.ko: k/usb.ko\nk/ehci.ko: k/usb.ko\n"
    deny = '[[rule]]\naction = "deny"\nmodule = "ehci"\n'
    for policy, programs in (
        (deny, ["modprobe -b -a -- usb", "insmod /nowhere/k/uhci.ko"]),
        ("", ["modprobe -b -a -- usb", "modprobe -b -a -- ehci", "insmod /nowhere/k/uhci.ko"]),
    ):
        rig = GateRig(
            tree,
            {"pci:u": ["uhci"]},
            softdep="softdep uhci pre: ehci\n",
            policy=policy,
            flavour=Flavour.KMOD,
        )
        rig.plug("/devices/a", "pci:u")
        rig.settle()
        assert rig.programs == programs


def test_a_freeze_stops_what_has_not_begun() -> None:
    """Queued before, not started yet: after the freeze it is denied, and so is what was to go in behind it."""
    rig = GateRig("k/a.ko:\nk/b.ko:\n", {"pci:a": ["a"], "pci:b": ["b"]}, limit=1)
    rig.plug("/devices/a", "pci:a")
    rig.plug("/devices/b", "pci:b")
    rig.start()
    rig.gate.freeze()
    rig.settle()
    assert rig.live == {"a"}
    assert rig.outcomes() == {"a": ["inserted"], "b": ["denied"]}


@BOTH
def test_what_a_driver_needs_is_asked_about_again(flavour: Flavour) -> None:
    """Allowed when the device showed, denied by the time of its job: neither the dependency nor the driver goes in."""
    rig = GateRig(
        "k/m.ko: k/d.ko\nk/d.ko:\n",
        {"pci:m": ["m"]},
        policy='[[rule]]\naction = "deny"\nphase = "hotplug"\nmodule = "d"\n',
        flavour=flavour,
    )
    rig.plug("/devices/a", "pci:m")
    rig.gate.first_settled()
    rig.settle()
    assert rig.inserted == []
    assert rig.outcomes() == {"m": ["denied"]}


def test_root_may_load_what_it_names() -> None:
    """`modaliasd load` and modaliasd.load= are no device's doing: no rule is about them, frozen or not."""
    rig = GateRig("k/m.ko: k/d.ko\nk/d.ko:\n", {}, policy=DENY_D, phase=Phase.FROZEN)
    rig.registry.want_by_name("m", "modaliasd load")
    rig.settle()
    assert rig.live == {"m", "d"}


@pytest.mark.parametrize(("flavour", "allowed"), [(Flavour.KMOD, False), (Flavour.BUSYBOX, True)])
def test_the_kernels_request_brings_nothing_denied_along(flavour: Flavour, allowed: bool) -> None:
    """Where modprobe follows softdeps, the kernel is refused a module that has a denied one; else it may have it."""
    rig = GateRig("k/m.ko:\nk/d.ko:\n", {}, softdep="softdep m post: d\n", policy=DENY_D, flavour=flavour)
    assert rig.registry.may_load("m") is allowed


MODULES = [f"m{number}" for number in range(6)]
GRAPHS = st.fixed_dictionaries(
    {
        name: st.lists(st.sampled_from(MODULES[at + 1 :] or MODULES[:1]), max_size=2)
        for at, name in enumerate(MODULES)
    }
)
SOFTDEPS = st.lists(
    st.tuples(st.sampled_from(MODULES), st.sampled_from(["pre", "post"]), st.sampled_from(MODULES)),
    max_size=5,
)
RULES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "deny"]),
        st.sampled_from(['phase = "frozen"', 'phase = ["coldplug", "hotplug"]', 'port = "1-1"', "", ""]),
        st.sampled_from([*MODULES, ""]),
    ),
    max_size=4,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("plug"), st.sampled_from(["1-1", "1-2"]), st.sampled_from(MODULES)),
        st.tuples(st.just("rmmod"), st.just(""), st.sampled_from(MODULES)),
        st.tuples(
            st.sampled_from(["start", "end", "settle", "freeze", "hotplug", "stuck"]),
            st.just(""),
            st.just(""),
        ),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=examples(300), deadline=None)
@given(GRAPHS, SOFTDEPS, RULES, STEPS, st.sampled_from(list(Flavour)), st.sampled_from(MODULES[:3]))
@pytest.mark.slow
def test_nothing_denied_is_handed_over(
    graph: dict[str, list[str]],
    softdeps: list[tuple[str, str, str]],
    rules: list[tuple[str, str, str]],
    steps: list[tuple[str, str, str]],
    flavour: Flavour,
    optioned: str,
) -> None:
    """Random trees, policies, phases and both modprobes: no process inserts what no device present may bring in."""
    needs = {name: tuple(n for n in direct if n > name) for name, direct in graph.items()}
    policy = ""
    for action, condition, module in rules:
        named = f'module = "{module}"\n' if module else ""
        policy += f'[[rule]]\naction = "{action}"\n{condition}\n{named}'
    rig = GateRig(
        dep_text(needs),
        {f"pci:{name}": [name] for name in MODULES},
        softdep="".join(f"softdep {name} {kind}: {other}\n" for name, kind, other in softdeps),
        policy=policy or 'coldplug = "allow"\n',
        conf=f"options {optioned} x=1\n",
        flavour=flavour,
    )
    assert_nothing_denied_goes_in(rig, steps)


def assert_nothing_denied_goes_in(rig: GateRig, steps: list[tuple[str, str, str]]) -> None:
    """Carry the steps out; no process inserts what no device that was plugged in may bring in now."""
    plugged: set[tuple[str, str]] = set()  # (port, module that the device asks for)
    early: set[tuple[str, str]] = set()  # those that were there when the coldplug ended with loads to come
    policy_now = rig.gate._policy
    assert policy_now is not None

    def may(port: str, asked: str, module: str) -> bool:
        """May the module go in for a device in that port that asks for `asked`?"""
        phase = rig.gate.phase
        phases = {phase, Phase.COLDPLUG} if phase is Phase.HOTPLUG and (port, asked) in early else {phase}
        return any(may_in(one, port, asked, module) for one in phases)

    def may_in(phase: Phase, port: str, asked: str, module: str) -> bool:
        facts = Facts(phase, "pci", f"pci:{asked}", f"/devices/{port}/x")
        if not policy_now.judge(facts, asked).allow:
            return False
        brought = module in rig.resolver.brings(asked, softdeps=True)
        return module == asked or (brought and policy_now.judge_brought(facts, module).allow)

    def check(modules: list[str]) -> None:
        """Is there a device for each module of the process that may bring it in?"""
        for module in modules:
            assert any(may(port, asked, module) for port, asked in plugged), f"{module} of {modules}"

    rig.on_job = check
    for what, port, module in steps:
        if what == "plug":
            plugged.add((port, module))
        elif what == "stuck" and rig.gate.phase is Phase.COLDPLUG:
            early = set(plugged)
        elif what == "hotplug":
            early = set()
        rig.step(what, port, module)
    rig.settle()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    return LiveTree(tmp_path_factory.mktemp("tree"))


CONF = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(["pre", "post"]), st.sampled_from([*NAMES, "crypto-kt"])
    ),
    max_size=4,
)


@settings(max_examples=examples(40), deadline=None)
@given(softdeps=CONF, module=st.sampled_from(NAMES))
def test_kmod_inserts_nothing_that_the_gate_was_not_asked_about(
    tree: LiveTree, softdeps: list[tuple[str, str, str]], module: str
) -> None:
    """What kmod's own modprobe would insert for a module is the module and what Resolver.brings says, or less."""
    conf = "".join(f"softdep {name} {kind}: {other}\n" for name, kind, other in softdeps)
    answer = tree.modprobe(conf, "-n", "-v", "-a", "--", module)
    inserted = {
        Path(line.split()[1]).stem.replace("-", "_") for line in answer.out if line.startswith("insmod")
    }
    assert module in inserted
    assert inserted <= {module, *tree.resolver(conf).brings(module, softdeps=True)}


class KmodRig(GateRig):
    """A rig whose modprobe is kmod's own, on a real tree, which says what it would insert."""

    def __init__(self, tree: LiveTree, conf: str, policy: str) -> None:
        self._tree = tree
        self._conf = conf
        aliases = {f"pci:{name}": [name] for name in NAMES} | {"crypto-kt": ["kt_crypt"]}
        table = {name: (tree.folder / f"modules.{name}").read_text() for name in ("dep", "softdep")}
        super().__init__(
            table["dep"],
            aliases,
            softdep=table["softdep"],
            policy=policy,
            conf=conf,
            flavour=Flavour.KMOD,
        )

    def _inserts(self, program: str, arguments: list[str], job: Job) -> list[str]:
        if program != "modprobe":
            return super()._inserts(program, arguments, job)
        answer = self._tree.modprobe(self._conf, "-n", "-v", *arguments)
        names = [Path(line.split()[1]).stem.replace("-", "_") for line in answer.out if "insmod" in line]
        return [name for name in dict.fromkeys(names) if name not in self.live]


KMOD_RULES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "deny", "deny"]),
        st.sampled_from(['phase = "frozen"', 'phase = ["coldplug", "hotplug"]', 'port = "1-1"', ""]),
        st.sampled_from([*NAMES, ""]),
    ),
    min_size=1,
    max_size=4,
)
KMOD_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("plug"), st.sampled_from(["1-1", "1-2"]), st.sampled_from(NAMES)),
        st.tuples(st.just("rmmod"), st.just(""), st.sampled_from(NAMES)),
        st.tuples(
            st.sampled_from(["start", "settle", "freeze", "hotplug", "stuck"]), st.just(""), st.just("")
        ),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=examples(60), deadline=None)
@given(softdeps=CONF, rules=KMOD_RULES, steps=KMOD_STEPS, optioned=st.sampled_from(NAMES))
def test_kmods_modprobe_is_handed_nothing_by_which_a_denied_module_goes_in(
    tree: LiveTree,
    softdeps: list[tuple[str, str, str]],
    rules: list[tuple[str, str, str]],
    steps: list[tuple[str, str, str]],
    optioned: str,
) -> None:
    """As above; kmod's own modprobe says what it would insert for the very arguments that it would be given."""
    conf = f"options {optioned} x=1\n"
    conf += "".join(f"softdep {name} {kind}: {other}\n" for name, kind, other in softdeps)
    policy = ""
    for action, condition, module in rules:
        named = f'module = "{module}"\n' if module else ""
        policy += f'[[rule]]\naction = "{action}"\n{condition}\n{named}'
    rig = KmodRig(tree, conf, policy)
    assert_nothing_denied_goes_in(rig, steps)


def test_a_refusal_is_told_once_a_load() -> None:
    """However often a load is asked about while it waits, what it goes without has one cause of it in the ledger."""
    rig = GateRig(
        "k/m.ko: k/x.ko\nk/x.ko:\nk/d.ko:\n",
        {"pci:m": ["m"]},
        softdep="softdep m pre: d\n",
        policy=DENY_D,
        conf="options x y=1\n",
    )
    rig.plug("/devices/a", "pci:m")
    rig.settle()
    assert rig.inserted == ["x", "m"]
    [denied] = [record for record in rig.records() if record.get("outcome") == "denied"]
    assert denied["causes"] == [{"softdep": "m"}]


def test_an_order_brings_nothing_in() -> None:
    """m has the softdep p behind it; both are wanted, then frozen, and only p is allowed: only p comes in."""
    rig = GateRig(
        "k/m.ko:\nk/p.ko:\n",
        {"pci:m": ["m"], "pci:p": ["p"]},
        softdep="softdep m post: p\n",
        policy='[[rule]]\naction = "allow"\nphase = "frozen"\nmodule = "p"\n',
        flavour=Flavour.KMOD,
    )
    rig.plug("/devices/a", "pci:m")
    rig.plug("/devices/b", "pci:p")
    rig.gate.freeze()
    rig.settle()
    assert rig.live == {"p"}


def test_what_was_there_at_the_boot_is_judged_so_even_late() -> None:
    """n waits behind a hung load when the coldplug ends; hotplug rules are not about it, but about one plugged then."""
    rig = GateRig(
        "k/m.ko:\nk/n.ko:\nk/o.ko:\n",
        {"pci:m": ["m"], "pci:n": ["n"], "pci:o": ["o"]},
        policy='[[rule]]\naction = "deny"\nphase = "hotplug"\nmodule = ["n", "o"]\n',
        limit=1,
    )
    rig.plug("/devices/a", "pci:m")
    rig.plug("/devices/b", "pci:n")
    rig.start()
    rig.gate.end_coldplug(["m"], rig.loader.causes())
    assert rig.gate.phase is Phase.HOTPLUG
    rig.plug("/devices/c", "pci:o")
    rig.settle()
    assert rig.live == {"m", "n"}
    rig.rmmod("n")
    rig.unplug("/devices/b", "pci:n")
    rig.plug("/devices/b", "pci:n")
    rig.settle()
    assert rig.live == {"m"}, "the same device, plugged in anew"
    [warning] = [record for record in rig.records() if record["type"] == "warning"]
    assert (warning["what"], "m;" in warning["message"]) == ("coldplug", True)


def test_a_freeze_is_about_what_was_there_at_the_boot_as_well() -> None:
    """What waited behind a hung load when the coldplug ended does not come in once the machine is frozen."""
    rig = GateRig("k/m.ko:\nk/n.ko:\n", {"pci:m": ["m"], "pci:n": ["n"]}, policy='frozen = "deny"\n', limit=1)
    rig.plug("/devices/a", "pci:m")
    rig.plug("/devices/b", "pci:n")
    rig.start()
    rig.gate.end_coldplug(["m"], rig.loader.causes())
    rig.gate.freeze()
    rig.settle()
    assert rig.live == {"m"}
