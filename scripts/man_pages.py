"""The manual pages in docs/man, from what --help prints: hostbuild's commands, one page each, and modaliasd's on one.

    make man
    PYTHONPATH=. .venv/bin/python scripts/man_pages.py DIR     # written elsewhere

tests/test_man_pages.py holds the pages against the commands, and their form against groff's warnings.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from hostbuild.main import hostbuild
from modaliasd import __version__
from modaliasd.cli import COMMANDS
from modaliasd.commands.options import Syntax

PLACE = Path(__file__).resolve().parents[1] / "docs/man"
_STATUSES = (
    ("0", "done"),
    ("1", "the answer is no, where a command answers a question"),
    ("100", "wrong usage or input"),
    ("111", "this machine lacks something, or a bug of ours"),
    ("112", "the guest was lost: a panic, a lack of memory"),
    ("124", "the time limit has passed"),
    ("127", "a command is not in the guest"),
)
# groff_char(7): what roff would read, or print as another character than the one that was typed
_ESCAPES = str.maketrans(
    {"\\": "\\e", "-": "\\-", "`": "\\(ga", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
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


def main(directory: Path) -> None:
    """Write all pages; remove those of commands that are gone."""
    written = dict(pages())
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.1"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (directory / name).write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Give each page: its file's name, and its roff text (man(7))."""
    yield "modaliasd.1", _guest_page()
    yield from _host_pages(hostbuild, _context(hostbuild, "hostbuild"))


def _host_pages(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, str]]:
    words = ctx.command_path.split()
    name = "-".join(words)
    whole, short = _description(command)
    parts = [_head(name, "hostbuild"), _name(name, short or command.get_short_help_str(limit=200))]
    parts.append(_section("SYNOPSIS") + _synopsis(words, command.collect_usage_pieces(ctx)))
    parts.append(_section("DESCRIPTION") + whole)
    records = [record for param in command.get_params(ctx) if (record := param.get_help_record(ctx))]
    if records:
        parts.append(_section("OPTIONS") + "".join(_item(left, right) for left, right in records))
    above = [ctx.parent.command_path] if ctx.parent else []
    if isinstance(command, click.Group):
        listed = [(one, command.get_command(ctx, one)) for one in command.list_commands(ctx)]
        found = [(one, sub) for one, sub in listed if sub is not None]
        shorts = [(f"{name}-{one}(1)", _description(sub)[1]) for one, sub in found]
        parts.append(_section("COMMANDS") + "".join(_item(left, right) for left, right in shorts))
        for one, sub in found:
            yield from _host_pages(sub, _context(sub, one, ctx))
    parts += _epilog(command.epilog or "")
    if len(words) == 1:
        parts.append(_section("EXIT STATUS") + "".join(_item(*one) for one in _STATUSES))
        parts.append(_section("FILES") + "".join(_item(*one) for one in _FILES))
    parts.append(_section("SEE ALSO") + _see([*above, "modaliasd"]))
    yield f"{name}.1", "".join(parts)


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _guest_page() -> str:
    parts = [
        _head("modaliasd", "modaliasd"),
        _name(
            "modaliasd", "load the kernel modules that devices ask for, and say which device caused each load"
        ),
        _section("SYNOPSIS") + _synopsis(["modaliasd"], ["COMMAND", "[ARGUMENT]..."]),
        _section("DESCRIPTION")
        + _paragraphs(
            "The daemon walks /sys, matches every device's modalias against modules.alias, has modprobe insert what "
            "matches, goes on with hotplug, and writes down why in its ledger. The other commands ask it, or read the "
            "ledger; several work on any machine, without a daemon."
        ),
    ]
    for group, commands in COMMANDS:
        parts.append(_section(group.upper()))
        parts += [_guest_command(name, operands, where, short) for name, operands, where, short in commands]
    parts.append(_section("EXIT STATUS") + "".join(_item(*one) for one in _GUEST_STATUSES))
    parts.append(_section("FILES") + "".join(_item(*one) for one in _GUEST_FILES))
    parts.append(_section("SEE ALSO") + _see(["hostbuild", "modprobe", "udevadm"]))
    return "".join(parts)


