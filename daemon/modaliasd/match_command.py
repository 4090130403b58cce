"""`modaliasd match`: which modules a modalias stands for, by the same stages as kmod's `modprobe -R`."""

import os
import sys

from modaliasd.config import read_config
from modaliasd.core.alias import parse_symbols
from modaliasd.core.errors import UsageError
from modaliasd.core.lean import Record
from modaliasd.core.moddep import Dependencies, parse_builtin
from modaliasd.core.modprobed import EMPTY, Configuration
from modaliasd.core.plan import Match
from modaliasd.core.resolve import Resolver
from modaliasd.indexfile import open_index

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, TextIO

HELP = """\
usage: modaliasd match [--modules-dir DIR] [--config-root DIR | --no-config] [--explain] MODALIAS... | -

For each modalias, or each line of standard input with `-`, prints

    MODALIAS<TAB>MODULE,MODULE...

in the order in which the modules would be loaded, with an empty second field where there is none. The answers
are those of `modprobe -R`: aliases of modprobe.d come first, then names of modules, then modules.alias, then
what is built into the kernel. Blacklists do not count.

  --modules-dir DIR   the module tree; default: /lib/modules/ and the running kernel's release
  --config-root DIR   where to look for etc/modprobe.d and the like; default: /
  --no-config         leave modprobe.d out
  --explain           below each answer, a line for each module: <TAB>MODULE<TAB>PATTERN<TAB>FILE:LINE, and
                      "(built in)" behind it where there is nothing to load

Exit status: 0 if something matched, 1 if nothing did, 100 for wrong usage, 111 without a module tree.
"""


class Options(Record):
    """What the command line asks for. modules_dir: "" for the running kernel's."""

    modaliases: tuple[str, ...]
    modules_dir: str = ""
    config_root: str = "/"
    use_config: bool = True
    explain: bool = False


def parse_arguments(arguments: list[str]) -> Options | None:
    """The options, None if help is wanted. Raises UsageError."""
    options = Options(())
    words: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in {"-h", "--help"}:
            return None
        if word == "--":
            words += rest
        elif word == "--explain":
            options = options._replace(explain=True)
        elif word == "--no-config":
            options = options._replace(use_config=False)
        elif name in {"--modules-dir", "--config-root"}:
            value = value if equals else next(rest, "")
            if not value:
                raise UsageError(f"`{name}` needs a directory; `modaliasd match --help` says more")
            options = _with_directory(options, name, value)
        elif word.startswith("-") and word != "-":
            raise UsageError(f"`modaliasd match` has no option `{word}`; `modaliasd match --help` lists them")
        else:
            words.append(word)
    if not words or ("-" in words and len(words) > 1):
        raise UsageError("`modaliasd match` needs modaliases, or `-` alone to read them from standard input")
    return options._replace(modaliases=tuple(words))


def _with_directory(options: Options, name: str, value: str) -> Options:
    if name == "--modules-dir":
        return options._replace(modules_dir=value)
    return options._replace(config_root=value)


def open_resolver(modules_dir: str, configuration: Configuration) -> Resolver:
    """All stages over one module tree; its index is summed up first. Raises WorldError."""
    index = open_index(modules_dir)
    index.check()
    builtin, not_builtin = parse_builtin(_read_text(f"{modules_dir}/modules.builtin"))
    symbols, not_symbols = parse_symbols(_read_text(f"{modules_dir}/modules.symbols"))
    for problem in (*index.warnings, *not_builtin, *not_symbols):
        place = f"{modules_dir}/{problem.file}:{problem.line}"
        sys.stderr.write(f"modaliasd match: {place}: {problem.message}\n")
    dependencies = Dependencies(_read_text(f"{modules_dir}/modules.dep"), builtin)

    def lookup(modalias: str) -> list[tuple[str, str, int, bool]]:
        return [(m.module, m.alias, m.line, m.builtin) for m in index.lookup(modalias)]

    return Resolver(configuration, dependencies, lookup, (), symbols)


def run(arguments: list[str], stdin: "TextIO", stdout: "TextIO") -> int:
    """Answer; the exit status. Bytes that are not UTF-8 pass through unchanged."""
    options = parse_arguments(arguments)
    if options is None:
        stdout.write(HELP)
        return 0
    modules_dir = options.modules_dir or f"/lib/modules/{os.uname().release}"
    configuration = read_config(options.config_root) if options.use_config else EMPTY
    resolver = open_resolver(modules_dir, configuration)
    asked: Iterable[str] = options.modaliases
    if options.modaliases == ("-",):
        asked = _lines(stdin.buffer)
    stdout.flush()
    any_found = False
    for modalias in asked:
        _stage, found = resolver.find(modalias)
        any_found = any_found or bool(found)
        answer = f"{modalias}\t{','.join(match.module for match in found)}\n"
        if options.explain:
            answer += "".join(f"\t{_explanation(match)}\n" for match in found)
        stdout.buffer.write(answer.encode("utf-8", "surrogateescape"))
    stdout.buffer.flush()
    return 0 if any_found else 1


def _explanation(match: Match) -> str:
    place = f"{match.file}:{match.line}" if match.line else match.file
    built_in = " (built in)" if match.builtin else ""
    return f"{match.module}\t{match.alias or match.module}\t{place}{built_in}"


def _lines(stream: "BinaryIO") -> "Iterator[str]":
    for line in stream:
        yield line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def _read_text(path: str) -> str:
    """The file's text, "" where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
