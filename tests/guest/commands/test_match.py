"""`modaliasd match`: its output, its options, and modprobe -R as the judge of what it says."""

import io
import re
import subprocess
from pathlib import Path

import pytest

from modaliasd.commands import match
from modaliasd.core.errors import UsageError, WorldError
from tests.support.komaker import FakeModule, make_tree
from tests.support.programs import require_program

MODULES = (
    FakeModule("kt-first", aliases=["pci:v0001d*", "pci:v0001d[0-3]*"]),
    FakeModule("kt_second", aliases=["pci:v0001d0002*", "of:N*T*Ckt,a-bC*"]),
    FakeModule("kt_named", aliases=["kt-alias"]),
)
BUILTIN = (FakeModule("kt-inside", aliases=["platform:kt-inside"]),)
KVER = "6.1.0-test"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a module tree and one line of modprobe.d."""
    root = tmp_path_factory.mktemp("root")
    make_tree(root, KVER, MODULES, BUILTIN)
    conf = root / "etc" / "modprobe.d"
    conf.mkdir(parents=True)
    (conf / "kt.conf").write_text("alias pci:v0009d* kt_named\n")
    return root


def run(root: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes]:
    out = io.BytesIO()
    stdout = io.TextIOWrapper(out, encoding="utf-8")
    where = ["--modules-dir", str(root / "lib/modules" / KVER), f"--config-root={root}"]
    status = match.answer([*where, *arguments], io.TextIOWrapper(io.BytesIO(stdin)), stdout)
    stdout.flush()
    return status, out.getvalue()


ASKED = (
    "pci:v0001d0002",
    "pci:v0001d9",
    "of:NxTyCkt,a_bCz",
    "platform:kt-inside",
    "kt-alias",
    "kt-first",
    "x]",
    "none:1",
)


def test_each_line_of_standard_input_is_answered(root: Path) -> None:
    """One line each: the string, a tab, the modules in load order; nothing behind the tab for none."""
    status, out = run(root, "-", stdin="".join(f"{a}\n" for a in ASKED).encode())
    assert status == 0
    assert out.decode().splitlines() == [
        "pci:v0001d0002\tkt_first,kt_second",
        "pci:v0001d9\tkt_first",
        "of:NxTyCkt,a_bCz\tkt_second",
        "platform:kt-inside\tkt_inside",
        "kt-alias\tkt_named",
        "kt-first\tkt_first",
        "x]\t",
        "none:1\t",
    ]


@pytest.mark.parametrize("modalias", [*ASKED, "pci:v0009d1"])
def test_the_answer_is_that_of_modprobe_resolve(root: Path, modalias: str) -> None:
    """The same modules in the same order, modprobe.d's alias included."""
    where = ["-d", str(root), "-S", KVER, "-C", str(root / "etc/modprobe.d")]
    command = [require_program("modprobe"), "-q", *where, "-R", modalias]
    theirs = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    status, out = run(root, modalias)
    assert out.decode() == f"{modalias}\t{','.join(dict.fromkeys(theirs))}\n"
    assert status == (0 if theirs else 1)


def test_explain_names_pattern_and_line(root: Path) -> None:
    """For each module the pattern as the file has it, and where it stands."""
    _, out = run(root, "--explain", "of:NxTyCkt,a-bCz", "platform:kt-inside", "pci:v0009d1")
    lines = out.decode().splitlines()
    assert lines[1] == "\tkt_second\tof:N*T*Ckt,a-bC*\tmodules.alias:5"
    assert lines[3] == "\tkt_inside\tplatform:kt-inside\tmodules.builtin.modinfo (built in)"
    assert lines[5] == "\tkt_named\tpci:v0009d*\t/etc/modprobe.d/kt.conf:1"


def test_without_config_modprobe_d_does_not_count(root: Path) -> None:
    """--no-config leaves the tree's own tables."""
    assert run(root, "--no-config", "pci:v0009d1") == (1, b"pci:v0009d1\t\n")


def test_bytes_that_are_not_utf_8_pass_through(root: Path) -> None:
    """What came in goes out, byte for byte."""
    assert run(root, "-", stdin=b"pci:v0001d\xff\n") == (0, b"pci:v0001d\xff\tkt_first\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing argument"),
        (["--nonsense"], "unknown option `--nonsense`"),
        (["-", "pci:"], "`-` reads all modaliases"),
        (["--modules-dir"], "`--modules-dir` needs a value: DIR"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], message: str) -> None:
    """Each error says what was wrong, before anything is opened."""
    with pytest.raises(UsageError, match=re.escape(message)):
        match.run(arguments)


def test_a_tree_without_aliases_is_the_worlds_fault(tmp_path: Path) -> None:
    """The message names the missing file."""
    with pytest.raises(WorldError, match=r"modules\.alias"):
        match.answer(
            ["--modules-dir", str(tmp_path), "x"],
            io.TextIOWrapper(io.BytesIO()),
            io.TextIOWrapper(io.BytesIO()),
        )
