"""Which modules of Python's standard library a program needs: the closure of its imports (imports.py).

Pure: sources are brought by a function of the caller. What no source shows, the imports of modules in C (`array`
imports collections.abc), is seen by running: a function of the caller imports modules and tells which came along.

Of the program itself every import counts, wherever it stands, but for those that only a type checker
follows. Of the standard library only those count that run when a module is imported: `os` imports
subprocess inside popen(), `pickle` doctest where it is run as a program, and whoever does not do that shall
not pay for it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hostbuild.image.sources.imports import imported

Reader = Callable[[bytes, str, bool], list[tuple[str, str]]]

# What the interpreter imports at its start, before any program, and cannot start without; `site` unless -S.
START_UP = (
    "abc",
    "codecs",
    "encodings",
    "encodings.aliases",
    "encodings.ascii",
    "encodings.latin_1",
    "encodings.utf_8",
    "io",
    "os",
    "site",
    "stat",
)


def start_up(version: str) -> tuple[str, ...]:
    """Return what the interpreter of this version ("3.11") cannot start without."""
    # since 3.13 the text of -c is kept for tracebacks (Python/pythonrun.c)
    newer = tuple(map(int, version.split("."))) >= (3, 13)
    return (*START_UP, "linecache") if newer else START_UP


class Origin(Enum):
    """Where the interpreter finds a module."""

    SOURCE = "source"
    EXTENSION = "extension"
    FROZEN = "frozen"
    BUILTIN = "builtin"


@dataclass(frozen=True, slots=True)
class Found:
    """A module of the library. path: its file, None for one that is built in."""

    origin: Origin
    path: Path | None = None
    source: bytes = b""

    @property
    def is_package(self) -> bool:
        """Whether the module is a package's __init__."""
        return self.path is not None and self.path.name == "__init__.py"


@dataclass(frozen=True, slots=True)
class Closure:
    """Modules by name, sorted; and the names that nobody has, with one module that imports each."""

    modules: dict[str, Found]
    missing: dict[str, str]

    def __or__(self, other: "Closure") -> "Closure":
        """Return what either has; missing is what one of them misses and none has."""
        modules = self.modules | other.modules
        missing = {name: who for name, who in (other.missing | self.missing).items() if name not in modules}
        return Closure(dict(sorted(modules.items())), dict(sorted(missing.items())))


def close(
    roots: Iterable[str],
    find: Callable[[str], Found | None],
    without: frozenset[str] = frozenset(),
    read: Reader = imported,
) -> Closure:
    """Follow imports from `roots`. A parent package comes with its module.

    without: modules that count as not there, whoever imports them. read: what reads a source, as imported() does.
    """
    modules: dict[str, Found] = {}
    missing: dict[str, str] = {}
    waiting = [(root, "") for root in roots]
    while waiting:
        name, importer = waiting.pop()
        if name in modules or name in missing:
            continue
        found = None if name in without else find(name)
        if found is None:
            missing[name] = importer
            continue
        modules[name] = found
        if "." in name:
            waiting.append((name.rpartition(".")[0], name))
        if found.source:
            package = name if found.is_package else name.rpartition(".")[0]
            for wanted in imports(found.source, package, inside_functions=False, read=read):
                waiting.extend((candidate, name) for candidate in _existing(wanted, find))
    return Closure(dict(sorted(modules.items())), dict(sorted(missing.items())))


def complete(
    closure: Closure,
    find: Callable[[str], Found | None],
    observe: Callable[[list[str], frozenset[str]], set[str]],
    read: Reader = imported,
) -> Closure:
    """Add what the closure's modules import in ways that no source shows, until nothing new comes.

    observe: imports the modules it is given, hiding those named second, and gives the names of all modules that were
    there afterwards. Those without a file are left out: aliases (`os.path`), and what the interpreter itself has.
    """
    observed: set[str] = set()
    while fresh := sorted(closure.modules.keys() - observed):
        observed.update(fresh)
        hidden = frozenset(closure.missing)
        loaded = observe(fresh, hidden)
        strangers = {name: find(name) for name in sorted(loaded - closure.modules.keys() - hidden)}
        escaped = [name for name, found in strangers.items() if found is not None and found.path is not None]
        closure |= close(escaped, find, hidden, read)
    return closure


@dataclass(frozen=True, slots=True)
class Import:
    """One import: `import module`, or `from module import name` where `name` may be a submodule or not."""

    module: str
    name: str = ""


def imports(source: bytes, package: str, *, inside_functions: bool, read: Reader = imported) -> list[Import]:
    """Return what a module imports, in the order of its text.

    package: the package that relative imports start from, "" for a module outside of any.
    inside_functions: count the imports that run when a function is called, too. read: what reads a source, as
    imported() does.
    """
    return [Import(*one) for one in read(source, package, inside_functions)]


def roots(found: Iterable[Import], find: Callable[[str], Found | None]) -> list[str]:
    """Return the module names that imports mean, asking `find` which `from` names are submodules."""
    return sorted({name for one in found for name in _existing(one, find)})


def _existing(wanted: Import, find: Callable[[str], Found | None]) -> list[str]:
    names = [wanted.module]
    if wanted.name and wanted.name != "*":
        submodule = f"{wanted.module}.{wanted.name}"
        if find(submodule) is not None:
            names.append(submodule)
    return names
