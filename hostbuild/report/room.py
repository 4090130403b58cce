"""What takes the room in an image: its files by part and folder, with their sizes and their share of the packed bytes.

A compressed archive is one stream, of which no file has bytes of its own. So its bytes are shared out: to each file in
proportion to what it would have if it were packed by itself.
"""

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import zstandard

from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs.archive import Image, group_of
from hostbuild.report.treemap import Item

WRITTEN_OVER = "written over"  # what later members of the same name take the place of
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Room:
    """An image's parts, the largest first. size: of all files; packed: of the image. files: how many."""

    name: str
    parts: tuple[Item, ...]
    size: int
    packed: int
    files: int

    def largest(self, count: int) -> list[Item]:
        """Return the largest files."""
        waiting, found = list(self.parts), []
        while waiting:
            item = waiting.pop()
            waiting += item.inside
            found += [] if item.inside else [item]
        return sorted(found, key=lambda one: (-one.size, one.path))[:count]


def read_room(image: Image, groups: Mapping[str, str], advance: Callable[[int], object]) -> Room:
    """Read an image through. groups: path -> part, by its manifest; others are told by their paths.

    advance: is called with how many bytes were read. Raises ImageError.
    """
    paths: dict[int, str] = {}
    for path, node in image.root.walk():
        if stat.S_ISREG(node.mode) and node.source is not None:
            paths.setdefault(node.source, path)
    files: list[tuple[str, str, int, int, tuple[int, Compressor]]] = []
    streams: dict[tuple[int, Compressor], tuple[int, int]] = {}  # -> packed bytes, files packed one by one
    for number, part, member, body in image.bodies():
        if not stat.S_ISREG(member.mode) or member.is_trailer or member.passed_over or not member.size:
            continue
        alone = member.size if part.compressor is Compressor.NONE else _packed(body)
        advance(member.size)
        there = number in paths
        path = paths.get(number, member.name.strip("/"))
        stream = (part.offset, part.compressor)
        files.append((_group(path, groups) if there else WRITTEN_OVER, path, member.size, alone, stream))
        total = streams.get(stream, (0, 0))[1]
        streams[stream] = (0, total + alone)
    packed = {(one.offset, one.compressor): one.packed for one in image.segments}
    parts: dict[str, Item] = {}
    for group, path, size, alone, stream in files:
        whole = (
            packed.get(stream, streams[stream][1]) if stream[1] is not Compressor.NONE else streams[stream][1]
        )
        share = alone * whole // max(streams[stream][1], 1)
        _put(parts.setdefault(group, Item(group)), path, size, share)
    ordered = sorted(map(_joined, parts.values()), key=lambda one: (-one.size, one.name))
    return Room(image.path.name, tuple(ordered), sum(one.size for one in ordered), image.size, len(files))


def _group(path: str, groups: Mapping[str, str]) -> str:
    return groups.get(path) or group_of(path)


def _packed(body: Iterable[bytes]) -> int:
    packer = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    size = sum(len(packer.compress(piece)) for piece in body)
    return size + len(packer.flush())


def _put(part: Item, path: str, size: int, packed: int) -> None:
    at = part
    at.size, at.packed = at.size + size, at.packed + packed
    names = [name for name in path.split("/") if name]
    for depth, name in enumerate(names, 1):
        last = depth == len(names)
        found = None if last else next((one for one in at.inside if one.name == name and one.inside), None)
        if found is None:
            found = Item(name, "/".join(names[:depth]))
            at.inside.append(found)
        found.size, found.packed = found.size + size, found.packed + packed
        at = found


def _joined(item: Item) -> Item:
    """Join folders that hold but one folder, so that a path of many is one box."""
    item.inside = list(map(_joined, item.inside))
    while len(item.inside) == 1 and item.inside[0].inside:
        [only] = item.inside
        item.name = f"{item.name}/{only.name}" if item.path else item.name
        item.path = only.path if item.path else item.path
        item.inside = only.inside
    return item
