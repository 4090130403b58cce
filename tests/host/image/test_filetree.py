"""The model of an image's files."""

import pytest

from hostbuild.errors import InputError
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry


def put(tree: FileTree, path: str, content: bytes = b"") -> None:
    tree.file(path, content, group="g", origin="test")


def paths(tree: FileTree) -> list[str]:
    return [path for path, _ in tree.items()]


def test_directories_above_a_file_come_into_being() -> None:
    """A file's parents are there, and stand before it."""
    tree = FileTree()
    put(tree, "a/b/c")
    assert paths(tree) == ["a", "a/b", "a/b/c"]
    assert tree["a/b"].mode == 0o040755


def test_later_wins() -> None:
    """What is put at a path replaces a file or a symlink that was there."""
    tree = FileTree()
    put(tree, "etc/x", b"old")
    put(tree, "etc/x", b"new")
    assert tree["etc/x"].read() == b"new"


@pytest.mark.parametrize("target", ["usr/lib", "/usr/lib", "./usr//lib", "../usr/lib", "usr/share/../lib"])
def test_symlinks_among_the_parents_are_followed(target: str) -> None:
    """A file put below a symlink to a directory is in that directory, as the kernel would unpack it."""
    tree = FileTree()
    tree.symlink("lib", target, group="g", origin="test")
    put(tree, "lib/modules/x", b"1")
    assert "usr/lib/modules/x" in tree
    assert "lib/modules/x" in tree
    assert "lib" in paths(tree)
    assert "lib/modules/x" not in paths(tree)


def test_a_way_through_symlinks_is_as_they_are_now() -> None:
    """A link that leads to the root, and one that takes another's place, after files were put through the first."""
    tree = FileTree()
    tree.symlink("up", "/", group="g", origin="test")
    tree.symlink("lib", "usr/lib", group="g", origin="test")
    for name in ("a", "b"):
        put(tree, f"up/{name}")
        put(tree, f"lib/{name}")
    tree.symlink("lib", "opt", group="g", origin="test")
    put(tree, "lib/c")
    tree.remove("lib")
    put(tree, "lib/d")
    assert {"a", "b", "usr/lib/a", "usr/lib/b", "opt/c", "lib/d"} <= set(paths(tree))
    with pytest.raises(InputError, match="not a path"):
        put(tree, "lib/..")


def test_a_directory_laid_over_a_symlink_keeps_it() -> None:
    """An overlay's real directory `lib` does not replace the image's `lib -> usr/lib`."""
    tree = FileTree()
    tree.symlink("lib", "usr/lib", group="g", origin="test")
    tree.directory("lib", group="g", origin="overlay")
    assert tree["lib"].kind is NodeKind.SYMLINK


def test_a_loop_of_symlinks_is_refused() -> None:
    """Two symlinks that name each other end in an error, not in a hang."""
    tree = FileTree()
    tree.symlink("a", "b", group="g", origin="test")
    tree.symlink("b", "a", group="g", origin="test")
    with pytest.raises(InputError, match="too many levels"):
        put(tree, "a/x")


@pytest.mark.parametrize("path", ["", "/etc/x", "a//b", "../x", "a/./b", "a/"])
def test_odd_paths_are_refused(path: str) -> None:
    """A path is relative and has no empty, `.` or `..` part."""
    with pytest.raises(InputError, match="not a path inside an image"):
        put(FileTree(), path)


def test_a_file_does_not_become_a_directory() -> None:
    """Nothing can be put below a file, and a file not in a directory's place."""
    tree = FileTree()
    put(tree, "etc/x")
    with pytest.raises(InputError, match="not a directory"):
        put(tree, "etc/x/y")
    with pytest.raises(InputError, match="cannot be replaced"):
        put(tree, "etc")


def test_order_is_that_of_bytes() -> None:
    """Paths are sorted as bytes, whatever the locale: a directory stands before its content."""
    tree = FileTree()
    for path in ("b", "ä", "a/x", "a-b", "Z"):
        put(tree, path)
    assert paths(tree) == ["Z", "a", "a-b", "a/x", "b", "ä"]


def test_sizes_are_those_of_the_archive() -> None:
    """A symlink's data is its target, a device has none."""
    link = TreeEntry(NodeKind.SYMLINK, 0o777, "g", "test", target="ü")
    node = TreeEntry(NodeKind.CHARACTER_DEVICE, 0o600, "g", "test", device=(5, 1))
    assert (link.size(), node.size()) == (2, 0)
