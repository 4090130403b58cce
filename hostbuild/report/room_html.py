"""What takes the room in an image, as one page that needs no network: a treemap, and tables of the same for reading."""

import html
from collections.abc import Iterable
from importlib.resources import files

from hostbuild.report.room import Room
from hostbuild.report.treemap import Box, Item, lay_out
from modaliasd.core.printable import printable

_WIDTH, _HEIGHT = 1200.0, 680.0
_CHARACTER = 6.3  # pixels, of the labels' font
_LINE = 13.0
_LARGEST = 40  # files in the table
_HUES = 8  # classes of colour in the style sheet; further parts begin anew


def render_room(room: Room) -> str:
    """Return the page."""
    colours = {part.name: number % _HUES for number, part in enumerate(room.parts)}
    values = {
        "style": _read("room.css"),
        "script": f'"use strict";\n(() => {{\n{_read("room.js")}}})();\n',
        "title": _shown(room.name),
        "figures": f"{room.files:,} files, {_bytes(room.size)} unpacked, {_bytes(room.packed)} as an image",
        "legend": "".join(_legend(part, colours[part.name], room) for part in room.parts),
        "map": _map(room, colours),
        "parts": "".join(_row(part.name, part, room) for part in room.parts),
        "files": "".join(_row(item.path, item, room) for item in room.largest(_LARGEST)),
    }
    head, *rest = _read("room.html").split("{{")
    parts = [head]
    for piece in rest:
        name, _, text = piece.partition("}}")
        parts += [values[name], text]
    return "".join(parts)


def _map(room: Room, colours: dict[str, int]) -> str:
    found = [
        f'<svg id="map" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="Treemap of the files">'
    ]
    colour = 0
    for box in lay_out(room.parts, _WIDTH, _HEIGHT):
        if box.depth == 0:
            colour = colours[box.item.name]
        found += _box(box, colour, room)
    return "\n".join([*found, '<path id="mark"/>', "</svg>"])


def _box(box: Box, colour: int, room: Room) -> Iterable[str]:
    item = box.item
    gap = 0.5 if min(box.width, box.height) > 3 else 0.0
    kind = "part" if box.depth == 0 else "folder" if item.inside else "file"
    told = f"{item.path or item.name}: {_figures(item, room)}"
    yield (
        f'<rect class="{kind} c{colour}" data-d="{box.depth}" x="{box.x:.1f}" y="{box.y:.1f}" '
        f'width="{max(box.width - gap, 0.1):.1f}" height="{max(box.height - gap, 0.1):.1f}">'
        f"<title>{_shown(told)}</title></rect>"
    )
    if item.inside and not box.head:
        return
    label = _fitting(printable(item.name), box.width - 8)
    if label and box.height >= _LINE + 3:
        y = box.y + 12.5
        yield f'<text class="{kind}" x="{box.x + 4:.1f}" y="{y:.1f}">{html.escape(label)}</text>'
        size = _bytes(item.size)
        if not item.inside and box.height >= 2 * _LINE + 5 and _fitting(size, box.width - 8) == size:
            yield f'<text class="size" x="{box.x + 4:.1f}" y="{y + _LINE:.1f}">{html.escape(size)}</text>'


def _fitting(text: str, width: float) -> str:
    room = int(width / _CHARACTER)
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}…" if room >= 4 else ""


def _legend(part: Item, colour: int, room: Room) -> str:
    return f'<li><span class="swatch c{colour}"></span>{_shown(part.name)} <b>{_share(part.size, room.size)}</b></li>'


def _row(name: str, item: Item, room: Room) -> str:
    return (
        f'<tr><th scope="row">{_shown(name)}</th><td>{item.size:,}</td><td>{_share(item.size, room.size)}</td>'
        f"<td>{item.packed:,}</td><td>{_share(item.packed, room.packed)}</td></tr>"
    )


def _figures(item: Item, room: Room) -> str:
    return (
        f"{_bytes(item.size)} ({_share(item.size, room.size)}), packed about {_bytes(item.packed)} "
        f"({_share(item.packed, room.packed)})"
    )


def _share(size: int, whole: int) -> str:
    return f"{100 * size / whole:.1f} %" if whole else "0 %"


def _bytes(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.1f} KiB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


def _shown(text: str) -> str:
    """Foreign text as character data, or as an attribute's."""
    return html.escape(printable(text))


def _read(name: str) -> str:
    return (files(__package__) / "room_page" / name).read_text(encoding="utf-8")
