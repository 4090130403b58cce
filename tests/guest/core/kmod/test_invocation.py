"""core/kmod/invocation.py: the same configuration has the same effect under kmod's and busybox's modprobe."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.kmod.invocation import Flavour, Invocation, Tool, invocation, option_words, removal
from modaliasd.core.kmod.plan import Step
from modaliasd.linux.config import read_config
from tests.support.kmodlive import LiveTree, machine_release

ETC, RUN, LIB, CMDLINE = (
    "etc/modprobe.d/t.conf",
    "run/modprobe.d/u.conf",
    "lib/modprobe.d/v.conf",
    "proc/cmdline",
)

# Name, files, lookup, the options that its modules have to get.
CASES: list[tuple[str, dict[str, str], str, dict[str, str]]] = [
    ("nothing", {}, "kt_net", {}),
    ("etc", {ETC: "options kt_net a=1 b=2\n"}, "kt_net", {"kt_net": "a=1 b=2"}),
    (
        "run",
        {RUN: "options kt-net a=1\n", ETC: "options kt_bus c=1\n"},
        "kt_net",
        {"kt_net": "a=1", "kt_bus": "c=1"},
    ),
    ("etc-and-run", {RUN: "options kt-net a=2\n", ETC: "options kt_net a=1\n"}, "kt_net", {"kt_net": "a=2"}),
    ("cmdline", {ETC: "options kt_net a=1\n", CMDLINE: "kt-net.a=2"}, "kt_net", {"kt_net": "a=2"}),
    ("by-alias", {ETC: "alias nic kt_net\noptions nic a=1\n"}, "nic", {"kt_net": "a=1"}),
    ("quoted", {ETC: 'options kt_net a="1 2" b=3\n'}, "kt_net", {"kt_net": "'a=1 2' b=3"}),
    (
        "quoted-on-cmdline",
        {CMDLINE: '"kt_net.a=1 2" kt_net.b="3 4"'},
        "kt_net",
        {"kt_net": "'a=1 2' 'b=3 4'"},
    ),
    ("blacklisted-dependency", {ETC: "blacklist kt_bus\noptions kt_bus a=1\n"}, "kt_net", {"kt_bus": "a=1"}),
    ("blacklisted-softdep", {LIB: "blacklist kt_crypt\n"}, "kt_soft", {"kt_crypt": ""}),
    ("blacklisted-on-cmdline", {CMDLINE: "modprobe.blacklist=kt_late"}, "kt_soft", {"kt_late": ""}),
    (
        "name-taken-by-an-alias",
        {ETC: "alias kt_bus kt_alt\noptions kt_bus a=1\n"},
        "kt_net",
        {"kt_bus": "a=1"},
    ),
    ("name-turned-off", {ETC: "alias kt_bus off\n"}, "kt_net", {"kt_bus": ""}),
]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    return LiveTree(tmp_path_factory.mktemp("both"), machine_release())


@pytest.mark.parametrize(
    ("command", "run"),
    [
        ("/sbin/modprobe -i x", "{} -i x"),
        ("a;/usr/sbin/modprobe -i x&&/sbin/modprobe y", "a;{} -i x&&{} y"),
        ("/opt/sbin/modprobe x; /sbin/modprobe.old x", "/opt/sbin/modprobe x; /sbin/modprobe.old x"),
        ("modprobe x", "modprobe x"),
    ],
)
def test_an_install_lines_modprobe(command: str, run: str) -> None:
    """For busybox's modprobe the command gets one that takes kmod's options, by its path and by its bare name."""
    helper = "/usr/lib/micro/install-modprobe"
    step = Step("x", "x.ko", command=command)
    assert invocation(step, Flavour.KMOD, "/m").arguments == ("-c", command)
    (_, text) = invocation(step, Flavour.BUSYBOX, "/m").arguments
    assert text == f'modprobe() {{ {helper} "$@"; }}\n' + run.format(helper, helper)
    other = invocation(step._replace(command="true"), Flavour.BUSYBOX, "/m")
    assert other.arguments == ("-c", "true")


def effect(tree: LiveTree, step: Step, flavour: Flavour) -> dict[str, str] | None:
    """The parameters, by their last value, with which the step inserts its module; None if it does not."""
    call = invocation(step, flavour, str(tree.folder))
    if call.tool is Tool.INSMOD:
        assert call.arguments[0] == f"{tree.folder}/{step.path}"
        return dict(word.split("=", 1) for word in call.arguments[1:])
    assert call.tool is Tool.MODPROBE
    run = tree.kmod("-n", "-v", *call.arguments) if flavour is Flavour.KMOD else tree.busybox(*call.arguments)
    assert run.status == 0, run.err
    for line in run.out:
        words = shlex.split(line)
        if words[:2] == ["insmod", step.path]:
            return dict(word.split("=", 1) for word in words[2:])
    return None


@pytest.mark.parametrize("flavour", list(Flavour), ids=lambda flavour: str(flavour.value))
@pytest.mark.parametrize(
    ("files", "lookup", "options"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_both_modprobes_do_the_plan(
    tree: LiveTree, flavour: Flavour, files: dict[str, str], lookup: str, options: dict[str, str]
) -> None:
    """Each step of the plan inserts its module with the options configured, whosever modprobe it is."""
    tree.configure(files)
    plan = tree.resolver(read_config(str(tree.root))).resolve(lookup)
    assert set(options) <= {step.module for step in plan.steps}
    for step in plan.steps:
        wanted = dict(word.split("=", 1) for word in shlex.split(options.get(step.module, "")))
        assert effect(tree, step, flavour) == wanted


def test_busybox_reads_etc_only(tree: LiveTree) -> None:
    """Left to itself, busybox's modprobe knows no options outside /etc, no softdeps, no install lines."""
    files = {RUN: "options kt_soft a=1\n", ETC: "install kt_soft /bin/true\nsoftdep kt_soft pre: kt_alt\n"}
    tree.configure(files)
    paths = [line.split("/")[-1] for line in tree.busybox("kt_soft").out]
    assert paths == ["kt-base.ko", "kt_bus.ko", "kt_soft.ko"]


