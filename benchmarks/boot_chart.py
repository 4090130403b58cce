"""The table and the plot of benchmarks/bench_boot.py: from medians to Markdown and SVG."""

from collections.abc import Mapping

# Key of a run's figure, its heading in the table.
COLUMNS = {
    "nic": "first NIC",
    "disk": "virtio disk",
    "settled": "settled",
    "complete": "last module in",
    "overhead": "once more",
}
_COLOURS = {"nic": "#4878a8", "disk": "#c8793c", "settled": "#5a8f5a", "complete": "#8a8a8a"}
_LEFT, _WIDTH, _BAR, _GAP = 330, 560, 9, 14


def table(figures: Mapping[str, Mapping[str, float]], modules: Mapping[str, int]) -> str:
    """Return the Markdown table; milliseconds."""
    lines = [f"| | {' | '.join(COLUMNS.values())} | modules |", f"|---|{'---:|' * (len(COLUMNS) + 1)}"]
    for way, row in figures.items():
        cells = " | ".join("–" if row[key] != row[key] else f"{row[key]:,.0f}" for key in COLUMNS)
        name = way.replace("|", "\\|")
        lines.append(f"| {name} | {cells} | {modules[way]} |")
    return "\n".join(lines) + "\n"


def chart(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the SVG: a group of bars for each way, a bar for each time."""
    most = max(value for row in figures.values() for value in row.values() if value == value)
    height_of_group = _BAR * len(_COLOURS) + _GAP
    height = 40 + height_of_group * len(figures) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 70} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_LEFT + _WIDTH + 70}" height="{height}" fill="white"/>',
    ]
    for number, (key, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + number * 130
        parts.append(f'<rect x="{x}" y="12" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="21">{COLUMNS[key]}</text>')
    y = 40.0
    for way, row in figures.items():
        middle = y + height_of_group / 2 - _GAP / 2 + 4
        parts.append(f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{_escaped(way)}</text>')
        for key, colour in _COLOURS.items():
            value = row[key]
            if value == value:
                width = value / most * _WIDTH
                parts.append(
                    f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{colour}"/>'
                )
                parts.append(
                    f'<text x="{_LEFT + width + 4:.1f}" y="{y + 8}" font-size="9">{value:,.0f}</text>'
                )
            y += _BAR
        y += _GAP
    parts.append(
        f'<text x="{_LEFT}" y="{height - 8}">milliseconds of guest time since the start (1 = 1 million '
        "instructions)</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
