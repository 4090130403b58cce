"""The commands that the documentation shows: found in its pages, and read by the real command lines, not run."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from markdown_it import MarkdownIt

from hostbuild.fs.path_types import InputPath, InputWord, OutputPath
from hostbuild.main import hostbuild
from modaliasd.cli import COMMANDS
from modaliasd.commands.options import HelpWanted
from modaliasd.commands.options import parse as parse_guest
from scripts.command_pages import syntax_of

OURS = ("hostbuild", "modaliasd")
_SHELLS = ("", "sh", "bash", "console")
# What a line of shell begins with in these pages: a block all of whose commands begin so is shell.
_PROGRAMS = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:\. |(?:hostbuild|modaliasd|make|pip|python3?|pytest|apt-get|eval|cp|systemctl|dask|dmesg|"
    r"git|cat|man|chroot)(?=\s|$))"
)
_PROMPT = re.compile(r"(?:\$|/ #) ")
_ENDS = {"&&", "||", "|", ";", "&"}
_REDIRECTIONS = {"<", ">", ">>", ">&"}
# What stands for something else: FILE, X.toml, ..., [--option], A|B.
_PLACEHOLDER = re.compile(r"\.\.\.|[A-Z][A-Z0-9_.:-]*|.*[\[\]<>|…].*")
_FILES = (InputPath, InputWord, OutputPath, click.Path)


class Shown(NamedTuple):
    """Shell in a page. line: where, from 1; whole: it is typed as it stands, without placeholders."""

    page: str
    line: int
    text: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def blocks_of(page: Path) -> Iterator[Shown]:
    """Give the page's blocks of shell: where they have prompts, without what is printed."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "code_block" or (token.type == "fence" and token.info.strip() in _SHELLS):
            assert token.map
            first = token.map[0] + (2 if token.type == "fence" else 1)
            text = typed_of(token.content)
            if text is not None:
                yield Shown(page.name, first, text, whole=True)


def typed_of(block: str) -> str | None:
    """Return what is typed of a block, what is printed as empty lines; None if it is no shell."""
    lines = block.splitlines()
    if any(_PROMPT.match(line) for line in lines):
        kept, going = [], False
        for line in lines:
            prompt = _PROMPT.match(line)
            kept.append(line[prompt.end() :] if prompt else line.removeprefix("> ") if going else "")
            going = bool(kept[-1]) and line.endswith("\\")
        return "\n".join(kept)
    whole = [line for line in block.replace("\\\n", "").splitlines() if line.strip()]
    return block if whole and all(map(_PROGRAMS.match, whole)) else None


def codes_of(page: Path) -> Iterator[Shown]:
    """Give what stands in backticks in the page's text."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == "code_inline":
                line = token.map[0] + 1 if token.map else 0
                yield Shown(page.name, line, " ".join(child.content.split()), whole=False)


def commands_of(shown: Shown) -> Iterator[tuple[Shown, list[str]]]:
    """Give each simple command of a piece of shell, with its words."""
    lines = re.sub(r"\\\n", "  ", shown.text).split("\n")
    number = shown.line
    for line in lines:
        words: list[str] = []
        for token in [*_tokens(line), ";"]:
            if token in _ENDS:
                if words:
                    yield shown._replace(line=number, text=line.strip()), words
                words = []
            else:
                words.append(token)
        number += 1


def _tokens(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:  # an apostrophe, in code that is no shell
        return line.split()
    kept = []
    skip = False
    for token in tokens:
        if not skip and token not in _REDIRECTIONS:
            kept.append(token)
        skip = token in _REDIRECTIONS
    return kept


def complaint(words: Sequence[str], *, whole: bool) -> str | None:
    """Return what the command line of ours says against these words; None if it takes them.

    whole: operands that must be there are, and values are looked at as far as they can be without files.
    """
    try:
        if words[0] == "hostbuild":
            _read(hostbuild, "hostbuild", list(words[1:]), None, whole)
        elif len(words) > 1 and not _PLACEHOLDER.fullmatch(words[1]):
            _read_guest(words[1], list(words[2:]), whole)
    except click.BadOptionUsage as e:  # in running text, an option stands without its value
        return e.format_message() if whole or "requires an argument" not in e.message else None
    except click.ClickException as e:
        return e.format_message()
    except HelpWanted:
        return None
    except Exception as e:  # noqa: BLE001 - whatever a value's parser raises is the finding
        return f"{type(e).__name__}: {e}"
    return None


def _read(
    command: click.Command, name: str, words: list[str], parent: click.Context | None, whole: bool
) -> None:
    """Parse by click's own parser: its options, its operands; values are converted, paths are not looked for."""
    ctx = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    given, rest, _ = command.make_parser(ctx).parse_args(list(words))
    params = command.get_params(ctx)
    eager = any(param.is_eager and param.name in given for param in params)  # --help: nothing else counts
    for param in params:
        value = given.get(param.name or "")
        missing = value is None or value == () or "UNSET" in repr(value)
        if whole and not missing and not isinstance(param.type, _FILES):
            for one in value if isinstance(value, (list, tuple)) else [value]:
                _convert(param, ctx, one)
        if whole and missing and param.required and not eager:
            raise click.MissingParameter(ctx=ctx, param=param)
    of_guest = given.get("words")
    if whole and isinstance(of_guest, (list, tuple)) and of_guest and "--" not in words:
        raise click.UsageError(f"{of_guest[0]} is behind no --", ctx)
    if isinstance(command, click.Group):
        if rest and not _PLACEHOLDER.fullmatch(rest[0]):
            sub = command.get_command(ctx, rest[0])
            if sub is None:
                raise click.UsageError(f"no command {rest[0]}", ctx)
            _read(sub, rest[0], rest[1:], ctx, whole)
    elif rest and whole:
        raise click.UsageError(f"unexpected operand {rest[0]}", ctx)


def _convert(param: click.Parameter, ctx: click.Context, value: Any) -> None:
    if isinstance(value, str) and not _PLACEHOLDER.fullmatch(value):
        param.type.convert(value, param, ctx)


def _read_guest(name: str, words: list[str], whole: bool) -> None:
    if name.startswith("-"):
        if name not in ("-h", "--help", "-V", "--version"):
            raise click.UsageError(f"no option {name}")
        return
    rows = {row[0]: row[2] for _, rows in COMMANDS for row in rows}
    if name not in rows:
        raise click.UsageError(f"no command {name}")
    syntax = syntax_of(name, rows[name])
    words = [word.strip("[]") for word in words if word != "..."] if not whole else words
    parse_guest(syntax if whole else syntax._replace(least=0), words)
