"""The Python files of an image's tree as files of this machine."""

from pathlib import Path

from hostbuild.image.filetree import FileTree, NodeKind

_LIBRARIES = ("usr/lib/python", "usr/lib/modaliasd")


def write_libraries(tree: FileTree, root: Path) -> None:
    """Write what lies in the image's Python libraries below `root`."""
    for path, entry in tree.items():
        if not path.startswith(_LIBRARIES):
            continue
        target = root / path
        if entry.kind is NodeKind.DIRECTORY:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(entry.read())
