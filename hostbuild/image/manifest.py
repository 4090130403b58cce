"""An image's manifest is made here: what is inside, how large it is, and where it came from.

docs/manifest.md describes it; hostbuild.formats.manifest reads it, and image/pack.py adds the image's own row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hostbuild.debs import Package, licences_of
from hostbuild.formats.manifest import FORMAT
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry
from hostbuild.image.modules import storage
from hostbuild.image.modules.firmware import Firmware
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.requested import KERNEL, Requested
from hostbuild.image.modules.stripped import Cut
from hostbuild.image.sources.overlay import Overlay
from hostbuild.image.sources.stdlib import Closure
from hostbuild.kernels.kernel import Kernel
from modaliasd import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an image was put together from.

    selection: the words that chose the modules; learned_from: the file that named more, "" for none. chosen: the names
    that these brought; modules: all that are in the image, dependencies included. requested: who asks for which.
    cut: what --strip has done, None without it.
    lacking: what the kernel has not of a named selection. warnings: what was left out or looks wrong: lines of the
    kernel's tables, modules, modprobe.d. python: the interpreter's version; library: the standard library's modules;
    built: of what and by what it was built, {} for Debian's.
    """

    kernel: Kernel
    selection: str
    learned_from: str
    modprobe: str
    store: storage.Store
    tree: FileTree
    chosen: Collection[str]
    modules: Sequence[Module]
    requested: Requested
    cut: Cut | None
    warnings: Sequence[str]
    lacking: Sequence[str]
    firmware: Firmware
    python: str
    library: Closure
    built: Mapping[str, object]
    packages: Sequence[Package]
    overlays: Sequence[Overlay]


def make_manifest(made: Contents) -> dict[str, Any]:
    """Return the manifest of an image; its `image` is empty until the image has been packed."""
    return {
        "format": FORMAT,
        "hostbuild": __version__,
        "image": {},
        "kernel": _kernel_row(made.kernel),
        "selection": made.selection,
        **({"learned_from": made.learned_from} if made.learned_from else {}),
        "modprobe": made.modprobe,
        "store": made.store.value,
        **({"stripped": asdict(made.cut)} if made.cut else {}),
        "append": storage.APPEND if made.store.squashed else "",
        **({"warnings": list(made.warnings)} if made.warnings else {}),
        **({"lacking": list(made.lacking)} if made.lacking else {}),
        "groups": _groups(made.tree),
        "modules": [_module_row(module, made.chosen, made.requested) for module in made.modules],
        "requested": _requested_row(made.requested, {module.name for module in made.modules}),
        "firmware": asdict(made.firmware),
        "python": {
            "version": made.python,
            "modules": sorted(made.library.modules),
            "missing": sorted(name for name, importer in made.library.missing.items() if not importer),
            **({"built": dict(made.built)} if made.built else {}),
        },
        "packages": [
            _package_row(package) for package in sorted(set(made.packages), key=lambda package: package.name)
        ],
        "overlays": [{"name": laid.name, "sha256": laid.sha256()} for laid in made.overlays],
        "files": [file_row(path, entry) for path, entry in made.tree.items()],
    }


def _kernel_row(kernel: Kernel) -> dict[str, object]:
    """Say which kernel it is, and where it is to be had again: from its package, or at its path on this host."""
    row: dict[str, object] = {
        "version": kernel.version,
        "arch": kernel.arch.value,
        "sha256": kernel.sha256,
        "origin": kernel.origin,
    }
    package = kernel.package
    if package is None:
        return {**row, "vmlinuz": str(kernel.vmlinuz)}
    return {
        **row,
        "package": {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "sha256": package.sha256,
            **({"release": package.lists.release} if package.lists.release else {}),
            "path": kernel.package_path,
        },
    }


def _package_row(package: Package) -> dict[str, object]:
    row: dict[str, object] = {
        "name": package.name,
        "version": package.version,
        "architecture": package.architecture,
        "sha256": package.sha256,
    }
    licences = licences_of(package)
    return {**row, "licenses": list(licences)} if licences else row


def _groups(tree: FileTree) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for entry in tree.values():
        row = groups.setdefault(entry.group, {"files": 0, "size": 0})
        row["files"] += entry.kind is not NodeKind.DIRECTORY
        row["size"] += entry.size()
    return dict(sorted(groups.items()))


def _requested_row(requested: Requested, carried: Collection[str]) -> dict[str, object]:
    """Say which modules come because others ask for them, and who asks for which: module -> asker -> words."""
    return {
        "rule": requested.rule.value,
        "added": sorted(requested.added.intersection(carried)),
        "asked": {
            module: {
                asker: words for asker, words in sorted(askers.items()) if asker in carried or asker == KERNEL
            }
            for module, askers in sorted(requested.asked.items())
            if module in carried
        },
        "left_out": [
            {"name": module, "size": size, "asked_by": sorted(requested.asked[module])}
            for module, size in sorted(requested.left_out.items())
        ],
    }


def _module_row(module: Module, chosen: Collection[str], requested: Requested) -> dict[str, object]:
    row: dict[str, object] = {"name": module.name, "path": module.path, "size": module.size}
    if module.origin:
        row["origin"] = module.origin
    elif module.name not in chosen:
        row["requested" if module.name in requested.added else "dependency"] = True
    if module.firmware:
        row["firmware"] = list(module.firmware)
    return row


def file_row(path: str, entry: TreeEntry) -> dict[str, object]:
    """Say what is at a path of an image."""
    row: dict[str, object] = {
        "path": path,
        "mode": f"{entry.mode:06o}",
        "size": entry.size(),
        "group": entry.group,
        "origin": entry.origin,
    }
    if entry.kind is NodeKind.SYMLINK:
        row["target"] = entry.target
    return row
