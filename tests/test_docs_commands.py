"""Every command that the documentation shows is one: shell reads it, and our command lines take it.

Those that need no guest and no other machine are run; docs/tutorial.md's all are (tests/vm/test_from_source.py), and so
are the steps of docs/ci.md (test_docs_ci.py).
"""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage
from hostbuild.main import status_of
from scripts.command_pages import Item, Lines, command_pages
from tests.support.doccommands import OURS, Shown, blocks_of, codes_of, commands_of, complaint, typed_of
from tests.support.places import DATA, DOCS, PROJECT
from tests.support.transcript import Step, is_alike, steps_of

PAGES = [*sorted(DOCS.glob("*.md")), *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md"))]
# Of hostbuild's commands those that boot nothing, ask no network and take no minutes.
HARMLESS = {"check", "inspect", "report", "diff", "tree", "capture", "predict", "ram"}
_TARGET = re.compile(r"^([a-z][\w-]*):", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_reads_every_block(page: Path) -> None:
    """`bash -n`: no quote is left open, nothing but comments is behind a command."""
    text = "".join(f"{block.text}\n" for block in blocks_of(page))
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_our_command_lines_take_every_command(page: Path) -> None:
    """hostbuild's and modaliasd's commands, options, values and operands, in blocks and in running text."""
    found = [
        f"{shown} => {said}"
        for piece in [*blocks_of(page), *codes_of(page)]
        for shown, words in commands_of(piece)
        if words[0] in OURS and (said := complaint(words, whole=shown.whole))
    ]
    assert found == []


def test_our_command_lines_take_the_examples_of_their_help() -> None:
    """What `--help`, the manual pages and the site's reference show of commands, under Examples and elsewhere."""
    examples = [
        Shown(page.name, 0, line, whole=True)
        for page in command_pages()
        for _, blocks in page.sections
        for block in blocks
        if isinstance(block, Lines)
        for line in block.lines
    ]
    taken = [(shown, words) for one in examples for shown, words in commands_of(one) if words[0] in OURS]
    assert len(taken) > 100
    found = [f"{shown} => {said}" for shown, words in taken if (said := complaint(words, whole=True))]
    assert found == []


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All long options of our commands, and dask's that docs/matrix.md speaks of."""
    items = [block for one in command_pages() for _, blocks in one.sections for block in blocks]
    terms = [item.term for item in items if isinstance(item, Item)]
    return {name for term in terms for name in re.findall(r"--[\w-]+", term)} | {"--nthreads"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_running_text_are_somebodys(
    page: Path, options: set[str], pytestconfig: pytest.Config
) -> None:
    """`--option` alone is one of our commands', of our pytest plugin's (or of pytest's), or of dask's."""
    unknown = []
    for code in codes_of(page):
        name = re.match(r"--[a-z][\w-]*", code.text)
        if (
            name
            and name[0] not in options
            and pytestconfig.getoption(name[0], "not pytest's") == "not pytest's"
        ):
            unknown.append(str(code))
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_other_commands_name_is_there(page: Path) -> None:
    """Our targets of make, extras of pip, units of systemd, and scripts; packages of apt are those that we list."""
    targets = set(_TARGET.findall((PROJECT / "Makefile").read_text()))
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    units = {path.name for path in (PROJECT / "daemon/services/systemd").iterdir()}
    lists = "\n".join(path.read_text() for path in PROJECT.glob("debian-packages*.txt"))
    gone = []
    for block in blocks_of(page):
        for shown, words in commands_of(block):
            program, *rest = [word for word in words if not re.match(r"[A-Z_]+=", word)] or [""]
            operands = [word for word in rest if not word.startswith("-")]
            wrong = []
            if program == "make" and "-C" not in rest:
                wrong = [one for one in operands if one not in targets]
            elif program == "pip":
                wrong = [one for one in re.findall(r"\[([\w,]+)\]", shown.text) if one not in extras]
            elif program == "systemctl":
                wrong = [one for one in operands[1:] if one not in units]
            elif program == "apt-get":
                wrong = [one for one in operands[1:] if one not in lists]
            elif program in ("python", "pytest"):
                wrong = [
                    one
                    for one in operands
                    if "/" in one and one[0] not in "~/" and not (PROJECT / one).exists()
                ]
            gone += [f"{shown} => {one}" for one in wrong]
    assert gone == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hostbuild run micro.img --no-such", "--no-such"),
        ("hostbuild runn micro.img", "runn"),
        ("hostbuild ram micro.img surplus", "surplus"),
        ("hostbuild run micro.img surplus", "surplus"),
        ("hostbuild run", "IMAGE"),
        ("hostbuild run micro.img --accel steam", "steam"),
        ("hostbuild kernel bild", "bild"),
        ("hostbuild ram micro.img          how much it takes", "how"),
        ("sudo true && hostbuild make-image -o x.img --compres lz4", "--compres"),
        ("modaliasd whynot e1000", "whynot"),
        ("modaliasd coldplug --dryrun", "--dryrun"),
        ("modaliasd tree --by name", "name"),
        ("modaliasd why", "missing"),
    ],
)
def test_a_wrong_command_is_found(line: str, said: str) -> None:
    """What the tests above would say of it."""
    *_, (shown, words) = commands_of(Shown("page.md", 1, line, whole=True))
    assert said in (complaint(words, whole=shown.whole) or "")


@pytest.mark.parametrize(
    ("block", "typed"),
    [
        ("hostbuild run a.img  # boots\nmake demo\n", "hostbuild run a.img  # boots\nmake demo\n"),
        ("hostbuild run \\\n    a.img\n", "hostbuild run \\\n    a.img\n"),
        ("$ hostbuild run \\\n>   a.img\nit booted\n$ make\n", "hostbuild run \\\n  a.img\n\nmake"),
        ("/ # modaliasd tree\n0000:00:01.0\n", "modaliasd tree\n"),
        ("network: eth0 is up\n", None),
        ("hostbuild/  the host's part\n", None),
    ],
)
def test_shell_is_told_from_output(block: str, typed: str | None) -> None:
    """Lines of commands, or prompts with commands and what they print; everything else is no shell."""
    assert typed_of(block) == typed


@pytest.mark.slow
def test_what_needs_no_guest_is_run(
    image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of HARMLESS that a page shows with files that are here: it ends well, and writes what it is to write."""
    for name in ("micro.img", "yesterday.img", "default.img"):
        for path in (image.image, image.manifest_path, image.image.with_name(f"{image.image.name}.vmlinuz")):
            (tmp_path / path.name.replace(image.image.name, name)).symlink_to(path)
    for name in ("boot.jsonl", "after.jsonl", "q35.jsonl"):
        shutil.copy(DATA / "q35-boot.jsonl", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert status_of(["capture", "--from", "boot.jsonl", "-o", "laptop.json"]) == 0
    ran: set[tuple[str, ...]] = set()
    elsewhere = {"tutorial.md", "ci.md"}  # run by other tests
    pages = [page for page in PAGES if page.name not in elsewhere]
    for shown, words in (one for page in pages for block in blocks_of(page) for one in commands_of(block)):
        if (
            words[0] != "hostbuild"
            or words[1] not in HARMLESS
            or not _has_files(words)
            or tuple(words) in ran
        ):
            continue
        ran.add(tuple(words))
        assert status_of(words[1:]) in (0, 1), (str(shown), capsys.readouterr().err)
        outputs = [word for at, word in enumerate(words) if words[at - 1] == "-o"]
        assert all(Path(output).stat().st_size > 0 for output in outputs), str(shown)
    assert len(ran) >= 10


def _has_files(words: list[str]) -> bool:
    """Whether all files that the command reads are here, and it boots nothing."""
    values = ("-o", "--append", "--kernel")
    names = [word for at, word in enumerate(words[2:], 2) if words[at - 1] not in values and word[0] != "-"]
    return "--prove" not in words and all(Path(name).exists() for name in names if re.search(r"[./-]", name))


@pytest.mark.parametrize(
    ("expected", "printed", "alike"),
    [
        (["e1000  loaded in 25 ms"], ["e1000  loaded in 1.2 s"], True),
        (["e1000  loaded in 25 ms"], ["e1001  loaded in 25 ms"], False),
        (["pci 0000:00:07.0"], ["pci 0000:00:08.0"], False),
        (["a", "...", "z"], ["a", "z"], True),
        (["a", "...", "z"], ["a", "b", "c", "z"], True),
        (["a", "...", "z"], ["a", "b"], False),
        (["...", "nvme  32768  0"], ["x", "nvme   1 0 "], True),
        ([".../micro.img: 5.9 MiB"], ["/home/me/micro.img: 6 MiB"], True),
        ([], ["something"], False),
    ],
)
def test_sessions_are_compared(expected: list[str], printed: list[str], alike: bool) -> None:
    """What the tutorial's test takes for the same: numbers, blanks and what dots stand for may differ, nothing else."""
    assert is_alike(expected, printed) is alike


def test_sessions_are_found(tmp_path: Path) -> None:
    """A command over several lines is one; what follows it is what it prints."""
    page = tmp_path / "page.md"
    page.write_text("x\n```console\n$ a \\\n>   b\nout\n$ c\n```\n```sh\n$ d\n```\n")
    assert list(steps_of(page)) == [Step("a \\\n  b", ("out",)), Step("c", ())]
