"""Debian's kmod for the image, in place of busybox's modprobe and its companions."""

from pathlib import Path

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.errors import WorldError
from hostbuild.formats.modules.modfile import UNPACKERS, unpackers_in
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources.libraries import Libraries

GROUP = "kmod"
_TOOLS = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")


def readable_endings(lists: Lists = OWN) -> tuple[str, frozenset[str]]:
    """Give the name of the kmod that images get from these lists, and the endings that it unpacks."""
    package, program = _require_kmod(lists)
    return str(package), frozenset(UNPACKERS[soname] for soname in unpackers_in(program.read_bytes()))


def put_kmod(tree: FileTree, libraries: Libraries, lists: Lists = OWN) -> debs.Package:
    """Put kmod, its libraries and its names into the image; give the package that it is from."""
    package, program = _require_kmod(lists)
    origin = str(package)
    tree.file("usr/bin/kmod", program, group=GROUP, origin=origin, permissions=0o755)
    for tool in _TOOLS:
        tree.symlink(f"usr/sbin/{tool}", "/usr/bin/kmod", group=GROUP, origin=origin)
        if f"usr/bin/{tool}" in tree:  # busybox has some of them there
            tree.symlink(f"usr/bin/{tool}", "/usr/bin/kmod", group=GROUP, origin=origin)
    libraries.put(tree, [program], group=GROUP, loaded=unpackers_in(program.read_bytes()))
    return package


def _require_kmod(lists: Lists) -> tuple[debs.Package, Path]:
    [package] = debs.describe(["kmod"], lists)
    root = debs.require_unpacked(package)
    program = next((p for p in (root / "bin/kmod", root / "usr/bin/kmod") if p.is_file()), None)
    if program is None:
        raise WorldError(f"the package {package} contains no bin/kmod")
    return package, program
