"""The timeline as a still picture: one bar a module, in SVG, for papers and wikis."""

from html import escape
from typing import Any

from hostbuild.report.dot import COLOURS
from modaliasd.core.printable import printable

_LABEL, _WIDTH, _ROW, _TOP = 190, 1000, 15, 34  # pixels: the names' column, the bars', a row, the scale above


def render_svg(model: dict[str, Any]) -> str:
    """Return the picture, of everything from the daemon's start to the ledger's end."""
    loads = sorted((load for load in model["loads"] if load["end"] >= 0), key=_begin)
    begin, end = model["started"], max(model["last"], model["started"] + 1)
    height = _TOP + _ROW * len(loads) + 12
    scale = _WIDTH / (end - begin)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL + _WIDTH + 20}" height="{height}" '
        f'viewBox="0 0 {_LABEL + _WIDTH + 20} {height}" font-family="sans-serif" font-size="11">',
        f"<title>{_shown(model['title'])}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for at in _ticks(begin, end):
        x = _LABEL + (at - begin) * scale
        parts.append(f'<path d="M{x:.1f} 20V{height - 8}" stroke="#e1e4e8"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="16" fill="#59636e">{at / 1e6:g} s</text>')
    for number, load in enumerate(loads):
        parts += _row(load, _TOP + _ROW * number, begin, scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _shown(text: str) -> str:
    """Foreign text as XML's character data: without the controls that XML does not have."""
    return escape(printable(text))


def _begin(load: dict[str, Any]) -> tuple[int, str]:
    return (load["start"] if load["start"] >= 0 else load["end"]), load["module"]


def _ticks(begin: int, end: int) -> list[int]:
    """Round moments, some ten of them."""
    step = 10 ** max(3, len(str((end - begin) // 10)) - 1)
    while (end - begin) / step > 12:
        step *= 2
    first = -(-begin // step) * step
    return list(range(first, end + 1, step))


def _row(load: dict[str, Any], y: int, begin: int, scale: float) -> list[str]:
    def rect(start: int, stop: int, opacity: float, height: int) -> str:
        x, width = _LABEL + (start - begin) * scale, max(1.0, (stop - start) * scale)
        return (
            f'<rect x="{x:.1f}" y="{y + (10 - height) / 2:.1f}" width="{width:.1f}" height="{height}" '
            f'fill="{COLOURS[load["kind"]]}" fill-opacity="{opacity}"/>'
        )

    text = (
        f'<text x="{_LABEL - 8}" y="{y + 9}" text-anchor="end" fill="#1c2128">{_shown(load["module"])}</text>'
    )
    if not load["succeeded"]:
        x = _LABEL + (load["end"] - begin) * scale
        return [text, f'<text x="{x:.1f}" y="{y + 9}" fill="#c4300f">✕ {_shown(load["outcome"])}</text>']
    if load["start"] < 0:
        return [text, rect(load["end"], load["end"], 1, 10)]
    own_end = load["start"] + max(load["own"], 0)
    return [
        text,
        rect(max(load["queued"], begin), load["start"], 0.35, 3),
        rect(own_end, load["end"], 0.25, 10),
        rect(load["start"], own_end, 1, 10),
    ]
