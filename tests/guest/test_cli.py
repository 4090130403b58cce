"""The guest's command line: cli.py's table and options.py, held to the same promises for every command."""

import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd import __version__
from modaliasd.cli import COMMANDS, find_command, main, overview
from modaliasd.commands.options import UNLIMITED, Option, Syntax, fold, help_text, parse
from modaliasd.core.errors import UsageError
from modaliasd.core.near import distance, nearest
from modaliasd.service import boot

NAMES = [name for _, commands in COMMANDS for name, *_ in commands]


def syntax_of(name: str) -> Syntax:
    """What the command's module declares."""
    module = sys.modules[find_command(name).__module__]
    (found,) = [one for one in vars(module).values() if isinstance(one, Syntax) and one.command == name]
    return found


SYNTAXES = [syntax_of(name) for name in NAMES]
OPTIONS = [
    pytest.param(syntax, option, id=f"{syntax.command}{option.name}")
    for syntax in SYNTAXES
    for option in syntax.options
]


def operands(syntax: Syntax) -> list[str]:
    return ["x"] * syntax.least


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`modaliasd --help` has a line for each command of the table, with its summary."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for _, commands in COMMANDS:
        for name, shown, _, summary in commands:
            assert any(
                line.startswith(f"  {name} {shown}".rstrip()) and line.endswith(summary)
                for line in out.splitlines()
            ), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", [["{}", "--help"], ["{}", "-h"], ["help", "{}"]], ids=" ".join)
def test_every_command_has_help_with_an_example(
    name: str, way: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Help goes to standard output with status 0; it has the usage, each option, and a way to call the command."""
    assert main([word.format(name) for word in way]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: modaliasd {name}")
    assert "\nexamples:\n" in out
    assert f"\n  modaliasd {name}" in out.partition("\nexamples:\n")[2] or f"  modaliasd {name}" in out
    for option in syntax_of(name).options:
        assert f"  {option.name}" in out
    assert max(map(len, out.splitlines())) <= 116


@pytest.mark.parametrize("syntax", SYNTAXES, ids=[syntax.command for syntax in SYNTAXES])
def test_every_example_is_one_that_the_command_takes(syntax: Syntax) -> None:
    """An example's words are parsed without an error (what stands behind `<` is the shell's)."""
    for line, _ in syntax.examples:
        name, *words = line.partition(" <")[0].split()
        assert name == syntax.command
        parse(syntax, words)


@pytest.mark.parametrize(("syntax", "option"), OPTIONS)
def test_both_forms_of_every_option(syntax: Syntax, option: Option) -> None:
    """`--x=y` and `--x y` mean the same, before and behind the operands; a switch takes no value."""
    value = option.choices[-1] if option.choices else "5"
    takes = bool(option.value or option.choices)
    if not takes:
        assert parse(syntax, [option.name, *operands(syntax)]).options == {option.name: ""}
        with pytest.raises(UsageError, match=f"`{option.name}` takes no value, got `yes`"):
            parse(syntax, [f"{option.name}=yes", *operands(syntax)])
        return
    for words in ([option.name, value], [f"{option.name}={value}"]):
        for line in ([*words, *operands(syntax)], [*operands(syntax), *words]):
            given = parse(syntax, line)
            assert given.options == {option.name: value}
            assert list(given.operands) == operands(syntax)


@pytest.mark.parametrize(("syntax", "option"), OPTIONS)
def test_a_missing_value_says_what_is_expected(
    syntax: Syntax, option: Option, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the end of the line, empty, or with another option in its place: 100, and what the option takes."""
    if not (option.value or option.choices):
        return
    expected = ", ".join(option.choices) or option.value
    for words in ([option.name], [f"{option.name}="], [option.name, option.name]):
        assert main([syntax.command, *operands(syntax), *words]) == 100
        err = capsys.readouterr().err
        assert f"`{option.name}` needs a value" in err
        assert expected in err


