"""core/kmod/resolve.py and core/kmod/modprobe_d.py against kmod's modprobe: recorded, live, and random cases."""

import fnmatch
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modaliasd.core.kmod.modprobe_d import (
    Configuration,
    counting_files,
    join,
    parse_command_line,
    parse_modprobe_d,
)
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.kmod.resolve import Resolver
from tests.support.fuzzing import examples
from tests.support.kmodlive import NAMES, LiveTree, first_of_each, kmod_version
from tests.support.places import DATA

RECORDED = json.loads((DATA / "kmod-cases.json").read_text())["cases"]
RECORDED_ALIASES = [
    ("pci:v00008086d0000100Esv*sd*bc*sc*i*", "e1000", False),
    ("serio:ty01pr*id*ex*", "serio_raw", False),
    ("serio:ty01pr*id*ex*", "psmouse", False),
    ("platform:rtc_cmos", "rtc_cmos", True),
]
PCI = "pci:v00001234d00000001svFFFF"

# Name, configuration, flags, lookups. kmod's answer is asked for when the test runs.
LIVE = [
    ("name", "", "", ["kt_net"]),
    ("name-with-dashes", "", "-b", ["kt-net"]),
    ("modalias-of-two", "", "-b", [PCI]),
    ("alias-with-set", "", "", ["kt-nic-7x"]),
    ("alias-outside-the-set", "", "", ["kt-nic-x"]),
    ("no-dot-cut", "", "", ["kt_net.ko"]),
    ("empty", "", "", [""]),
    ("symbol", "", "", ["symbol:kt_bus_symbol"]),
    ("symbol-unknown", "", "", ["symbol:kt_nothing"]),
    ("builtin-by-name", "", "", ["kt-inside"]),
    ("builtin-by-alias", "", "", ["platform:kt-inside"]),
    ("builtin-blacklisted", "blacklist kt_inside\n", "-b", ["platform:kt-inside"]),
    ("softdep-pre-and-post", "", "", ["kt_soft"]),
    ("softdep-of-a-dependency", "", "", ["kt_top"]),
    ("softdep-cycle", "", "", ["kt_one"]),
    ("softdep-cycle-other-end", "", "", ["kt_two"]),
    ("softdep-cycle-with-itself", "softdep kt_net pre: kt_net\n", "", ["kt_net"]),
    ("softdep-on-what-needs-it", "softdep kt_base pre: kt_net\n", "", ["kt_net"]),
    ("softdep-on-what-needs-it-post", "softdep kt_base post: kt_net\n", "", ["kt_late"]),
    ("softdep-by-alias", "softdep kt_net pre: crypto-kt\n", "", ["kt_net"]),
    ("softdep-by-config-alias", "alias my-x kt_late\nsoftdep kt_net post: my-x\n", "", ["kt_net"]),
    ("softdep-by-pattern", "softdep kt_n* pre: kt_late\n", "", ["kt_net"]),
    ("softdep-without-keyword", "softdep kt_net kt_late\n", "", ["kt_net"]),
    ("softdep-missing-and-present", "softdep kt_net pre: nothing kt_late\n", "", ["kt_net"]),
    ("softdep-blacklisted", "softdep kt_net pre: kt_late\nblacklist kt_late\n", "-b", ["kt_net"]),
    ("dependency-blacklisted", "blacklist kt_base\n", "-b", ["kt_net"]),
    ("blacklist-dash", "blacklist kt-net\n", "-b", ["kt_net"]),
    ("blacklist-pattern", "blacklist kt*\n", "-b", ["kt_net"]),
    ("blacklist-by-alias-without-b", "blacklist kt_alt\n", "", [PCI]),
    ("blacklist-all-matches", "blacklist kt_alt\nblacklist kt_net\n", "", [PCI]),
    ("blacklist-two-words", "blacklist kt_alt kt_net\n", "", [PCI]),
    ("alias-hides-the-tree", "alias pci:v00001234* kt_late\n", "", [PCI]),
    ("alias-two-lines", "alias kt-x kt_late\nalias kt-x kt_alt\n", "", ["kt-x"]),
    ("alias-not-chained", "alias kt-x kt-y\nalias kt-y kt_late\n", "", ["kt-x"]),
    ("alias-to-a-modalias", f"alias kt-x {PCI}\n", "", ["kt-x"]),
    ("alias-over-a-name", "alias kt_net kt_late\n", "", ["kt_net"]),
    ("alias-over-a-dependency", "alias kt_base kt_late\n", "", ["kt_net"]),
    ("alias-off", "alias pci:v00001234d* off\n", "", [PCI]),
    ("alias-blacklisted-target", "alias kt-x kt_late\nblacklist kt_late\n", "", ["kt-x"]),
    ("options-joined", "options kt-net a=1\noptions kt_net b=2\n", "", ["kt_net"]),
    ("options-by-modalias", f"options {PCI} a=1\n", "", [PCI]),
    ("options-by-tree-pattern", "options pci:v00001234d*sv* a=1\n", "", [PCI]),
    ("options-by-config-pattern", "alias kt-x* kt_late\noptions kt-x* a=1\n", "", ["kt-xy"]),
    ("options-quoted", 'options kt_net a="1 2" b=3\n', "", ["kt_net"]),
    ("install-name", "install kt_net /bin/echo $CMDLINE_OPTS\n", "", ["kt_net"]),
    ("install-pattern", "install kt_n* /bin/echo\n", "", ["kt_net"]),
    ("install-first-counts", "install kt_net first\ninstall kt_net second\n", "", ["kt_net"]),
    ("install-of-a-dependency", "install kt_base /bin/echo base\n", "", ["kt_net"]),
    ("install-ignored-with-softdep", "install kt_soft /bin/echo\n", "", ["kt_soft"]),
    ("install-kept-with-missing-softdep", "install kt_net c\nsoftdep kt_net pre: nothing\n", "", ["kt_net"]),
    ("install-exact-word-found", "install kt-* first\ninstall kt-x second\n", "", ["kt-x"]),
    (
        "install-exact-word-in-softdep",
        "install kt-* a\ninstall kt-x b\nsoftdep kt_net pre: kt-x\n",
        "",
        ["kt_net"],
    ),
    ("install-of-nothing", "install kt_nothing /bin/echo\n", "", ["kt_nothing"]),
    ("install-pattern-is-no-lookup", "install kt_noth* /bin/echo\n", "", ["kt_nothing"]),
    ("install-with-options", "install kt_net c\noptions kt_net a=1\n", "", ["kt_net"]),
    ("install-blacklisted", "install kt_net c\nblacklist kt_net\n", "-b", ["kt_net"]),
    ("remove-is-a-lookup", "remove kt_nothing /bin/echo\n", "", ["kt_nothing"]),
    ("continued-line", "options kt_net a=1 \\\n  b=2\n", "", ["kt_net"]),
    ("backslashes", 'options kt_net a=\\"x\\\\y\\"\n', "", ["kt_net"]),
    ("all-goes-on", "", "-a", ["kt_nothing", "kt_net", "foo]", PCI]),
]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    return LiveTree(tmp_path_factory.mktemp("kmod"))