@pytest.mark.parametrize(
    ("command", "said"), [("echo $CMDLINE_OPTS", "a=1 b=2"), ("echo $MODPROBE_MODULE", "kt_net")]
)
def test_install_lines(tree: LiveTree, command: str, said: str) -> None:
    """The shell gets what kmod's modprobe would give it: kmod's would insert the softdeps of what is needed, too."""
    tree.configure({ETC: f"install kt_net {command}\noptions kt_net a=1 b=2\n"})
    (*_, step) = tree.resolver(read_config(str(tree.root))).resolve("kt_net").steps
    for flavour in Flavour:
        call = invocation(step, flavour, "")
        assert call.tool is Tool.SHELL
        assert call.environment == (("MODPROBE_MODULE", "kt_net"),)
        assert call.arguments == ("-c", command.replace("$CMDLINE_OPTS", said))
        assert not call.batch


def test_remove_lines(tree: LiveTree) -> None:
    """kmod's modprobe runs the first remove line that fits the module; for busybox the shell gets its command."""
    tree.configure({ETC: "remove kt-n* echo gone\nremove kt_net echo second\nremove kt_base echo other\n"})
    command = tree.resolver(read_config(str(tree.root))).remove_command("kt_net")
    assert [f"remove {command}"] == list(tree.kmod("-r", "-n", "-v", "kt_net").out)
    assert removal("kt_net", command, Flavour.KMOD) == Invocation(Tool.MODPROBE, ("-r", "--", "kt_net"))
    busybox = Invocation(Tool.SHELL, ("-c", command), (("MODPROBE_MODULE", "kt_net"),))
    assert removal("kt_net", command, Flavour.BUSYBOX) == busybox
    assert removal("kt_net", "", Flavour.BUSYBOX).tool is Tool.MODPROBE


@pytest.mark.parametrize(
    ("conf", "lookup", "module", "path"),
    [
        ("install kt_base /bin/false\n", "kt_net", "kt_bus", "kernel/drivers/bus/kt_bus.ko"),
        ("install kt_late /bin/false\nsoftdep kt_alt pre: kt_late\n", "kt_alt", "kt_alt", "kernel/kt_alt.ko"),
        ("install kt_late /bin/false\n", "kt_soft", "kt_soft", "kernel/kt_soft.ko"),
    ],
)
@pytest.mark.parametrize("flavour", list(Flavour), ids=lambda flavour: flavour.value)
def test_nothing_is_inserted_behind_an_install_line(
    tree: LiveTree, flavour: Flavour, conf: str, lookup: str, module: str, path: str
) -> None:
    """What needs a module with an install line, or has it as a softdep, takes insmod.

    busybox's modprobe would insert both, kmod's would run the command again, as its dry run shows.
    """
    tree.configure({ETC: conf})
    steps = {step.module: step for step in tree.resolver(read_config(str(tree.root))).resolve(lookup).steps}
    call = invocation(steps[module], flavour, "/lib/modules/x")
    assert call == Invocation(Tool.INSMOD, (f"/lib/modules/x/{path}",))
    (commanded,) = (step for step in steps.values() if step.command)
    assert invocation(commanded, flavour, "").tool is Tool.SHELL
    assert "install /bin/false" in tree.kmod("-n", "-v", lookup).out


@pytest.mark.parametrize("lookup", ["kt_soft", "kt_net"])
def test_kmod_is_not_left_to_follow_softdeps(tree: LiveTree, lookup: str) -> None:
    """A module that has softdeps, or needs one that has, takes insmod under kmod, whose modprobe would follow them."""
    tree.configure({ETC: "softdep kt_bus post: kt_late\n"})
    (*_, step) = [
        one
        for one in tree.resolver(read_config(str(tree.root))).resolve(lookup).steps
        if one.module == lookup
    ]
    assert any("kt_late" in line or "kt-late" in line for line in tree.kmod("-D", lookup).out)
    assert invocation(step, Flavour.KMOD, "/m").tool is Tool.INSMOD
    assert invocation(step, Flavour.BUSYBOX, "/m").tool is Tool.MODPROBE


def test_plain_modules_can_share_a_process() -> None:
    """Modules without anything special may go into one `modprobe -b -a`; others may not."""
    step = Step("m", "kernel/m.ko")
    assert invocation(step, Flavour.BUSYBOX, "") == Invocation(
        Tool.MODPROBE, ("-b", "-a", "--", "m"), batch=True
    )
    assert invocation(step, Flavour.KMOD, "").arguments == ("-b", "-a", "--", "m")
    own = step._replace(options="a=1", plain_options="a=1")
    assert invocation(own, Flavour.KMOD, "").batch
    assert invocation(own, Flavour.BUSYBOX, "").arguments == ("-b", "--", "m", "a=1")
    assert not invocation(own, Flavour.BUSYBOX, "").batch
    assert invocation(step._replace(blacklisted=True), Flavour.KMOD, "").arguments == ("-a", "--", "m")


@given(st.lists(st.text(alphabet="ab= ", min_size=1, max_size=6).map(str.strip).filter(bool), max_size=4))
def test_option_words(values: list[str]) -> None:
    """Options written with quotes where there are blanks come back as the arguments they mean."""
    text = " ".join(f'p="{value}"' if " " in value else f"p={value}" for value in values)
    assert option_words(text) == tuple(f"p={value}" for value in values)
