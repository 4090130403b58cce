"""An image with modules put anew behind it: a second archive that the kernel unpacks over the first.

    the image, as it was | NULs to a multiple of 4 | a plain newc archive: the modules, and indexes where they change

What a later archive says of a path holds (init/initramfs.c).
So a module of 209 costs its own bytes, and depmod's work only where it says something new of itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostbuild.errors import InputError
from hostbuild.formats.initramfs import newc
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.initramfs.segments import padding_between
from hostbuild.formats.manifest import dump, manifest_path, read_manifest
from hostbuild.formats.modules.modfile import read_module
from hostbuild.fs.files import read_input, replace_file
from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.manifest import file_row
from hostbuild.image.modules.carried import reader
from hostbuild.image.modules.firmware import put_firmware
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.overlaid import OverlaidModule, sources, with_overlaid
from hostbuild.image.modules.selection import NO_MODULES, Index, close, read_index
from hostbuild.image.modules.storage import Store
from hostbuild.image.modules.stripped import stripped
from hostbuild.image.modules.tree import GROUP, INDEX_GROUP, put_modules
from hostbuild.image.pack import members
from hostbuild.image.treestate import index_facts
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.module_files import locate
from hostbuild.near import listed


class LackingError(InputError):
    """A module needs others that nobody has. names: these."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{message}: the kernel has no module {listed(names)}, which it needs", hint="build it, too"
        )
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class Appended:
    """What was appended: the names of modules, those that came along because they are needed, and whether indexes."""

    modules: tuple[str, ...]
    needed: tuple[str, ...]
    indexed: bool
    size: int


def append_modules(
    image: Path,
    base: Path,
    kernel: Kernel,
    put: Sequence[OverlaidModule],
    firmware_dirs: Sequence[Path] = (),
) -> Appended:
    """Write `image`: `base` and a second archive with `put` in the place of its modules of the same names.

    kernel: the one that the base was made for, whose indexes may be older than `put`. The manifest goes along; of
    the kernel there is no copy. Raises InputError for a base whose modules are not plain files.
    """
    manifest = read_manifest(base)
    if manifest.get("store", Store.PLAIN.value) != Store.PLAIN.value:
        raise InputError(f"the modules of {base} do not lie in it as plain files: none can be put anew")
    rows = {str(row["name"]): row for row in manifest["modules"]}
    inside = f"usr/lib/modules/{kernel.version}"
    news = sources(put)
    tree = FileTree()
    needed: list[str] = []
    brought = dict(news)
    indexed = not _same_facts(base, inside, rows, news.values())
    if indexed:
        # what the guest's modprobe.d adds to a module was decided for the base
        plain = read_index(kernel) if kernel.indexes is not None else NO_MODULES
        index = with_overlaid(plain, put)
        closed = close(news, index)
        needed = [
            name for name in closed if name not in rows and name not in news and name not in index.builtin
        ]
        if lacking := [name for name in needed if name not in index.paths]:
            raise LackingError(f"{listed(sorted(news))} cannot be put into {base.name}", lacking)
        brought |= {name: read(name) for read in [reader(index, kernel, news)] for name in needed}
        carried = {**_present(base, inside, rows, index, kernel), **brought}
        whole = FileTree()
        put_modules(
            whole,
            kernel,
            list(carried.values()),
            for_kmod=manifest.get("modprobe") == "kmod",
            strip=bool(manifest.get("stripped")),
        )
        for path, entry in whole.items():
            if entry.group == INDEX_GROUP and entry.kind is NodeKind.FILE:
                tree.put(path, entry)
    if manifest.get("stripped"):
        brought = {name: stripped(module) for name, module in brought.items()}
    for module in brought.values():
        origin = module.origin or kernel.origin
        tree.file(f"{inside}/{module.path}", module.content, group=GROUP, origin=origin)
    _put_firmware(tree, list(brought.values()), firmware_dirs, kernel, manifest)
    size = _write(image, base, tree)
    _write_manifest(image, manifest, tree, brought.values(), size)
    return Appended(tuple(sorted(news)), tuple(needed), indexed, size)


def _present(
    base: Path, inside: str, rows: Mapping[str, Mapping[str, Any]], index: Index, kernel: Kernel
) -> dict[str, Module]:
    """Give the modules of an image for depmod: the kernel's from where they lie, an overlay's out of the image."""
    found: dict[str, Module] = {}
    foreign = {name: str(row["path"]) for name, row in rows.items() if "origin" in row}
    read = open_image(base).read(f"{inside}/{path}" for path in foreign.values()) if foreign else {}
    for name, row in sorted(rows.items()):
        path, size = str(row["path"]), int(row["size"])
        content: bytes | Path | None = read.get(f"{inside}/{path}")
        if content is None and name in index.paths and kernel.modules is not None:
            file = locate(index.paths[name], kernel.modules)
            content = file if file.suffix == ".ko" else read_module(file)
        if content is not None:
            found[name] = Module(name, path, content, size, (), origin=str(row.get("origin", "")))
    return found


def _same_facts(
    base: Path, inside: str, rows: Mapping[str, Mapping[str, Any]], news: Iterable[Module]
) -> bool:
    """Return whether the base's indexes hold for modules that take the place of others."""
    news = list(news)
    if any(rows.get(module.name, {}).get("path") != module.path for module in news):
        return False
    old = open_image(base).read(f"{inside}/{module.path}" for module in news)
    return all(
        (data := old.get(f"{inside}/{module.path}")) is not None
        and index_facts(data) == index_facts(module.read())
        for module in news
    )


def _put_firmware(
    tree: FileTree,
    brought: Sequence[Module],
    directories: Sequence[Path],
    kernel: Kernel,
    manifest: Mapping[str, Any],
) -> None:
    """Put firmware that the base has not been asked for yet."""
    told = manifest.get("firmware", {})
    known = {*told.get("present", ()), *told.get("missing", ())}
    asking = [module for module in brought if not known.issuperset(module.firmware)]
    if asking:
        put_firmware(tree, asking, directories, kernel, FileTree())


def _write(image: Path, base: Path, tree: FileTree) -> int:
    """Write the two archives; return the bytes of the second."""
    with replace_file(image, "the image") as out:
        first = read_input(base, "the image")
        out.write(first)
        out.write(
            bytes(padding_between(len(first), open_image(base).require_whole().segments[-1].compressor))
        )
        archive = newc.Writer(out.write)
        for member, data in members(tree):
            archive.add(member, data)
        archive.close()
    return archive.written


def _write_manifest(
    image: Path, manifest: dict[str, Any], tree: FileTree, brought: Iterable[Module], size: int
) -> None:
    """Write the manifest of the two together: what is there in the end, not what was written over."""
    old = manifest["image"]
    manifest["image"] = {
        **{key: value for key, value in old.items() if key != "sha256"},
        "file": image.name,
        "size": image.stat().st_size,
        "unpacked": old["unpacked"] + size,
    }
    modules = {row["name"]: row for row in manifest["modules"]}
    for module in brought:
        modules[module.name] = {"name": module.name, "path": module.path, "size": module.size} | (
            {"origin": module.origin} if module.origin else {}
        )
    files = {row["path"]: row for row in manifest["files"]}
    for path, entry in tree.items():
        if entry.kind is not NodeKind.DIRECTORY or path not in files:
            files[path] = file_row(path, entry)
    manifest["modules"] = [modules[name] for name in sorted(modules)]
    manifest["files"] = [files[path] for path in sorted(files)]
    with replace_file(manifest_path(image), "the image's manifest") as out:
        out.write(dump(manifest))