def naive_index(modalias: str) -> list[tuple[str, str, int, bool]]:
    wanted = modalias.replace("-", "_")
    rows = enumerate(RECORDED_ALIASES, 1)
    return [(m, pattern, n, b) for n, (pattern, m, b) in rows if fnmatch.fnmatchcase(wanted, pattern)]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])
def test_recorded_answers(case: dict[str, list[str] | str | int]) -> None:
    """The recorded answers of kmod on Debian's module tree are ours too: names, order, options and status."""
    args = case["args"]
    assert isinstance(args, list)
    dependencies = Dependencies((DATA / "kmod-cases.modules.dep").read_text(), frozenset({"rtc_cmos"}))
    resolver = Resolver(parse_modprobe_d([("t.conf", str(case["conf"]))]), dependencies, naive_index)
    plans = [resolver.resolve(word, "-b" in args) for word in args if not word.startswith("-")]
    if "-R" in args:
        answer = [match.module for plan in plans for match in plan.matches]
    else:
        steps = [step for plan in plans for step in plan.steps]
        lines = [
            f"install {s.command}" if s.command else f"insmod {s.path.removeprefix('kernel/')}" for s in steps
        ]
        answer = [f"{line} {s.options}".rstrip() for line, s in zip(lines, steps, strict=True)]
    assert answer == case["stdout"]
    assert any(plan.stage is Stage.NONE for plan in plans) == bool(case["rc"])


