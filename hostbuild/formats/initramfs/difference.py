"""What two images differ in, file by file, as a kernel unpacks them."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from hostbuild.formats.initramfs.archive import Image
from hostbuild.formats.initramfs.rootfs import Node


class Kind(Enum):
    """What became of a path; the value is its sign."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"


@dataclass(frozen=True, slots=True)
class Change:
    """A path that differs. before, after: bytes, 0 where it is not there. what: of a changed one: content, mode,
    target, type, device; "" for others.
    """

    path: str
    kind: Kind
    before: int
    after: int
    what: str = ""

    @property
    def growth(self) -> int:
        """Bytes that it takes more."""
        return self.after - self.before


def difference(first: Image, second: Image) -> list[Change]:
    """Compare two images, by path. Raises ImageError for one that cannot be read."""
    before, after = dict(first.root.walk()), dict(second.root.walk())
    alike = [
        path
        for path, node in before.items()
        if (other := after.get(path)) is not None
        and stat.S_ISREG(node.mode)
        and stat.S_ISREG(other.mode)
        and node.size == other.size
        and node.size
    ]
    contents = first.read(alike), second.read(alike)
    changes = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if new is None:
            assert old is not None
            changes.append(Change(path, Kind.REMOVED, old.size, 0))
        elif old is None:
            changes.append(Change(path, Kind.ADDED, 0, new.size))
        elif what := _what(path, old, new, contents):
            changes.append(Change(path, Kind.CHANGED, old.size, new.size, what))
    return changes


def _what(path: str, old: Node, new: Node, contents: tuple[Mapping[str, bytes], Mapping[str, bytes]]) -> str:
    if stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
        return "type"
    words = ["mode"] if old.mode != new.mode else []
    if stat.S_ISLNK(old.mode):
        words += ["target"] if old.target != new.target else []
    elif stat.S_ISREG(old.mode):
        same = old.size == new.size and contents[0].get(path) == contents[1].get(path)
        words += [] if same else ["content"]
    elif not stat.S_ISDIR(old.mode) and old.device != new.device:
        words.append("device")
    return ", ".join(words)
