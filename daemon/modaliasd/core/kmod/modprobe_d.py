"""modprobe.d: its syntax, which files of which directories count, and what the kernel's command line adds.

    alias PATTERN MODULE        blacklist MODULE            options MODULE TEXT
    install MODULE COMMAND      remove MODULE COMMAND       softdep MODULE pre: A B post: C

Words are separated by blanks and tabs. A backslash before a line's end joins the next line; before anything
else it vanishes. A comment is a line whose very first character is `#`. `-` counts as `_` outside brackets in
module names and patterns; brackets have to be balanced. What is not understood is left out and becomes a
Problem. `weakdep` (kmod 33) says nothing about loading and is accepted. Source: kmod's libkmod-config.c,
shared/util.c; modprobe.d(5).
"""

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.modules_dep import Softdep, softdep
from modaliasd.core.kmod.names import underscored
from modaliasd.core.settings import KERNEL_COMMAND_LINE, split_words

DIRECTORIES = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
_DEPRECATED = ("include", "config")


class AliasLine(NamedTuple):
    """`alias`: a lookup that matches `pattern` means `module`."""

    pattern: str
    module: str
    file: str
    line: int


class Blacklist(NamedTuple):
    """`blacklist`: exact name of a module, no pattern."""

    module: str
    file: str
    line: int


class OptionsLine(NamedTuple):
    """`options`: `text` goes to the kernel with the module; `module` may be the alias it is reached by."""

    module: str
    text: str
    file: str
    line: int


class Command(NamedTuple):
    """`install` and `remove`: what the shell runs instead. `module` may be a pattern."""

    module: str
    text: str
    file: str
    line: int


class Configuration(NamedTuple):
    """Everything configured, in the order of the files and their lines.

    kernel_blacklist: what the kernel itself refuses to load (`module_blacklist=`).
    """

    aliases: tuple[AliasLine, ...] = ()
    blacklists: tuple[Blacklist, ...] = ()
    options: tuple[OptionsLine, ...] = ()
    installs: tuple[Command, ...] = ()
    removes: tuple[Command, ...] = ()
    softdeps: tuple[Softdep, ...] = ()
    problems: tuple[Problem, ...] = ()
    kernel_blacklist: tuple[Blacklist, ...] = ()


EMPTY = Configuration()


def topic_of(problem: Problem) -> str:
    """Return the `what` of the ledger's `warning` about a problem of the configuration."""
    return "command line" if problem.file == KERNEL_COMMAND_LINE else "modprobe.d"


