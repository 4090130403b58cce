"""Parses a command's arguments, and renders its help: argparse's job, at a hundredth of its import time.

`--name VALUE` and `--name=VALUE` are the same, as in getopt_long(3); `--` ends the options; `-` alone is an operand;
the last of an option that is given twice counts. `-h` and `--help` anywhere before `--` ask for help.

A command declares a Syntax next to its function and calls `parse`. What is wrong becomes a UsageError that names what
was expected.
"""

from __future__ import annotations

from modaliasd.core.errors import UsageError
from modaliasd.core.fasttypes import NamedTuple

UNLIMITED = 1 << 30  # operands
WIDTH = 79  # columns of a help text: a terminal's 80, of which some take the last for a line's end
_WIDEST_FIRST = 34  # of two columns
_HELP_NAMES = ("-h", "--help")


class HelpWanted(Exception):  # noqa: N818  (not an error: the way from `--help` to whoever prints)
    """The arguments ask for help, which is this exception's text."""


class Option(NamedTuple):
    """One option. value: what it takes, as the help names it ("FILE"), "" for a switch; choices: its only values."""

    name: str
    meaning: str
    value: str = ""
    choices: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The option as a usage line shows it: `--ledger FILE`, `--by device|module|time`, `--full`."""
        value = "|".join(self.choices) or self.value
        return f"{self.name} {value}" if value else self.name


class Arguments(NamedTuple):
    """What was given: the operands in order, and each option's value ("" for a switch)."""

    operands: tuple[str, ...]
    options: dict[str, str]

    def given(self, name: str) -> bool:
        """Return whether the option was given."""
        return name in self.options

    def value(self, name: str, default: str) -> str:
        """Return the option's value, or `default` where it was not given."""
        return self.options.get(name, default)


class Syntax(NamedTuple):
    """What a command takes, and what its help says.

    operands: as the usage line shows them; least and most: how many there may be. examples: (command line, what it
    does). statuses: what the exit status means, beyond 0, 100 and 111.
    """

    command: str
    description: str
    examples: tuple[tuple[str, str], ...]
    options: tuple[Option, ...] = ()
    operands: str = ""
    least: int = 0
    most: int = 0
    statuses: str = ""


def parse(syntax: Syntax, arguments: list[str]) -> Arguments:
    """Take the arguments apart. Raises HelpWanted, and UsageError for what the command does not take."""
    known = {option.name: option for option in syntax.options}
    operands: list[str] = []
    given: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if word == "--":
            operands += words
        elif word in _HELP_NAMES:
            raise HelpWanted(help_text(syntax))
        elif word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            if name not in known:
                raise UsageError(_unknown_option(syntax, name))
            option = known[name]
            if option.value or option.choices:
                value = value if equals else next(words, "")
                _check_value(syntax, option, value, separate=not equals)
            elif equals:
                raise UsageError(f"{syntax.command}: `{name}` takes no value, got `{value}`")
            given[name] = value
        else:
            operands.append(word)
    if not syntax.least <= len(operands) <= syntax.most:
        raise UsageError(_wrong_operands(syntax, operands))
    return Arguments(tuple(operands), given)


def usage_line(syntax: Syntax) -> str:
    """`usage: modaliasd COMMAND [--option VALUE] OPERAND`, in as many lines as it needs."""
    words = [f"[{option.shown}]" for option in syntax.options]
    if syntax.operands:
        words.append(syntax.operands)
    start = f"usage: modaliasd {syntax.command}"
    lines, line = [], start
    for word in words:
        if len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " " * len(start)
        line += f" {word}"
    return "\n".join([*lines, line])


def help_text(syntax: Syntax) -> str:
    """Return all that `--help` prints."""
    parts = [usage_line(syntax) + "\n", fold(syntax.description)]
    rows = [(option.shown, option.meaning) for option in syntax.options]
    rows.append(("-h, --help", "print this help"))
    parts.append("options:\n" + columns(rows))
    parts.append("examples:\n" + columns([(f"modaliasd {line}", does) for line, does in syntax.examples]))
    if syntax.statuses:
        parts.append(fold(f"exit status: {syntax.statuses}") + "\n")
    return "\n".join(parts)


def fold(text: str, width: int = WIDTH) -> str:
    """Fold each paragraph to the width, but for words that are wider; lines that are set in stay as they are."""
    lines: list[str] = []
    is_open = False
    for line in text.split("\n"):
        is_plain = line[:1] not in ("", " ")
        for word in line.split() if is_plain else ():
            if is_open and len(lines[-1]) + 1 + len(word) <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
            is_open = True
        if not is_plain:
            lines.append(line.rstrip())
            is_open = False
    return "\n".join(lines)


def columns(rows: list[tuple[str, str]]) -> str:
    """Two columns; the second begins in one place, and on a line of its own behind a first that is too wide."""
    wide = min(_WIDEST_FIRST, max((len(left) for left, _ in rows), default=0))
    lines = []
    for left, right in rows:
        first, *more = fold(right, WIDTH - wide - 4).split("\n")
        if len(left) > wide:
            lines += [f"  {left}", f"  {'':<{wide}}  {first}"]
        else:
            lines.append(f"  {left:<{wide}}  {first}")
        lines += [f"  {'':<{wide}}  {line}" for line in more]
    return "".join(f"{line}\n" for line in lines)


def _check_value(syntax: Syntax, option: Option, value: str, *, separate: bool) -> None:
    """Refuse a value that is missing, is one of the command's options, or is none of the option's choices."""
    expected = f"one of {', '.join(option.choices)}" if option.choices else option.value
    if not value:
        raise UsageError(f"{syntax.command}: `{option.name}` needs a value: {expected}")
    names = {other.name for other in syntax.options}
    if separate and value.partition("=")[0] in names | {"--", *_HELP_NAMES}:
        raise UsageError(
            f"{syntax.command}: `{option.name}` needs a value: {expected}; got the option `{value}`"
        )
    if option.choices and value not in option.choices:
        raise UsageError(f"{syntax.command}: invalid value `{value}` for `{option.name}`: give {expected}")


def _unknown_option(syntax: Syntax, name: str) -> str:
    from modaliasd.core.near import did_you_mean

    names = [option.name for option in syntax.options]
    near = did_you_mean(name, names) or "."
    there_are = f"Options: {', '.join([*names, '--help'])}" if names else "It has only --help"
    return f"{syntax.command}: unknown option `{name}`{near} {there_are}"


def _wrong_operands(syntax: Syntax, operands: list[str]) -> str:
    usage = f"modaliasd {syntax.command} {syntax.operands}".rstrip()
    if len(operands) < syntax.least:
        return f"{syntax.command}: missing argument; expected `{usage}`"
    surplus = " ".join(operands[syntax.most :])
    return f"{syntax.command}: unexpected argument `{surplus}`; expected `{usage}`"


LEDGER_OPTION = Option("--ledger", "read FILE instead of /run/modaliasd/ledger.jsonl", "FILE")
JSON_OPTION = Option("--json", "print one JSON object")
COLOR_OPTION = Option(
    "--color", "colours: always, never, or (auto, the default) on a terminal", "", ("auto", "always", "never")
)
