"""What `--smallest` takes out of an image beside what the compressor does: tables that nothing in it can read."""

from dataclasses import replace

from hostbuild.formats.programs.unwind import without_unwind_tables
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry
from hostbuild.image.modules.firmware import GROUP as FIRMWARE
from hostbuild.image.modules.tree import GROUP as MODULES
from hostbuild.image.sources.overlay import GROUP as OVERLAY

_UNWINDER = "libgcc_s.so"
_LEFT_ALONE = (MODULES, FIRMWARE, OVERLAY)


def empty_unwind_tables(tree: FileTree) -> None:
    """Empty the tables for unwinding in the image's own programs and libraries.

    Not where a library is there that reads them. What an overlay brings stays as it is, and modules and firmware, which
    are no programs. Of an entry under several paths, all have the new one.
    """
    if any(path.rpartition("/")[2].startswith(_UNWINDER) for path, _ in tree.items()):
        return
    made: dict[int, TreeEntry] = {}
    for path, entry in list(tree.items()):
        if entry.kind is not NodeKind.FILE or entry.group in _LEFT_ALONE:
            continue
        if id(entry) not in made:
            data = entry.read()
            without = without_unwind_tables(data)
            made[id(entry)] = entry if without == data else replace(entry, content=without)
        tree.put(path, made[id(entry)])
