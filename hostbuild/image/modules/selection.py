"""Which kernel modules go into an image: a selection, and everything that it brings with it.

A selection is a comma list, read from left to right; for each module the last word that speaks of it counts.

    qemu            a named selection (hostbuild/image/modules/named_selections.py)
    e1000e          a module; `-` and `_` are the same
    snd_*           a glob over module names
    kernel/fs/      everything below a directory; a glob with a `/` in it goes over paths
    -nouveau        any of these, taken out again

What the chosen modules depend on comes too (modules.dep), as does what their softdeps name before and after
(modules.softdep; a softdep may name an alias, as ext4's crc32c) and what they may ask for later (modules.weakdep),
taken out or not: a module without its dependencies cannot be inserted. What modprobe.d adds is in configured.py.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.errors import UsageError
from hostbuild.formats.modules.modfile import plain_path
from hostbuild.fs import answers
from hostbuild.fs.regular import read_regular
from hostbuild.image.modules.named_selections import NAMED, named_selection
from hostbuild.kernels import alias_index
from hostbuild.kernels.kernel import Kernel, KernelError
from hostbuild.kernels.module_files import place_in_tree
from hostbuild.near import did_you_mean, listed
from modaliasd.core.errors import Problem
from modaliasd.core.kmod.glob import matches
from modaliasd.core.kmod.modules_dep import parse_builtin, parse_modules_dep, parse_softdeps
from modaliasd.core.kmod.names import text_of, underscored
from modaliasd.core.kmod.tables import parse_modules_alias, parse_weakdeps

TABLES = (
    "modules.dep",
    "modules.softdep",
    "modules.weakdep",
    "modules.alias",
    "modules.builtin",
)  # that an index is made of
_PATTERN = re.compile(rb"[*?\[:]")  # what no plain name has


# Index's first fields
_Tables = tuple[
    dict[str, str],
    dict[str, tuple[str, ...]],
    dict[str, tuple[str, ...]],
    dict[str, tuple[str, ...]],
    frozenset[str],
]


class SelectionError(UsageError):
    """A selection names something that the kernel does not have."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a kernel's indexes say. Names are modules' names with `_`; paths are relative to the index's
    directory.

    paths: name -> path of its file. depends: name -> all modules that must be there before it.
    wanted: name -> names or aliases that are to be had with it: before, after, or once it is in.
    shadowing: modprobe.d's aliases, as (pattern, module), which hide names and all other aliases.
    aliases: aliases without wildcards -> the modules that answer to them.
    builtin: names of what is inside the kernel itself. problems: lines of the tables that say nothing. arch: the
    kernel's.
    """

    paths: Mapping[str, str]
    depends: Mapping[str, tuple[str, ...]]
    wanted: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    builtin: frozenset[str]
    problems: tuple[Problem, ...] = ()
    shadowing: tuple[tuple[str, str], ...] = ()
    arch: Arch = Arch.AMD64

    def resolve(self, word: str) -> tuple[str, ...]:
        """Give the modules that a word means to modprobe: a module, or all that answer to an alias."""
        name = word.replace("-", "_")
        hiding = [module for pattern, module in self.shadowing if matches(pattern, name)]
        if hiding:
            return tuple(module for module in hiding if module in self.paths)
        if name in self.paths:
            return (name,)
        return () if name in self.builtin else self.aliases.get(name, ())


NO_MODULES = Index({}, {}, {}, {}, frozenset())


def read_index(kernel: Kernel) -> Index:
    """Read a kernel's indexes. Raises KernelError where they are damaged or missing."""
    if kernel.indexes is None:
        raise KernelError(
            f"no modules were found for the kernel {kernel.vmlinuz} ({kernel.version})"
            + "".join(f"; {line}" for line in kernel.left_out),
            hint="name their directory by --modules-dir, or build without modules by --modules none",
        )
    directory = kernel.indexes
    tables = {name: _bytes(directory / name, required=name == "modules.dep") for name in TABLES}
    index = replace(_parsed_once(tables), arch=kernel.arch)
    damage = next((problem for problem in index.problems if problem.file == "modules.dep"), None)
    if damage is not None:
        raise KernelError(
            f"{directory}/{damage.file}:{damage.line}: {damage.message}", hint=f"depmod {kernel.version}"
        )
    if not index.paths:
        raise KernelError(f"{directory / 'modules.dep'} lists no module", hint=f"depmod {kernel.version}")
    return index


def _parsed_once(tables: Mapping[str, bytes]) -> Index:
    """Parse tables as parse_index does, the same ones once: all of Debian's take 0.1 s."""

    def parsed() -> tuple[_Tables, list[tuple[str, int, str]]]:
        index = parse_index(tables)
        told = [(problem.file, problem.line, problem.message) for problem in index.problems]
        return (
            dict(index.paths),
            dict(index.depends),
            dict(index.wanted),
            dict(index.aliases),
            index.builtin,
        ), told

    code = answers.code_of(__file__) + alias_index.code()
    asked = [f"{name} {answers.digest(data)}" for name, data in tables.items()]
    (paths, depends, wanted, aliases, builtin), told = answers.values(code, asked, parsed)
    return Index(paths, depends, wanted, aliases, builtin, tuple(Problem(*problem) for problem in told))


