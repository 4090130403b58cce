"""A treemap: what takes how much room, as rectangles in rectangles whose areas are the sizes. Pure.

The rows are "squarified", so that rectangles come near to squares: Bruls, Huizing and van Wijk, "Squarified Treemaps"
(2000).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_HEAD = 17.0  # pixels: the strip with the name of what holds others
_PAD = 2.0
_LEAST = 44.0  # what is narrower or lower has no strip
_SMALLEST = 0.35  # what would be narrower or lower is not drawn


@dataclass(slots=True)
class Item:
    """A file, or what holds others. size: of a file, or of all in it. packed: bytes of the image that are due to it."""

    name: str
    path: str = ""
    size: int = 0
    packed: int = 0
    inside: list["Item"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Box:
    """An item's place, in pixels. depth: 0 for the parts of all. head: it has a strip for its name."""

    item: Item
    x: float
    y: float
    width: float
    height: float
    depth: int
    head: bool


def lay_out(items: Sequence[Item], width: float, height: float) -> Iterator[Box]:
    """Yield the boxes of items and all that is in them, what holds others before what is inside."""
    yield from _lay(items, 0.0, 0.0, width, height, 0)


def _lay(items: Sequence[Item], x: float, y: float, width: float, height: float, depth: int) -> Iterator[Box]:
    sized = sorted((one for one in items if one.size > 0), key=lambda one: (-one.size, one.name))
    for item, (left, top, wide, high) in zip(
        sized, squarify([one.size for one in sized], x, y, width, height), strict=True
    ):
        if wide < _SMALLEST or high < _SMALLEST:
            continue
        head = bool(item.inside) and wide >= _LEAST and high >= _LEAST
        yield Box(item, left, top, wide, high, depth, head)
        if item.inside:
            pad, strip = (_PAD, _HEAD) if head else (0.0, 0.0)
            inner = wide - 2 * pad, high - strip - pad
            yield from _lay(item.inside, left + pad, top + strip, *inner, depth + 1)


def squarify(
    sizes: Sequence[int], x: float, y: float, width: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Return a rectangle (x, y, width, height) for each size, in their order, which is from the largest down."""
    found: list[tuple[float, float, float, float]] = []
    left = sum(sizes)
    at = 0
    while at < len(sizes):
        scale = width * height / left if left else 0.0
        row, total = _row(sizes, at, min(width, height), scale)
        thick = total * scale / min(width, height) if min(width, height) > 0 else 0.0
        offset = 0.0
        for size in sizes[at : at + row]:
            long = size * scale / thick if thick else 0.0
            if width >= height:
                found.append((x, y + offset, thick, long))
            else:
                found.append((x + offset, y, long, thick))
            offset += long
        if width >= height:
            x, width = x + thick, max(width - thick, 0.0)
        else:
            y, height = y + thick, max(height - thick, 0.0)
        at += row
        left -= total
    return found


def _row(sizes: Sequence[int], start: int, side: float, scale: float) -> tuple[int, int]:
    """Return how many sizes make the next row along a side, and their sum: more, while none gets longer by it."""
    count, total = 1, sizes[start]
    worst = _worst(sizes[start], sizes[start], total, side, scale)
    while start + count < len(sizes):
        size = sizes[start + count]
        after = _worst(sizes[start], size, total + size, side, scale)
        if after > worst:
            break
        count, total, worst = count + 1, total + size, after
    return count, total


def _worst(largest: int, least: int, total: int, side: float, scale: float) -> float:
    """Return how far the longest rectangle of a row is from a square; 1 is one."""
    if not side or not scale or not least:
        return float("inf")
    thick = total * scale / side
    return max(thick * thick / (least * scale), largest * scale / (thick * thick))
