"""core/kmod/modprobe_d.py and config.py: modprobe.d's syntax, its directories, the kernel's command line."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.kmod.modprobe_d import (
    EMPTY,
    KERNEL_COMMAND_LINE,
    AliasLine,
    Blacklist,
    Command,
    Configuration,
    OptionsLine,
    Problem,
    parse_command_line,
    parse_modprobe_d,
    underscored,
)
from modaliasd.core.kmod.modules_dep import Softdep
from modaliasd.linux.config import read_config


def parse(text: str) -> Configuration:
    return parse_modprobe_d([("f.conf", text)])


def test_every_keyword_keeps_its_file_and_line() -> None:
    """Each kind of line becomes an entry that names its file and line; `weakdep` is taken without a word."""
    text = (
        "# comment\n\nalias a-b* c-d\nblacklist e-f\noptions g-h i=1\tj=2\n"
        "install k-l /bin/true --x\nremove m-n /bin/false\nsoftdep o-p pre: q-r s post: t\nweakdep u v\n"
    )
    assert parse(text) == Configuration(
        aliases=(AliasLine("a_b*", "c_d", "f.conf", 3),),
        blacklists=(Blacklist("e_f", "f.conf", 4),),
        options=(OptionsLine("g_h", "i=1 j=2", "f.conf", 5),),
        installs=(Command("k_l", "/bin/true --x", "f.conf", 6),),
        removes=(Command("m_n", "/bin/false", "f.conf", 7),),
        softdeps=(Softdep("o_p", ("q-r", "s"), ("t",), "f.conf", 8),),
    )


def test_a_continued_line_is_known_by_its_first() -> None:
    """An entry's line number is where its keyword stands; the next entry's counts the file's own lines."""
    found = parse("options a x=1 \\\n y=2 \\\n z=3\nblacklist b\n")
    assert found.options == (OptionsLine("a", "x=1  y=2  z=3", "f.conf", 1),)
    assert found.blacklists == (Blacklist("b", "f.conf", 4),)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("blaclist a", "unknown keyword 'blaclist'"),
        ("blacklist", "without a module's name"),
        ("blacklist a]", "unbalanced brackets"),
        ("blacklist a b", "only the first name counts, 'b'"),
        ("alias a", "without a module's name"),
        ("alias a[ b", "unbalanced brackets"),
        ("alias a b c", "only one module counts, 'c'"),
        ("options a", "with nothing after it"),
        ("install a", "with nothing after it"),
        ("softdep a b", "no effect"),
        ("include /etc/x", "obsolete"),
        ("  # comment", "first column"),
        ("blacklist a\r", "carriage return"),
    ],
)
def test_problems_name_file_and_line(line: str, word: str) -> None:
    """Every line that does not do what it seems to do is a problem with its file, its line and the reason."""
    (problem,) = parse(f"\n{line}\n").problems
    assert (problem.file, problem.line) == ("f.conf", 2)
    assert word in problem.message


@given(st.text())
def test_any_text(text: str) -> None:
    """No text makes the parsers fail, and every problem stands on a line that the text has."""
    lines = text.count("\n") + 1
    assert all(1 <= problem.line <= lines for problem in parse(text).problems)
    parse_command_line(text)


@given(st.text(alphabet="ab-_[]*", max_size=10))
def test_underscored(text: str) -> None:
    """Dashes outside brackets become underscores; nothing else changes; brackets have to pair."""
    balanced = re.fullmatch(r"(?:[^\[\]]|\[[^\]]*\])*", text)
    expected = re.sub(r"\[[^\]]*\]|-", lambda found: "_" if found[0] == "-" else found[0], text)
    assert underscored(text) == (expected if balanced else None)


def test_command_line() -> None:
    """kmod's words and the kernel's own are told apart; all else on the line, and the daemon's words, is left out."""
    line = (
        "root=/dev/vda init=/a.b modprobe.blacklist=a-b,c,, module_blacklist=x module_blacklist=d,e-f "
        'g-h.i="1 2" k.l modaliasd.load=m,n modaliasd.off modaliasd.load=o modaliasd.slow-after="5"\n'
    )
    file = KERNEL_COMMAND_LINE
    assert parse_command_line(line) == Configuration(
        blacklists=(Blacklist("a_b", file, 0), Blacklist("c", file, 0)),
        options=(OptionsLine("g_h", 'i="1 2"', file, 0), OptionsLine("k", "l", file, 0)),
        kernel_blacklist=(Blacklist("d", file, 0), Blacklist("e-f", file, 0)),
    )


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))


def test_no_configuration(tmp_path: Path) -> None:
    """Without any directory, or with empty ones, there is nothing configured and nothing wrong."""
    assert read_config(str(tmp_path)) == EMPTY
    (tmp_path / "etc/modprobe.d").mkdir(parents=True)
    assert read_config(f"{tmp_path}/") == EMPTY


def test_precedence_of_directories(tmp_path: Path) -> None:
    """/etc hides /run, /run hides /usr/local/lib, then /usr/lib, then /lib; the command line comes last."""
    folders = ["lib", "usr/lib", "usr/local/lib", "run", "etc"]
    for at, folder in enumerate(folders):
        names = ["a", "b", "c", "d", "e"][at:]
        write(tmp_path, {f"{folder}/modprobe.d/{name}.conf": f"blacklist {name}_{at}\n" for name in names})
    write(tmp_path, {"proc/cmdline": "modprobe.blacklist=z", "etc/modprobe.d/README": "blacklist no\n"})
    found = read_config(str(tmp_path)).blacklists
    assert [entry.module for entry in found] == ["a_0", "b_1", "c_2", "d_3", "e_4", "z"]
    assert found[0] == Blacklist("a_0", "/lib/modprobe.d/a.conf", 1)


def test_unreadable_files_are_problems(tmp_path: Path) -> None:
    """A directory or a dangling link in a file's place is reported by its path, and the rest counts."""
    write(tmp_path, {"etc/modprobe.d/b.conf": "blacklist x\udcff\n", "proc/cmdline": "quiet"})
    (tmp_path / "etc/modprobe.d/a.conf").mkdir()
    (tmp_path / "etc/modprobe.d/c.conf").symlink_to("nowhere")
    found = read_config(str(tmp_path))
    assert [entry.module for entry in found.blacklists] == ["x\udcff"]
    assert found.problems == (
        Problem("/etc/modprobe.d/a.conf", 0, "cannot be read: Is a directory"),
        Problem("/etc/modprobe.d/c.conf", 0, "cannot be read: No such file or directory"),
    )
