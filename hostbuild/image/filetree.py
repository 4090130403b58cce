"""The files of an image before they are an archive: a pure model, filled by one source after the other.

A path is relative, with `/` between its parts and no `.` or `..`: `usr/bin/busybox`. What is put at a path
replaces what was there (later wins); the directories above it come into being. A symlink to a directory of
the same tree is followed in a path's parents, as the kernel would when it unpacks the archive: with `lib ->
usr/lib`, a file put at `lib/x` is at `usr/lib/x`. Everything belongs to root.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hostbuild.errors import InputError

_LINKS_FOLLOWED = 40  # the kernel's MAXSYMLINKS


class NodeKind(Enum):
    """What a path of an image can be; the value is the file type of st_mode."""

    FILE = stat.S_IFREG
    DIRECTORY = stat.S_IFDIR
    SYMLINK = stat.S_IFLNK
    CHARACTER_DEVICE = stat.S_IFCHR
    BLOCK_DEVICE = stat.S_IFBLK
    FIFO = stat.S_IFIFO


@dataclass(frozen=True, slots=True, eq=False)
class TreeEntry:
    """One object of the image. The same TreeEntry under two paths is a hard link.

    group: which part of the image it belongs to, for the summary: "modules", "python".
    origin: where it was taken from, for the manifest: "busybox-static 1:1.35.0-4", "overlay etc".
    content: a file's bytes, or the path of a file of the host that holds them.
    """

    kind: NodeKind
    permissions: int
    group: str
    origin: str
    content: bytes | Path = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)

    @property
    def mode(self) -> int:
        """Type and permissions as in st_mode."""
        return self.kind.value | self.permissions

    def read(self) -> bytes:
        """Return what the archive holds as the object's data: a file's bytes, a symlink's target."""
        if self.kind is NodeKind.SYMLINK:
            return self.target.encode("utf-8", "surrogateescape")
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def size(self) -> int:
        """Length of `read()`, in bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.read())


class FileTree:
    """Paths and their entries."""

    def __init__(self) -> None:
        self._entries: dict[str, TreeEntry] = {}
        self._ways: dict[
            str, str
        ] = {}  # directories, as paths name them -> where they are; of these symlinks

    def __contains__(self, path: str) -> bool:
        return self._canonical(path) in self._entries

    def __getitem__(self, path: str) -> TreeEntry:
        return self._entries[self._canonical(path)]

    def items(self) -> Iterator[tuple[str, TreeEntry]]:
        """Yield paths with their entries, sorted by path as bytes: a directory before what is in it."""
        yield from sorted(self._entries.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape"))

    def values(self) -> Iterator[TreeEntry]:
        """Yield the entries, in the order of their paths."""
        yield from (entry for _, entry in self.items())

    def put(self, path: str, entry: TreeEntry) -> None:
        """Put `entry` at `path`. A directory that is there keeps its content and takes the new mode."""
        path = self._canonical(path)
        there = self._entries.get(path)
        if there is not None and there.kind is NodeKind.DIRECTORY and entry.kind is not NodeKind.DIRECTORY:
            raise InputError(f"{entry.origin}: /{path} is a directory in the image and cannot be replaced")
        if entry.kind is NodeKind.DIRECTORY and there is not None and there.kind is NodeKind.SYMLINK:
            return  # `lib` of an overlay is the image's `lib -> usr/lib`
        end = path.find("/")
        while end >= 0:
            parent = path[:end]
            end = path.find("/", end + 1)
            above = self._entries.get(parent)
            if above is None:
                above = self._entries[parent] = TreeEntry(
                    NodeKind.DIRECTORY, 0o755, entry.group, entry.origin
                )
            if above.kind is not NodeKind.DIRECTORY:
                raise InputError(
                    f"{entry.origin}: cannot put /{path} below /{parent}, which is not a directory"
                )
        if NodeKind.SYMLINK in (entry.kind, there and there.kind):
            self._ways.clear()
        self._entries[path] = entry

    def file(
        self, path: str, content: bytes | Path, *, group: str, origin: str, permissions: int = 0o644
    ) -> None:
        """Put a regular file."""
        self.put(path, TreeEntry(NodeKind.FILE, permissions, group, origin, content=content))

    def directory(self, path: str, *, group: str, origin: str, permissions: int = 0o755) -> None:
        """Put a directory."""
        self.put(path, TreeEntry(NodeKind.DIRECTORY, permissions, group, origin))

    def symlink(self, path: str, target: str, *, group: str, origin: str) -> None:
        """Put a symlink to `target`, which is not checked."""
        self.put(path, TreeEntry(NodeKind.SYMLINK, 0o777, group, origin, target=target))

    def names(self, directory: str) -> list[str]:
        """Give the names in a directory, sorted, links on the way to it followed; none where it is none."""
        place = self.target(directory)
        if not place:
            return []
        return sorted(path[len(place) + 1 :] for path in self._entries if path.rpartition("/")[0] == place)

    def resolve(self, path: str) -> TreeEntry | None:
        """Give what a path leads to, all symlinks followed inside the tree; None for nothing, or a ring of links."""
        return self._entries.get(self.target(path))

    def remove(self, path: str) -> None:
        """Take out what is at a path, which is no directory."""
        del self._entries[self._canonical(path)]
        self._ways.clear()

    def target(self, path: str) -> str:
        """Give the path that a path leads to, all symlinks followed; "" where that is a ring, or the root."""
        try:
            for _ in range(_LINKS_FOLLOWED):
                path = self._canonical(path)
                entry = self._entries.get(path)
                if entry is None or entry.kind is not NodeKind.SYMLINK:
                    return path
                base = [] if entry.target.startswith("/") else path.split("/")[:-1]
                path = "/".join(_joined(base, entry.target))
        except InputError:  # a ring among the parents, or the root itself
            pass
        return ""

    def _canonical(self, path: str) -> str:
        """Resolve symlinks among the parents of `path`, not its last part."""
        above, _, name = path.rpartition("/")
        if above in self._ways and name not in ("", ".", ".."):
            return "/".join(filter(None, (self._ways[above], name)))
        done: list[str] = []
        left = _parts(path)
        for _ in range(_LINKS_FOLLOWED + len(left)):
            part = left.pop(0)
            done.append(part)
            if not left:
                if above:
                    self._ways[above] = "/".join(done[:-1])
                return "/".join(done)
            entry = self._entries.get("/".join(done))
            if entry is None or entry.kind is not NodeKind.SYMLINK:
                continue
            done.pop()
            if entry.target.startswith("/"):
                done.clear()
            left = _joined(done, entry.target) + left
            done = []
        raise InputError(f"too many levels of symbolic links on the way to /{path} in the image")


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{path!r} is not a path inside an image")
    return parts


def _joined(base: list[str], target: str) -> list[str]:
    """Apply a symlink's target to the directory it stands in; `..` above the root stays at the root."""
    parts = list(base)
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return parts
