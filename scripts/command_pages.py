"""What the commands' help says, as values: one page a command of hostbuild's, one for all of modaliasd's.

man_pages.py writes them as roff, site/options.py as Markdown.
"""

import importlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import click

from hostbuild.main import hostbuild
from modaliasd.cli import COMMANDS
from modaliasd.commands.options import Syntax

_STATUSES = (
    ("0", "done"),
    ("1", "the answer is no, where a command answers a question"),
    ("100", "wrong usage or input"),
    ("111", "this machine lacks something, or a bug of ours"),
    ("112", "the guest was lost: a panic, a lack of memory"),
    ("124", "the time limit has passed"),
    ("127", "a command is not in the guest"),
)
_GUEST_STATUSES = _STATUSES[:4]
_FILES = (
    ("hostbuild.toml", "defaults of the options, found from the current directory upwards"),
    ("~/.cache/hostbuild", "what is kept between runs: hostbuild cache shows and trims it"),
)
_GUEST_FILES = (
    ("/run/modaliasd/ledger.jsonl", "which device caused which load, and what became of it"),
    ("/etc/modaliasd/policy.toml", "which modules may be loaded"),
    ("/etc/modprobe.d, /etc/modules-load.d", "as modprobe and systemd have them"),
)


class Text(NamedTuple):
    """A paragraph, in one line."""

    text: str


class Lines(NamedTuple):
    """Lines that stay as they are."""

    lines: tuple[str, ...]


class Synopsis(NamedTuple):
    """A command as it is typed: its words, and what may follow them."""

    command: str
    pieces: str


class Item(NamedTuple):
    """An option, a file or a status, and what it means."""

    term: str
    meaning: str


class Heading(NamedTuple):
    """A heading inside a section."""

    title: str


class See(NamedTuple):
    """Other pages, by their names: `hostbuild-run`."""

    names: tuple[str, ...]


Block = Text | Lines | Synopsis | Item | Heading | See


class CommandPage(NamedTuple):
    """A command's page. name: `hostbuild-run`; short: what it does; sections: title and blocks.

    A section without a title goes on with the one before it.
    """

    name: str
    program: str
    short: str
    sections: tuple[tuple[str, tuple[Block, ...]], ...]


def command_pages() -> Iterator[CommandPage]:
    """Give each page: modaliasd's, hostbuild's, then those of its commands, a group's behind the group."""
    yield _guest_page()
    yield from _host_pages(hostbuild, _context(hostbuild, "hostbuild"))


def _host_pages(command: click.Command, ctx: click.Context) -> Iterator[CommandPage]:
    words = ctx.command_path.split()
    name = "-".join(words)
    whole, first = _description(command)
    sections: list[tuple[str, tuple[Block, ...]]] = [
        ("synopsis", (Synopsis(" ".join(words), " ".join(command.collect_usage_pieces(ctx))),)),
        ("description", tuple(whole)),
    ]
    records = [record for param in command.get_params(ctx) if (record := param.get_help_record(ctx))]
    if records:
        sections.append(("options", tuple(_item(left, right) for left, right in records)))
    below: list[tuple[str, click.Command]] = []
    if isinstance(command, click.Group):
        listed = [(one, command.get_command(ctx, one)) for one in command.list_commands(ctx)]
        below = [(one, sub) for one, sub in listed if sub is not None]
        items = [_item(f"{name}-{one}(1)", _description(sub)[1]) for one, sub in below]
        sections.append(("commands", tuple(items)))
    sections += _epilog(command.epilog or "")
    if len(words) == 1:
        sections.append(("exit status", tuple(_item(*one) for one in _STATUSES)))
        sections.append(("files", tuple(_item(*one) for one in _FILES)))
    above = ctx.parent.command_path.split() if ctx.parent else []
    sections.append(("see also", (See((*(["-".join(above)] if above else []), "modaliasd")),)))
    yield CommandPage(name, "hostbuild", first or command.get_short_help_str(limit=200), tuple(sections))
    for one, sub in below:
        yield from _host_pages(sub, _context(sub, one, ctx))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _guest_page() -> CommandPage:
    sections: list[tuple[str, tuple[Block, ...]]] = [
        ("synopsis", (Synopsis("modaliasd", "COMMAND [ARGUMENT]..."),)),
        (
            "description",
            (
                Text(
                    "The daemon walks /sys, matches every device's modalias against modules.alias, has modprobe insert "
                    "what matches, goes on with hotplug, and writes down why in its ledger. The other commands ask it, "
                    "or read the ledger; several work on any machine, without a daemon."
                ),
            ),
        ),
    ]
    for group, commands in COMMANDS:
        blocks = [block for one in commands for block in _guest_command(*one)]
        sections.append((group, tuple(blocks)))
    sections.append(("exit status", tuple(_item(*one) for one in _GUEST_STATUSES)))
    sections.append(("files", tuple(_item(*one) for one in _GUEST_FILES)))
    sections.append(("see also", (See(("hostbuild", "modprobe", "udevadm")),)))
    short = "load the kernel modules that devices ask for, and say which device caused each load"
    return CommandPage("modaliasd", "modaliasd", short, tuple(sections))


def _guest_command(name: str, operands: str, where: str, short: str) -> Iterator[Block]:
    syntax = syntax_of(name, where)
    words = [f"[{option.shown}]" for option in syntax.options] + ([operands] if operands else [])
    yield Heading(name)
    yield Synopsis(f"modaliasd {name}", " ".join(words))
    yield from _paragraphs(syntax.description or short)
    for option in syntax.options:
        yield _item(option.shown, option.meaning)
    if syntax.examples:
        yield Lines(tuple(f"modaliasd {line}    # {does}" for line, does in syntax.examples))
    if syntax.statuses:
        yield Text(f"Exit status: {syntax.statuses}.")


def syntax_of(name: str, where: str) -> Syntax:
    """Return what a command of modaliasd's takes; where: its row's "module:function"."""
    module = importlib.import_module(where.partition(":")[0])
    [found] = {one for one in vars(module).values() if isinstance(one, Syntax) and one.command == name}
    return found


def _description(command: click.Command) -> tuple[list[Block], str]:
    """Return a command's help as blocks, and its first sentence."""
    text = (command.help or command.short_help or "").partition("\f")[0].strip()
    return _paragraphs(text), " ".join(text.partition("\n\n")[0].split())


def _epilog(text: str) -> Iterator[tuple[str, tuple[Block, ...]]]:
    """Give what stands under the options; what is no example goes on in the section before, so it has no title."""
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line for line in block.split("\n") if line.strip() != "\b"]
        if not lines or not lines[0].strip():
            continue
        title = lines[0].strip()
        kept = tuple(line.removeprefix("  ") for line in lines[1:])
        if title == "Examples:":
            yield "examples", (Lines(kept),)
        elif kept and title.endswith(":"):
            yield "", (Text(title), Lines(kept))
        else:
            yield "", (Text(" ".join(lines)),)


def _paragraphs(text: str) -> list[Block]:
    """Paragraphs as click has them: filled, but for those that begin with \\b."""
    found: list[Block] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.split("\n")
        if lines[0].strip() == "\b":
            found.append(Lines(tuple(line.removeprefix("  ") for line in lines[1:])))
        else:
            found.append(Text(" ".join(line.strip() for line in lines)))
    return found


def _item(left: str, right: str) -> Item:
    return Item(left, " ".join(right.split()))