def parse_index(tables: Mapping[str, bytes]) -> Index:
    """Parse a kernel's tables, by the names of their files; those that are missing are empty."""

    def text(name: str) -> str:
        return text_of(tables.get(name, b""))

    files, not_files = parse_modules_dep(text("modules.dep"))
    softdeps, not_softdeps = parse_softdeps(text("modules.softdep"))
    aliases, not_aliases = parse_modules_alias(tables.get("modules.alias", b""))
    builtin, not_builtin = parse_builtin(text("modules.builtin"))
    weakdeps, not_weakdeps = parse_weakdeps(text("modules.weakdep"))
    wanted: dict[str, tuple[str, ...]] = {}
    for line in softdeps:
        wanted[line.module] = (*wanted.get(line.module, ()), *line.pre, *line.post, *line.others)
    for weak in weakdeps:
        wanted[weak.module] = (*wanted.get(weak.module, ()), *weak.wanted)
    plain: dict[str, tuple[str, ...]] = {}
    for alias in aliases:
        if not _PATTERN.search(alias.pattern):
            name = text_of(alias.pattern).replace("-", "_")
            plain[name] = (*plain.get(name, ()), alias.module)
    return Index(
        paths={name: file.path for name, file in files.items()},
        depends={name: file.needs for name, file in files.items()},
        wanted=wanted,
        aliases=plain,
        builtin=builtin,
        problems=(*not_files, *not_softdeps, *not_weakdeps, *not_aliases, *not_builtin),
    )


def select(selection: str, index: Index) -> list[str]:
    """Return the names of the modules that a selection chooses, sorted, without what they bring with them."""
    words = [word for word in re.split(r"[,\s]+", selection) if word]
    if not words:
        raise SelectionError(
            "the selection of modules is empty", hint="--modules none builds without modules"
        )
    chosen: set[str] = set()
    for word in words:
        taken_out = word.startswith("-")
        word = word.removeprefix("-")
        if word in NAMED:
            # a named selection may speak of modules that this kernel does not have
            found = _choose(named_selection(word, index.arch), index)
        else:
            found = _matching(word, index)
            if not found and not _is_builtin(word, index):
                raise _unknown(word, index)
        chosen = chosen - found if taken_out else chosen | found
    return sorted(chosen)


def named_in(selection: str, index: Index) -> set[str]:
    """Give the modules that a selection asks for by their names, in whose place nothing else would do."""
    words = re.split(r"[,\s]+", selection)
    return {name for word in words if word not in NAMED and (name := _underscored(word)) in index.paths}


def close(names: Iterable[str], index: Index) -> list[str]:
    """Add dependencies, softdeps and weakdeps, theirs too; sorted by name."""
    closed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in closed:
            continue
        closed.add(name)
        waiting.extend(index.depends.get(name, ()))
        for word in index.wanted.get(name, ()):
            waiting.extend(index.resolve(word))
    return sorted(closed)


def _choose(patterns: Iterable[str], index: Index) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("-"):
            chosen -= _matching(pattern[1:], index)
        else:
            chosen |= _matching(pattern, index)
    return chosen


def _matching(word: str, index: Index) -> set[str]:
    if "/" in word:
        fits = (lambda path: path.startswith(word)) if word.endswith("/") else _glob(word)
        return {
            name for name, path in index.paths.items() if fits(plain_path(path)) or fits(place_in_tree(path))
        }
    name = _underscored(word)
    if name in index.paths:
        return {name}
    return set(fnmatch.filter(index.paths, name))


def _glob(pattern: str) -> Callable[[str], bool]:
    return lambda path: fnmatch.fnmatchcase(path, pattern)


def _is_builtin(word: str, index: Index) -> bool:
    return _underscored(word) in index.builtin


def _underscored(word: str) -> str:
    """Turn `-` into `_`, as module names have it, but not inside the brackets of a glob."""
    return underscored(word) or word


def _unknown(word: str, index: Index) -> SelectionError:
    named = (
        f"a selection is {listed(sorted(NAMED), 'or')}, a module, a glob, or a directory with / at its end"
    )
    return SelectionError(
        f"the kernel has no module that {word!r} chooses{did_you_mean(word, [*NAMED, *index.paths])}",
        hint=named,
    )


def _bytes(path: Path, *, required: bool) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError as e:
        if required:
            raise KernelError(f"cannot read {path}: it does not exist", hint="depmod creates it") from e
        return b""
    except OSError as e:
        raise KernelError(f"cannot read {path}: {e.strerror}") from e
