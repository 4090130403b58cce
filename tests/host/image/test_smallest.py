"""hostbuild.image.smallest: what is taken out of whose files."""

import shutil
from pathlib import Path

import pytest

from hostbuild.formats.programs.unwind import without_unwind_tables
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry
from hostbuild.image.smallest import empty_unwind_tables

TRUE = Path(shutil.which("true") or "/bin/true")
DATA = TRUE.read_bytes()


def tree_with(**groups: str) -> FileTree:
    """A tree with one program a name, of a group each."""
    tree = FileTree()
    for name, group in groups.items():
        tree.file(f"usr/bin/{name}", TRUE, group=group, origin="here", permissions=0o755)
    return tree


@pytest.mark.parametrize(
    ("group", "emptied"),
    [("python", True), ("busybox", True), ("kmod", True), ("root", True), ("overlay", False), ("modules", False),
     ("firmware", False)],
)  # fmt: skip
def test_whose_programs(group: str, emptied: bool) -> None:
    """Those that the image has of packages; not an overlay's, and not what is no program of this machine's."""
    tree = tree_with(program=group)
    empty_unwind_tables(tree)
    entry = tree["usr/bin/program"]
    assert entry.read() == (without_unwind_tables(DATA) if emptied else DATA)
    assert (entry.permissions, entry.origin, entry.group) == (0o755, "here", group)


def test_an_unwinder_keeps_them() -> None:
    """With libgcc_s in the image, whoever brings it, C++ and threads that are cancelled want libc's tables."""
    tree = tree_with(program="python")
    tree.file("usr/lib/x86_64-linux-gnu/libgcc_s.so.1", b"", group="overlay", origin="here")
    empty_unwind_tables(tree)
    assert tree["usr/bin/program"].read() == DATA


def test_hard_links_stay_one_file() -> None:
    """An entry under two paths is one entry afterwards."""
    tree = FileTree()
    entry = TreeEntry(NodeKind.FILE, 0o755, "busybox", "here", content=TRUE)
    tree.put("a", entry)
    tree.put("b", entry)
    empty_unwind_tables(tree)
    assert tree["a"] is tree["b"]
    assert tree["a"].read() == without_unwind_tables(DATA)
