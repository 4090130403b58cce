"""The part of an image that holds modules, put together of made-up kernels: no busybox, no Python, no archive."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.modules import moduleset, storage
from hostbuild.image.modules.firmware import Firmware, put_firmware
from hostbuild.image.modules.requested import Rule
from hostbuild.image.modules.storage import Store
from hostbuild.image.modules.tree import put_modules
from hostbuild.image.sources.overlay import read_overlay
from hostbuild.kernels.kernel import Kernel, require_kernel
from hostbuild.ui import Silent

VERSION = "6.1.0-t"
MAGIC = f"{VERSION} SMP preempt mod_unload modversions "


@dataclass(frozen=True, slots=True)
class Packed:
    """What came of it. files: path below lib/modules/VERSION -> content."""

    tree: FileTree
    files: dict[str, bytes]
    warnings: list[str]
    firmware: Firmware

    @property
    def modules(self) -> list[str]:
        """The module files."""
        return [path for path in self.files if ".ko" in path]

    @property
    def dep(self) -> list[str]:
        """The lines of modules.dep, sorted."""
        return sorted(self.files["modules.dep"].decode().splitlines())


def write_vmlinuz(root: Path, version: str = VERSION) -> Path:
    """Write the smallest file with an x86 boot header below root/boot."""
    head = bytearray(0x1000)
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x600)
    text = f"{version} (t@t) #1 SMP".encode() + b"\0"
    head[0x800 : 0x800 + len(text)] = text
    path = root / "boot" / "vmlinuz-t"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head)
    return path


def find_kernel(root: Path) -> Kernel:
    """Find the made-up kernel of a root."""
    return require_kernel(str(write_vmlinuz(root)), None, Silent())


def pack_modules(
    root: Path,
    selection: str,
    *,
    overlays: Sequence[Path] = (),
    firmware: Sequence[Path] = (),
    store: Store = Store.PLAIN,
    readable: frozenset[str] = storage.ALL,
    for_kmod: bool = True,
    requested: Rule = Rule.NAMED,
) -> Packed:
    """Do what build_image does about modules and firmware."""
    kernel = find_kernel(root)
    laid = [read_overlay(overlay) for overlay in overlays]
    trees = FileTree(), FileTree()
    for tree in trees:
        tree.directory("usr/lib", group="base", origin="test")
        tree.symlink("lib", "usr/lib", group="base", origin="test")
    alone, tree = trees
    for one in laid:
        one.put(alone)
    brought = moduleset.read_overlays(alone, kernel.version)
    chosen = moduleset.choose(selection, None, kernel, brought, requested)
    carried, warnings = chosen.carried, chosen.warnings
    found = put_firmware(tree, carried, firmware, kernel, alone)
    for one in laid:
        one.put(tree)
    for path in brought.overlaid.paths:
        tree.remove(path)
    indexes = put_modules(
        tree,
        kernel,
        carried,
        for_kmod=for_kmod,
        store=store,
        readable=readable,
        requested=chosen.requested,
    )
    warnings += moduleset.check(tree, kernel, carried, indexes, packed=store is Store.SQUASHFS)
    base = tree.target(f"usr/lib/modules/{kernel.version}") + "/"
    files = {
        path.removeprefix(base): entry.read()
        for path, entry in tree.items()
        if path.startswith(base) and entry.kind is NodeKind.FILE
    }
    return Packed(tree, files, warnings, found)
