"""Modules that an overlay's /etc/modules and modules-load.d name: the guest loads them, so the image has them."""

from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.modules.selection import Index
from modaliasd.core.kmod.modules_load import DIRECTORIES, FILE, listing_files, parse_modules_load


def named_modules(tree: FileTree, index: Index) -> set[str]:
    """Give the modules that the tree's files name, as the guest reads them, as far as the kernel has them."""
    found: set[str] = set()
    listings = [(directory, tree.names(directory[1:])) for directory in DIRECTORIES]
    for path in (FILE, *listing_files(listings)):
        entry = tree.resolve(path[1:])
        if entry is None or entry.kind is not NodeKind.FILE:
            continue
        for one in parse_modules_load(entry.read().decode("utf-8", "surrogateescape"), path):
            found.update(index.resolve(one.name))
    return found
