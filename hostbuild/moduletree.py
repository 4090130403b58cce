"""The directory /usr/lib/modules/VERSION of an image: module files, and indexes made for just these."""

from collections.abc import Sequence
from pathlib import Path

from hostbuild.kernel import Kernel, run_depmod
from hostbuild.modules import Module
from hostbuild.scratch import scratch_directory
from hostbuild.tree import FileTree
from modaliasd.core import trie

GROUP = "modules"
INDEX_GROUP = "indexes"

# What modprobe in the guest reads, or the daemon. The .bin indexes are kmod's own.
_INDEXES = (
    "modules.alias",
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.dep",
    "modules.devname",
    "modules.order",
    "modules.softdep",
)
_KMOD_INDEXES = (
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep.bin",
    "modules.symbols",
    "modules.symbols.bin",
)
_COPIED = ("modules.builtin", "modules.builtin.modinfo", "modules.order")


def put_modules(tree: FileTree, kernel: Kernel, carried: Sequence[Module], *, for_kmod: bool) -> None:
    """Put modules into the image, with indexes made for just these."""
    inside = f"usr/lib/modules/{kernel.version}"
    tree.directory(inside, group=GROUP, origin=kernel.origin)
    for module in carried:
        tree.file(f"{inside}/{module.path}", module.content, group=GROUP, origin=kernel.origin)
    with scratch_directory() as staging:
        base = staging / "lib/modules" / kernel.version
        base.mkdir(parents=True)
        for module in carried:
            path = base / module.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(module.content, Path):
                path.symlink_to(module.content.absolute())
            else:
                path.write_bytes(module.content)
        for name in _COPIED:
            _copy_list(kernel, name, base / name)
        run_depmod(staging, kernel.version)
        names = _INDEXES + _KMOD_INDEXES if for_kmod else _INDEXES
        written: dict[str, bytes] = {}
        for name in names:
            written[name] = content = (base / name).read_bytes() if (base / name).is_file() else b""
            tree.file(f"{inside}/{name}", content, group=INDEX_GROUP, origin="depmod")
    index = trie.build(
        written["modules.alias"], written["modules.order"], written["modules.builtin.modinfo"]
    )
    tree.file(f"{inside}/{trie.INDEX_NAME}", index, group=INDEX_GROUP, origin="hostbuild")


def _copy_list(kernel: Kernel, name: str, to: Path) -> None:
    source = kernel.modules / name if kernel.modules else None
    to.write_bytes(source.read_bytes() if source and source.is_file() else b"")