@pytest.mark.parametrize("syntax", SYNTAXES, ids=[syntax.command for syntax in SYNTAXES])
def test_unknown_options_and_surplus_arguments(syntax: Syntax, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 100, one line that names the command and what there is, nothing on standard output, no traceback."""
    wrong = [["--nonsense"], ["-x"], ["--nonsense=1"]]
    if syntax.most != UNLIMITED:
        wrong.append(["x"] * (syntax.most + 1))
    if syntax.least:
        wrong.append([])
    for words in wrong:
        assert main([syntax.command, *words]) == 100
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"modaliasd: {syntax.command}: ")
        if words and words[0].startswith("-"):
            assert all(option.name in err for option in syntax.options)
            assert "--help" in err
        else:
            assert f"expected `modaliasd {syntax.command}" in err


def test_a_mistyped_option_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """The near name is offered, for options and commands."""
    assert main(["tree", "--ledgre", "x"]) == 100
    assert "unknown option `--ledgre`; did you mean `--ledger`?" in capsys.readouterr().err
    assert main(["setle"]) == 100
    err = capsys.readouterr().err
    assert err.startswith("modaliasd: unknown command `setle`; did you mean `settle`? Commands: run, ")


def test_what_follows_two_dashes_is_no_option() -> None:
    """`--` ends the options; `-` alone is an operand; of an option given twice the last counts."""
    syntax = Syntax("c", "", (), (Option("--by", "", "X"),), "NAME...", 0, UNLIMITED)
    given = parse(syntax, ["--by=1", "-", "--by", "2", "--", "--by", "--help", "--"])
    assert given.operands == ("-", "--by", "--help", "--")
    assert given.options == {"--by": "2"}
    assert parse(syntax, ["--by=--by"]).options == {"--by": "--by"}


def test_without_arguments_the_overview_and_100(capsys: pytest.CaptureFixture[str]) -> None:
    """No command is wrong usage; `help` and `--version` are not."""
    assert main([]) == 100
    assert capsys.readouterr().out.startswith("usage: modaliasd COMMAND")
    assert main(["help"]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"modaliasd {__version__}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["run"], (False, False, -1)),
        (["run", "--"], (False, False, -1)),
        (["run", "--observe"], (False, True, -1)),
        (["run", "--ready-fd=3"], (False, False, 3)),
        (["coldplug", "--once"], (True, False, -1)),
    ],
)
def test_the_daemon_is_served_by_boot(
    arguments: list[str], called: tuple[bool, bool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` and `coldplug --once` end with what boot.serve gives, and hand on what was asked for."""
    calls: list[tuple[bool, bool, int]] = []

    def serve(*, once: bool = False, observe: bool = False, ready_fd: int = -1) -> int:
        calls.append((once, observe, ready_fd))
        return 7

    monkeypatch.setattr(boot, "serve", serve)
    monkeypatch.setattr("posix.geteuid", lambda: 0)  # --observe is root's
    try:
        assert main(arguments) == 7
    finally:
        gc.enable()
    assert calls == [called]


@pytest.mark.parametrize("number", ["", "x", "-1", "3.0", "9999999"])
def test_a_descriptor_is_a_number(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--ready-fd` takes nothing else; one that nobody has opened is refused as well."""
    assert main(["run", f"--ready-fd={number}"]) == 100
    assert "--ready-fd" in capsys.readouterr().err


def test_help_texts_are_plain() -> None:
    """No help holds a tab or a character that a serial console cannot show."""
    for syntax in SYNTAXES:
        assert help_text(syntax).replace("\n", "").isascii()
        assert help_text(syntax).replace("\n", "").isprintable()


@given(st.text(max_size=8), st.text(max_size=8))
def test_distance_is_a_distance(first: str, second: str) -> None:
    """Nothing to itself, the same both ways, at most the longer word, at least the difference in length."""
    assert distance(first, first) == 0
    assert distance(first, second) == distance(second, first)
    assert abs(len(first) - len(second)) <= distance(first, second) <= max(len(first), len(second))


def test_nearest() -> None:
    """A swap, a letter too many, a beginning; nothing where all is different."""
    names = ["--modules-dir", "--ledger", "--full"]
    assert nearest("--ldeger", names) == "--ledger"
    assert nearest("--mod", names) == "--modules-dir"
    assert nearest("--fulll", names) == "--full"
    assert nearest("--quite-other", names) == ""
    assert nearest("x" * 4000, names) == ""


def test_root_in_an_image_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its help says which image has it, and so does the refusal."""
    monkeypatch.setitem(sys.modules, "modaliasd.rootfs", None)
    assert main(["root", "--help"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: modaliasd root\n")
    assert "make-image --with root" in said.out
    assert main(["root"]) == 100
    assert "make-image --with root" in capsys.readouterr().err


def test_help_fits_a_terminal() -> None:
    """On 80 columns no line of any command's help is wider, nor of the list of commands; no word of it is lost."""
    shown = {syntax.command: help_text(syntax) for syntax in SYNTAXES} | {"": overview()}
    wide = {name: [line for line in text.splitlines() if len(line) > 79] for name, text in shown.items()}
    assert {name: lines for name, lines in wide.items() if lines} == {}
    for syntax in SYNTAXES:
        words = help_text(syntax).split()
        told = [syntax.description, *(option.meaning for option in syntax.options)]
        told += [f"modaliasd {line} {does}" for line, does in syntax.examples]
        for text in told:
            assert any(words[at : at + len(text.split())] == text.split() for at in range(len(words))), text


@given(text=st.text("ab \n", max_size=120), width=st.integers(10, 40))
def test_folding(text: str, width: int) -> None:
    """No line is wider unless a word is; all words stay in their order; lines that are set in stay as they are."""
    folded = fold(text, width)
    assert folded.split() == text.split()
    for line in folded.split("\n"):
        assert len(line) <= width or " " not in line.strip() or line.startswith(" ")
