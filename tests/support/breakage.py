"""Images taken apart, changed in one place, and put together again: what `hostbuild check` has to find."""

import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.initramfs.newc import Member, Writer


@dataclass(frozen=True, slots=True)
class Part:
    """A file, directory, link or node of an image."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class Parts(dict[str, Part]):
    """An image by its paths; `find` and the like take the end of a path."""

    def find(self, end: str) -> str:
        """Return the only path that ends so."""
        [path] = [path for path in self if path.endswith(end)]
        return path

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Put a file there, with the directories above it."""
        for at in range(1, len(path)):
            if path[at] == "/":
                self.setdefault(path[:at], Part(stat.S_IFDIR | 0o755))
        self[path] = Part(stat.S_IFREG | mode, data)

    def change(self, end: str, change: Callable[[bytes], bytes]) -> None:
        """Change a file's bytes; a change that changes nothing is a mistake of the test's."""
        path = self.find(end)
        data = change(self[path].data)
        assert data != self[path].data, path
        self[path] = replace(self[path], data=data)

    def remove(self, end: str) -> None:
        """Take a file out."""
        del self[self.find(end)]


def read_parts(image: Path) -> Parts:
    """Take an image apart."""
    found = open_image(image)
    nodes = dict(found.root.walk())
    data = found.read([path for path, node in nodes.items() if stat.S_ISREG(node.mode)])
    parts = Parts()
    for path, node in nodes.items():
        content = node.target.encode() if stat.S_ISLNK(node.mode) else data.get(path, b"")
        parts[path] = Part(node.mode, content, node.device)
    return parts


def write_parts(image: Path, parts: Parts) -> Path:
    """Put an image together, not packed."""
    with image.open("wb") as out:
        archive = Writer(out.write)
        for number, (path, part) in enumerate(sorted(parts.items()), 1):
            links = 2 if stat.S_ISDIR(part.mode) else 1
            archive.add(Member(path, part.mode, ino=number, nlink=links, device=part.device), part.data)
        archive.close()
    return image


def without_line(data: bytes, start: bytes) -> bytes:
    """Take out the first line that begins so."""
    lines = data.split(b"\n")
    lines.remove(next(line for line in lines if line.startswith(start)))
    return b"\n".join(lines)