@pytest.mark.parametrize(
    ("conf", "flags", "lookups"), [row[1:] for row in LIVE], ids=[row[0] for row in LIVE]
)
def test_live_answers(tree: LiveTree, conf: str, flags: str, lookups: list[str]) -> None:
    """`modprobe -n -v` and `modprobe -R` of this machine's kmod give what our plan says."""
    compare(tree, conf, flags, lookups)


def compare(tree: LiveTree, conf: str, flags: str, lookups: list[str]) -> None:
    resolver = tree.resolver(conf)
    plans = [resolver.resolve(lookup, flags == "-b") for lookup in lookups]
    expected = first_of_each(line for plan in plans for line in tree.expect(plan))
    theirs = tree.modprobe(conf, "-n", "-v", *([flags] if flags else []), "--", *lookups)
    assert expected == first_of_each(theirs.out)
    assert any(plan.stage is Stage.NONE for plan in plans) == bool(theirs.status), theirs.err
    if flags == "-a":
        return
    found = tree.modprobe(conf, "-R", "--", *lookups)
    assert tuple(dict.fromkeys(match.module for match in plans[0].matches)) == tuple(dict.fromkeys(found.out))


names = st.sampled_from((*NAMES, *(name.replace("_", "-") for name in NAMES), "kt_nothing", "kt-inside"))
wild = "kt_n* kt-* * kt?alt kt_[a-m]* kt_[!a-m]* kt-x kt-x-[0-9] pci:v0* of:*alt kt_[ a]"
patterns = st.sampled_from((*wild.split(), PCI))
others = "pci:v00001234d00000002svX kt-x kt-x-3 kt-nic-1 of:NxTyCkt,alt crypto-kt off kt-both kt-inside"
lookup_words = st.sampled_from(
    (*NAMES, PCI, *others.split(), "platform:kt-inside", "symbol:kt_net_symbol", "kt_nothing", "kt-net", "[")
)
subjects = names | patterns
blanks = st.sampled_from((" ", "\t", "   ", " \t "))
words = st.text(alphabet='ab1=-_."*$', min_size=1, max_size=6)
# kmod takes a module's first softdep line only (its issue 33): none for those that modules.softdep knows.
softdep_subjects = ("kt_net", "kt-base", "kt_bus", "kt_alt", "kt_late", "kt_top")


@st.composite
def directives(draw: st.DrawFn) -> str:
    blank = draw(blanks)
    number = draw(st.integers(0, 99))
    subject = draw(subjects)
    return draw(
        st.sampled_from(
            (
                f"alias{blank}{subject} {draw(lookup_words)}",
                f"blacklist {subject}",
                f"options{blank}{subject} o{number}={draw(words)}",
                f"install {subject}{blank}run{number} $CMDLINE_OPTS",
                f"remove {subject} run {number}",
                f"# alias {subject} off",
                f"options {subject} \\\n p{number}={draw(words)}",
            )
        )
    )


@st.composite
def configurations(draw: st.DrawFn) -> str:
    lines = draw(st.lists(directives(), max_size=6))
    for subject in draw(st.lists(st.sampled_from(softdep_subjects), unique=True, max_size=3)):
        before, after = draw(st.lists(lookup_words, max_size=2)), draw(st.lists(lookup_words, max_size=2))
        lines.append(f"softdep {subject} pre: {' '.join(before)} post: {' '.join(after)}")
    return "\n".join(draw(st.permutations(lines))) + "\n"


@settings(max_examples=examples(60), deadline=None)
@given(configurations(), st.sampled_from(("", "-b", "-a")), lookup_words)
def test_random_configurations(tree: LiveTree, conf: str, flags: str, lookup: str) -> None:
    """For any configuration of the words that modprobe.d has, kmod would do what our plan says."""
    compare(tree, conf, flags, [lookup])