def _guest_command(name: str, operands: str, where: str, short: str) -> str:
    syntax = _syntax(name, where)
    words = [f"[{option.shown}]" for option in syntax.options] + ([operands] if operands else [])
    parts = [
        f".SS {_escaped(name)}\n",
        _synopsis(["modaliasd", name], words),
        _paragraphs(syntax.description or short),
    ]
    parts += [_item(option.shown, option.meaning) for option in syntax.options]
    if syntax.examples:
        lines = [f"modaliasd {line}    # {does}" for line, does in syntax.examples]
        parts.append(_verbatim(lines))
    if syntax.statuses:
        parts.append(_paragraphs(f"Exit status: {syntax.statuses}."))
    return "".join(parts)


def _syntax(name: str, where: str) -> Syntax:
    module = importlib.import_module(where.partition(":")[0])
    [found] = {one for one in vars(module).values() if isinstance(one, Syntax) and one.command == name}
    return found


def _description(command: click.Command) -> tuple[str, str]:
    """Return a command's help as roff, and its first sentence."""
    text = (command.help or command.short_help or "").partition("\f")[0].strip()
    first = " ".join(text.partition("\n\n")[0].split())
    return _paragraphs(text), first


def _epilog(text: str) -> Iterator[str]:
    """Give what stands under the options: paragraphs, and lines that stay as they are; examples get a section."""
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line for line in block.split("\n") if line.strip() != "\b"]
        if not lines or not lines[0].strip():
            continue
        title = lines[0].strip()
        if title == "Examples:":
            yield _section("EXAMPLES") + _verbatim([line.removeprefix("  ") for line in lines[1:]])
        elif len(lines) > 1 and title.endswith(":"):
            yield _paragraphs(title) + _verbatim([line.removeprefix("  ") for line in lines[1:]])
        else:
            yield _paragraphs(" ".join(lines))


def _head(name: str, program: str) -> str:
    title = f'.TH {name.upper()} 1 "" "{program} {__version__}"'
    return f'.\\" Made by scripts/man_pages.py from what --help prints.\n{title}\n.nh\n.ad l\n'


def _name(name: str, short: str) -> str:
    short = short.rstrip(".")
    return _section("NAME") + f"{_escaped(name)} \\- {_escaped(short[:1].lower() + short[1:])}\n"


def _section(title: str) -> str:
    return f".SH {title}\n"


def _synopsis(command: list[str], pieces: list[str]) -> str:
    return f".B {_escaped(' '.join(command))}\n" + (_line(" ".join(pieces)) if pieces else "")


def _paragraphs(text: str) -> str:
    """Paragraphs as click has them: filled, but for those that begin with \\b."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.split("\n")
        if lines[0].strip() == "\b":
            found.append(_verbatim([line.removeprefix("  ") for line in lines[1:]]))
        else:
            found.append(".PP\n" + _line(" ".join(line.strip() for line in lines)))
    return "".join(found)


def _verbatim(lines: list[str]) -> str:
    return ".PP\n.nf\n.RS 4\n" + "".join(_line(line) for line in lines) + ".RE\n.fi\n"


def _item(left: str, right: str) -> str:
    return f".TP\n.B {_escaped(left)}\n" + _line(" ".join(right.split()))


def _see(names: list[str]) -> str:
    return ", ".join(f"\\fB{_escaped('-'.join(name.split()))}\\fR(1)" for name in names) + "\n"


def _line(text: str) -> str:
    """One line of text: what would be a request of roff's is text all the same."""
    return f"{_escaped(text)}\n"


def _escaped(text: str) -> str:
    text = text.translate(_ESCAPES)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE)