def counting_files(listings: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """Return which (directory, name) are read, in order, given what lies in each directory, first directory first.

    A name hides the same name in later directories; all together are sorted by name, as bytes.
    """
    chosen: dict[str, str] = {}
    for directory, names in listings:
        for name in names:
            if not name.startswith(".") and len(name) > 5 and name.endswith((".conf", ".alias")):
                chosen.setdefault(name, directory)
    names = sorted(chosen, key=lambda name: name.encode("utf-8", "surrogateescape"))
    return [(chosen[name], name) for name in names]


def parse_modprobe_d(files: list[tuple[str, str]]) -> Configuration:
    """Parse the files, given as (path, text) pairs in their order."""
    lists = _Lists()
    for path, text in files:
        lists.add_file(path, text)
    return lists.configuration()


def join(first: Configuration, second: Configuration) -> Configuration:
    """Both configurations as one, the entries of `first` before those of `second`."""
    return Configuration(
        first.aliases + second.aliases,
        first.blacklists + second.blacklists,
        first.options + second.options,
        first.installs + second.installs,
        first.removes + second.removes,
        first.softdeps + second.softdeps,
        first.problems + second.problems,
        first.kernel_blacklist + second.kernel_blacklist,
    )


def parse_command_line(text: str, file: str = KERNEL_COMMAND_LINE) -> Configuration:
    """Parse what the kernel's command line says about modules; kmod's reading of quotes and dots.

    `modprobe.blacklist=a,b`, `MODULE.PARAMETER=value` (or without a value), `module_blacklist=a,b` (the
    kernel's own, the last one counts). Values may hold blanks inside double quotes. `modaliasd.*` words are
    no module's parameters: core/settings.py reads them.
    Unlike kmod, which compares the names in `modprobe.blacklist=` as they are, dashes in them count as
    underscores, as in busybox.
    """
    lists = _Lists()
    denied = ""
    for word in split_words(text):
        name, equals, value = _requoted(word).partition("=")
        module, dot, parameter = name.partition(".")
        if name.replace("-", "_") == "module_blacklist" and equals:
            denied = value.strip('"')
        elif not dot or not module or "." in parameter or '"' in name:
            continue
        elif module == "modprobe" and parameter == "blacklist" and equals:
            names = value.strip('"').replace("-", "_").split(",")
            lists.blacklists += [Blacklist(denial, file, 0) for denial in names if denial]
        elif module != "modaliasd":
            lists.options.append(OptionsLine(module.replace("-", "_"), parameter + equals + value, file, 0))
    kernel = tuple(Blacklist(name, file, 0) for name in denied.split(",") if name)
    return lists.configuration()._replace(kernel_blacklist=kernel)


class _Lists:
    """The entries found so far, and the file being read."""

    def __init__(self) -> None:
        self.file = ""
        self.aliases: list[AliasLine] = []
        self.blacklists: list[Blacklist] = []
        self.options: list[OptionsLine] = []
        self.installs: list[Command] = []
        self.removes: list[Command] = []
        self.softdeps: list[Softdep] = []
        self.problems: list[Problem] = []

    def configuration(self) -> Configuration:
        """Return what was found, frozen."""
        return Configuration(
            tuple(self.aliases),
            tuple(self.blacklists),
            tuple(self.options),
            tuple(self.installs),
            tuple(self.removes),
            tuple(self.softdeps),
            tuple(self.problems),
        )

    def add_file(self, path: str, text: str) -> None:
        """Take one file in."""
        self.file = path
        for number, line in _logical_lines(text):
            if not line.strip("\t ") or line.startswith("#"):
                continue
            problem = self.add(number, line)
            if problem:
                self.problems.append(Problem(path, number, problem))
            if line.endswith("\r"):
                message = "the line ends with a carriage return, which counts as part of its last word"
                self.problems.append(Problem(path, number, message))

    def add(self, number: int, line: str) -> str:
        """Take one logical line in; gives what is wrong with it, "" if nothing."""
        keyword, rest = _token(line)
        if keyword in _DEPRECATED:
            return f"{keyword!r} is obsolete (only busybox reads 'include'): the line is ignored"
        if keyword == "weakdep":
            return ""
        if keyword.startswith("#"):
            return "a comment must begin in the first column: the line is ignored"
        if keyword not in ("alias", "blacklist", "options", "install", "remove", "softdep"):
            return f"unknown keyword {keyword!r}: the line is ignored"
        subject, rest = _token(rest)
        if not subject:
            return f"{keyword!r} without a module's name: the line is ignored"
        module = underscored(subject)
        if module is None:
            return f"unbalanced brackets in {subject!r}: the line is ignored"
        if keyword == "blacklist":
            self.blacklists.append(Blacklist(module, self.file, number))
            return f"only the first name counts, {rest.strip()!r} is ignored" if rest.strip() else ""
        if keyword == "alias":
            return self._add_alias(number, module, rest)
        if not rest:
            return f"'{keyword} {subject}' with nothing after it: the line is ignored"
        self._add_text(number, keyword, module, rest)
        if keyword == "softdep" and not (self.softdeps[-1].pre or self.softdeps[-1].post):
            return f"'softdep {subject}' names no module after 'pre:' or 'post:': it has no effect"
        return ""

    def _add_alias(self, number: int, pattern: str, rest: str) -> str:
        target, rest = _token(rest)
        if not target:
            return f"'alias {pattern}' without a module's name: the line is ignored"
        module = underscored(target)
        if module is None:
            return f"unbalanced brackets in {target!r}: the line is ignored"
        self.aliases.append(AliasLine(pattern, module, self.file, number))
        return f"only one module counts, {rest.strip()!r} is ignored" if rest.strip() else ""

    def _add_text(self, number: int, keyword: str, module: str, text: str) -> None:
        if keyword == "options":
            self.options.append(OptionsLine(module, text.replace("\t", " ").strip(" "), self.file, number))
        elif keyword == "install":
            self.installs.append(Command(module, text.strip(" \t"), self.file, number))
        elif keyword == "remove":
            self.removes.append(Command(module, text.strip(" \t"), self.file, number))
        else:
            self.softdeps.append(softdep(module, text.split(), self.file, number))


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return (number of the first physical line, text), continuations joined and other backslashes dropped."""
    if "\\" not in text:
        return list(enumerate(text.split("\n"), 1))
    lines: list[tuple[int, str]] = []
    number, start, line = 1, 1, ""
    pieces = iter(text)
    for character in pieces:
        if character == "\n":
            lines.append((start, line))
            number += 1
            start, line = number, ""
            continue
        if character == "\\":
            character = next(pieces, "")
            if character == "\n":
                number += 1
                continue
        line += character
    return [*lines, (start, line)]


def _token(text: str) -> tuple[str, str]:
    """Return the first word, and what follows the one separator behind it (strtok_r with blank and tab)."""
    text = text.lstrip("\t ")
    ends = [at for at in (text.find(" "), text.find("\t")) if at >= 0]
    if not ends:
        return text, ""
    return text[: min(ends)], text[min(ends) + 1 :]


def _requoted(word: str) -> str:
    """`"module.param=a b"`, as some boot loaders pass it, becomes `module.param="a b"`."""
    if not word.startswith('"'):
        return word
    name, equals, value = word[1:].partition("=")
    return f'{name}="{value}' if equals else word