keywords = st.sampled_from(("alias", "blacklist", "install", "softdep", "pre:", "post:", "#"))
lines = st.one_of(
    directives(),
    st.lists(words | keywords, max_size=5).map(" ".join),
    st.text(alphabet='abc-_[]\\# \t\n*="', max_size=20),
)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(lines, max_size=8))
def test_random_syntax(tree: LiveTree, pieces: list[str]) -> None:
    """`modprobe -c` prints the configuration that we read, and complains where we found a problem."""
    # A backslash before the end of the file makes kmod read the end as a character; ours drops it.
    conf = "\n".join(pieces) + "\n\n"
    theirs = tree.modprobe(conf, "-c")
    ours = join(parse_modprobe_d([("t.conf", conf)]), tree.host_configuration())
    end = theirs.out.index("# End of configuration files. Dumping indexes now:")
    assert dumped(ours, tree) == theirs.out[:end]
    complaints = theirs.err.count("ignoring bad line") + theirs.err.count("deprecated and not parsed")
    assert sum(problem.message.endswith("the line is ignored") for problem in ours.problems) == complaints


def dumped(ours: Configuration, tree: LiveTree) -> tuple[str, ...]:
    """Our configuration as `modprobe -c` of kmod 30 prints it; it puts no blank before `post:`."""
    lines = [f"blacklist {entry.module}" for entry in ours.blacklists]
    lines += [f"install {entry.module} {entry.text}" for entry in ours.installs]
    lines += [f"remove {entry.module} {entry.text}" for entry in ours.removes]
    lines += [f"alias {entry.pattern} {entry.module}" for entry in ours.aliases]
    lines += [f"options {entry.module} {entry.text}" for entry in ours.options]
    for entry in (*tree.softdeps(), *ours.softdeps):
        parts = [
            f"{word}: {' '.join(names)}"
            for word, names in (("pre", entry.pre), ("post", entry.post))
            if names
        ]
        lines.append(f"softdep {entry.module} {''.join(parts)}")
    return tuple(" ".join(line.split()) for line in lines)


def test_directories(tree: LiveTree, tmp_path: Path) -> None:
    """A file hides its namesakes in later directories; names sort across directories; others do not count."""
    texts = {
        "one/m.conf": "blacklist one\n",
        "two/m.conf": "blacklist hidden\n",
        "two/a.conf": "blacklist a\n",
        "two/B.conf": "blacklist B\n",
        "one/z.alias": "blacklist z\n",
        "two/.x.conf": "blacklist dotted\n",
        "two/x.txt": "blacklist text\n",
        "two/.conf": "blacklist nameless\n",
        "two/\xe9.conf": "blacklist accent\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    folders = [tmp_path / "one", tmp_path / "two"]
    chosen = counting_files(
        [(str(folder), sorted(file.name for file in folder.iterdir())) for folder in folders]
    )
    ours = parse_modprobe_d([(f"{folder}/{name}", Path(folder, name).read_text()) for folder, name in chosen])
    theirs = [line for line in tree.modprobe_in(folders, "-c").out if line.startswith("blacklist ")]
    host = [f"blacklist {entry.module}" for entry in tree.host_configuration().blacklists]
    told = [f"blacklist {entry.module}" for entry in ours.blacklists]
    if kmod_version() >= 34:
        told.remove("blacklist z")  # it reads .conf files only
    assert told + host == theirs
    assert [entry.module for entry in ours.blacklists] == ["B", "a", "one", "z", "accent"]


CMDLINES = [
    "quiet modprobe.blacklist=kt_a,kt_b root=/dev/vda kt-net.a=1",
    'kt_net.a="1 2" kt_net.b=3',
    '"kt_net.a=1 2" kt_net.b=3',
    "kt_net.a kt_net.b=",
    "a.b.c=1 kt_net.d=x.y =z a=b.c=d",
    'kt_net."a=1" b"c.d=1 e.f=2" kt_net.g=1',
    "tab.a=1\ttab.b=2\n",
    "kt_net.a=1 -- --init-word kt_net.b=2",
]


@pytest.mark.parametrize("cmdline", CMDLINES)
def test_command_line(tree: LiveTree, cmdline: str) -> None:
    """kmod reads the same blacklist and options from the kernel's command line (bound over /proc/cmdline)."""
    tree.configure({"proc/cmdline": cmdline})
    theirs = tree.kmod("-c")
    ours = parse_command_line(cmdline)
    expected = [f"blacklist {entry.module}" for entry in ours.blacklists]
    expected += [f"options {entry.module} {entry.text}" for entry in ours.options]
    assert expected == [line for line in theirs.out if line.startswith(("blacklist ", "options "))]
