"""`modaliasd match`: which modules a modalias stands for, by the same stages as kmod's `modprobe -R`."""

from __future__ import annotations

import os
import sys

from modaliasd.commands.options import UNLIMITED, Option, Syntax, parse
from modaliasd.core.errors import UsageError
from modaliasd.core.kmod.modprobe_d import EMPTY, Configuration
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.kmod.tables import parse_symbols
from modaliasd.core.printable import printable
from modaliasd.linux.config import read_config, read_text
from modaliasd.linux.fullsystem.moduletree import require_tree
from modaliasd.linux.indexfile import open_index

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, TextIO

    from modaliasd.core.kmod.plan import Match

MATCH = Syntax(
    "match",
    """\
For each modalias, or each line of standard input with `-`, prints

    MODALIAS<TAB>MODULE,MODULE...

in the order in which the modules would be loaded; the second field is empty where nothing matches. The answers
are those of `modprobe -R`: aliases of modprobe.d come first, then names of modules, then modules.alias, then
what is built into the kernel. Blacklists are not applied.
""",
    (
        ("match pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", "the modules for one device"),
        ("match --explain - <modaliases", "many at once, with the pattern and line that matched"),
    ),
    (
        Option("--modules-dir", "the module tree; default: the running kernel's in /lib/modules", "DIR"),
        Option("--config-root", "where to look for etc/modprobe.d and the like; default: /", "DIR"),
        Option("--no-config", "leave modprobe.d out"),
        Option(
            "--explain",
            "below each answer, a line for each module: <TAB>MODULE<TAB>PATTERN<TAB>FILE:LINE,\n"
            'and "(built in)" after it where there is nothing to load',
        ),
        Option("--json", "print one JSON object a line, with all that --explain says"),
    ),
    "MODALIAS... | -",
    1,
    UNLIMITED,
    "0 if something matched, 1 if nothing did",
)


def open_resolver(modules_dir: str, configuration: Configuration) -> Resolver:
    """Return all stages over one module tree; its index is summed up first. Raises WorldError."""
    index = open_index(modules_dir)
    index.check()
    builtin, not_builtin = parse_builtin(_read_text(f"{modules_dir}/modules.builtin"))
    symbols, not_symbols = parse_symbols(_read_text(f"{modules_dir}/modules.symbols"))
    for problem in (*index.warnings, *not_builtin, *not_symbols):
        place = f"{modules_dir}/{problem.file}:{problem.line}"
        sys.stderr.write(f"modaliasd match: {printable(f'{place}: {problem.message}')}\n")
    dependencies = Dependencies(_read_text(f"{modules_dir}/modules.dep"), builtin)
    return Resolver(configuration, dependencies, index.lookup, (), symbols)


def run(arguments: list[str]) -> int:
    """Answer; the exit status. Bytes that are not UTF-8 pass through unchanged, but not to a terminal."""
    return answer(arguments, sys.stdin, sys.stdout)


def answer(arguments: list[str], stdin: TextIO, stdout: TextIO) -> int:
    """Answer what `arguments` or the lines of `stdin` ask for."""
    given = parse(MATCH, arguments)
    asked: Iterable[str] = given.operands
    if "-" in given.operands:
        if len(given.operands) > 1:
            raise UsageError("match: unexpected argument: `-` reads all modaliases from standard input")
        asked = _lines(stdin.buffer)
    modules_dir = given.value("--modules-dir", "") or require_tree(os.uname().release)
    configuration = EMPTY if given.given("--no-config") else read_config(given.value("--config-root", "/"))
    resolver = open_resolver(modules_dir, configuration)
    stdout.flush()
    any_found, for_people = False, stdout.isatty()
    for modalias in asked:
        _stage, found = resolver.find(modalias)
        any_found = any_found or bool(found)
        if given.given("--json"):
            stdout.write(_json(modalias, found))
            continue
        rows = [[modalias, ",".join(match.module for match in found)]]
        if given.given("--explain"):
            rows += [["", *_explanation(match)] for match in found]
        for row in rows:
            line = "\t".join(map(printable, row) if for_people else row)
            stdout.buffer.write(f"{line}\n".encode("utf-8", "surrogateescape"))
    stdout.flush()
    return 0 if any_found else 1


def _json(modalias: str, found: Iterable[Match]) -> str:
    """Return an answer as a line; bytes of it that are no text are surrogates (PEP 383), escaped."""
    from json import dumps

    fields = ("module", "alias", "file", "line", "builtin")
    rows = [{name: getattr(match, name) for name in fields} for match in found]
    return dumps({"modalias": modalias, "matches": rows}) + "\n"


def _explanation(match: Match) -> list[str]:
    place = f"{match.file}:{match.line}" if match.line else match.file
    built_in = " (built in)" if match.builtin else ""
    return [match.module, match.alias or match.module, f"{place}{built_in}"]


def _lines(stream: BinaryIO) -> Iterator[str]:
    for line in stream:
        yield line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def _read_text(path: str) -> str:
    """Read the file's text, "" where there is none."""
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""
