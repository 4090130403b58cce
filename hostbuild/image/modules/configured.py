"""What an image's modprobe.d, from its overlays, adds to a kernel's tables: whoever loads in the guest reads both.

softdep, weakdep   the modules that go along; a pattern counts for all that it fits
install            the modules that its modprobes name
alias              the modules that it leads to; it hides a module's name, and every other alias
blacklist          nothing: a module may be loaded by its name all the same
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.modules.selection import Index
from modaliasd.core.kmod.glob import is_wildcard, matches
from modaliasd.core.kmod.modprobe_d import DIRECTORIES, Configuration, counting_files, parse_modprobe_d
from modaliasd.core.kmod.modules_dep import configuration_lines
from modaliasd.core.kmod.names import text_of


@dataclass(frozen=True, slots=True)
class ModprobeD:
    """The modprobe.d of an image. files: path in the guest -> text, in the order in which they count.

    weak: its `weakdep` lines, which say nothing about loading: module or pattern, what it may ask for.
    """

    files: Mapping[str, str]
    lines: Configuration
    weak: tuple[tuple[str, tuple[str, ...]], ...] = ()


def read_modprobe_d(tree: FileTree) -> ModprobeD:
    """Read what a tree has of modprobe.d, as the guest will find it there: links are followed inside the tree."""
    listings = [(directory, tree.names(directory[1:])) for directory in DIRECTORIES]
    files: dict[str, str] = {}
    for directory, name in counting_files(listings):
        entry = tree.resolve(f"{directory[1:]}/{name}")
        if entry is not None and entry.kind is NodeKind.FILE:
            files[f"{directory}/{name}"] = text_of(entry.read())
    weak = [line for path, text in files.items() for line in _weakdeps(text, path)]
    return ModprobeD(files, parse_modprobe_d(list(files.items())), tuple(weak))


def configured(index: Index, modprobe_d: ModprobeD) -> Index:
    """Give the index as modprobe sees it together with modprobe.d."""
    wanted = dict(index.wanted)
    lines = modprobe_d.lines
    rows = [(line.module, (*line.pre, *line.post, *line.others)) for line in lines.softdeps]
    rows += [(line.module, tuple(words_of_command(line.text))) for line in lines.installs]
    rows += modprobe_d.weak
    for pattern, words in rows:
        names = (
            [name for name in index.paths if matches(pattern, name)] if is_wildcard(pattern) else [pattern]
        )
        for name in names:
            wanted[name] = (*wanted.get(name, ()), *words)
    shadowing = tuple((alias.pattern, alias.module) for alias in lines.aliases)
    return replace(index, wanted=wanted, shadowing=shadowing)


def alias_targets(modprobe_d: ModprobeD, index: Index) -> set[str]:
    """Give the modules of the index that modprobe.d's aliases lead to, whichever device asks."""
    return {alias.module for alias in modprobe_d.lines.aliases if alias.module in index.paths}


def words_of_command(command: str) -> list[str]:
    """Give what the modprobes in an install line's command are told to load."""
    found: list[str] = []
    for part in re.split(r"[;&|\n(){}]+", command):
        words = part.split()
        at = next((n for n, word in enumerate(words) if word.rpartition("/")[2] == "modprobe"), None)
        if at is not None:
            found += [word for word in words[at + 1 :] if re.fullmatch(r"[A-Za-z0-9_][\w:-]*", word)]
    return found


def _weakdeps(text: str, path: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    lines = "\n".join(line for line in text.split("\n") if line.split()[:1] == ["weakdep"])
    return [(module, tuple(words)) for _, module, words in configuration_lines(lines, "weakdep", path)[0]]
