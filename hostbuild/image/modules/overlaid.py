"""Modules that overlays lay into lib/modules/VERSION: they join the kernel's, and get their lines in the indexes.

Such a module takes the place of the kernel's of the same name. What it needs comes from its own .modinfo, since no
modules.dep knows it. Indexes that an overlay brings are left out: the image's are made for just what it carries.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hostbuild.errors import InputError
from hostbuild.formats import elf
from hostbuild.formats.compress import detect
from hostbuild.formats.modules.asks import asks_of_module
from hostbuild.formats.modules.modfile import is_module, plain_path
from hostbuild.formats.modules.vermagic import magic_of
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.selection import Index
from modaliasd.core.kmod.modules_dep import softdep
from modaliasd.core.kmod.names import module_name

_FIRST = ("updates", "extra", "external")  # where depmod looks first, and last
_LAST = ("weak-updates",)


@dataclass(frozen=True, slots=True)
class OverlaidModule:
    """A module from an overlay, and what its .modinfo says of others."""

    module: Module
    needs: tuple[str, ...]
    wanted: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overlaid:
    """What overlays bring for a kernel. paths: theirs in the tree that are not laid as they are."""

    modules: tuple[OverlaidModule, ...] = ()
    paths: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_overlaid(tree: FileTree, version: str) -> Overlaid:
    """Find the modules of a kernel in a tree that overlays were laid in; damaged ones are among the warnings."""
    base = tree.target(f"usr/lib/modules/{version}") + "/"
    found: dict[str, OverlaidModule] = {}
    paths: list[str] = []
    warnings: list[str] = []
    inside = [(path, entry) for path, entry in tree.items() if path.startswith(base)]
    for path, entry in sorted(inside, key=lambda item: (_rank(item[0][len(base) :]), item[0])):
        name = path[len(base) :]
        if "/" not in name and name.startswith("modules.") and entry.kind is not NodeKind.DIRECTORY:
            paths.append(path)
            warnings.append(f"{entry.origin}: /{path} is left out, an image has indexes of its own")
        if not is_module(path) or entry.kind is NodeKind.DIRECTORY:
            continue
        target = tree.resolve(path)
        if target is None or target.kind is not NodeKind.FILE:
            what = (
                f"leads to {entry.target}, which no overlay has" if entry.target else "is not a regular file"
            )
            warnings.append(f"{entry.origin}: /{path} gets no line in modules.dep: it {what}")
            continue
        try:
            one = read_module_of(name, target.read(), entry.origin)
        except InputError as e:  # whoever lays it there may want just that
            warnings.append(f"{e}; it is laid as it is, and gets no line of its own in modules.dep")
            continue
        paths.append(path)
        first = found.setdefault(one.module.name, one)
        if first is not one:
            warnings.append(f"{entry.origin}: /{path} is left out, {first.module.path} has the same name")
    return Overlaid(tuple(found.values()), tuple(paths), tuple(warnings))


def with_overlaid(index: Index, overlaid: Iterable[OverlaidModule]) -> Index:
    """Give the index with modules from overlays in it, each in the place of the kernel's of that name."""
    paths, depends = dict(index.paths), dict(index.depends)
    wanted, aliases = dict(index.wanted), dict(index.aliases)
    for one in overlaid:
        name = one.module.name
        paths[name], depends[name], wanted[name] = one.module.path, one.needs, one.wanted
        for alias in one.aliases:
            aliases[alias] = tuple(dict.fromkeys((*aliases.get(alias, ()), name)))
    return replace(index, paths=paths, depends=depends, wanted=wanted, aliases=aliases)


def _rank(path: str) -> int:
    """Give the place of a module's directory among those that depmod searches."""
    top = path.partition("/")[0]
    return _FIRST.index(top) if top in _FIRST else len(_FIRST) + (top in _LAST)


def read_module_of(path: str, raw: bytes, origin: str) -> OverlaidModule:
    """Read a module that somebody brings. path: below lib/modules/VERSION. Raises InputError for a damaged one."""
    what = f"{origin}: the module {path}"
    try:
        data = decompress(detect(raw), raw)[0]
        if not data.startswith(elf.MAGIC):
            raise InputError(f"{what} is damaged: it is not an ELF file")
        info, asks = elf.modinfo(io.BytesIO(data)), asks_of_module(module_name(path), data)
    except (CompressionError, elf.ElfError) as e:
        raise InputError(f"{what} is damaged: {e}") from e
    plain = plain_path(path)
    firmware = tuple(sorted(set(info.get("firmware", ()))))
    module = Module(
        module_name(path),
        plain,
        data,
        len(data),
        firmware,
        path.removeprefix(plain),
        origin,
        magic_of(data),
        asks,
    )
    soft = [softdep("", value.split(), "", 0) for value in info.get("softdep", ())]
    wanted = [word for line in soft for word in (*line.pre, *line.post, *line.others)]
    return OverlaidModule(
        module,
        needs=_names(word for value in info.get("depends", ()) for word in value.split(",")),
        wanted=(*wanted, *(word for value in info.get("weakdep", ()) for word in value.split())),
        aliases=_names(info.get("alias", ())),
    )


def _names(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.replace("-", "_") for word in words if word)


def sources(overlaid: Sequence[OverlaidModule]) -> dict[str, Module]:
    """Give the modules by name."""
    return {one.module.name: one.module for one in overlaid}
