"""A run as one page that needs no network: kernels by machines, each cell a link to its report. Pure."""

import html
from collections.abc import Sequence

from hostbuild.matrix.results.rows import Row, counts, grid_of
from hostbuild.matrix.results.verdict import Verdict
from modaliasd.core.printable import printable

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8886; padding: .3rem .6rem; text-align: left; white-space: nowrap; }
thead th { position: sticky; top: 0; background: Canvas; }
td.passed { background: #2a82; } td.failed { background: #d333; font-weight: 600; } td.lost { background: #e903; }
td.none { color: #8888; }
a { color: inherit; }
dt { margin-top: .8rem; font-weight: 600; } dd { margin-left: 1.2rem; white-space: pre-wrap; }
small { color: #888; }
"""


def render_page(rows: Sequence[Row], title: str, about: str, files: dict[str, tuple[str, ...]]) -> str:
    """Return the page. about: a line under the title. files: what of each cell's lies in its directory, by key."""
    grid = grid_of(rows)
    number = counts(rows)
    head = "".join(f"<th scope=col>{_text(machine)}</th>" for machine in grid.machines)
    body = []
    for label, found in grid.lines:
        cells = "".join(_cell(found.get(machine), files) for machine in grid.machines)
        body.append(f"<tr><th scope=row>{_text(label)}</th>{cells}</tr>")
    lines = "\n".join(body)
    bad = [row for row in rows if row.verdict is not Verdict.PASSED]
    troubles = "".join(_trouble(row, files) for row in bad)
    said = f"{number['passed']} of {number['cells']} cells as expected"
    said += f", {number['failed']} failed" if number["failed"] else ""
    said += f", {number['lost']} without a result" if number["lost"] else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>'
        f"<h1>{_text(title)}</h1><p>{said}. <small>{_text(about)}</small></p>\n"
        f"<div class=wide><table><thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>\n"
        + (f"<h2>What is not as expected</h2><dl>{troubles}</dl>\n" if bad else "")
        + "</body></html>\n"
    )


def _cell(row: Row | None, files: dict[str, tuple[str, ...]]) -> str:
    if row is None:
        return "<td class=none>–</td>"
    shown = _text(row.mark)
    there = files.get(row.key or "", ())
    if there:
        shown = f'<a href="cells/{row.key}/{there[0]}">{shown}</a>'
    more = "; ".join([*row.complaints, *row.notes])
    settled = f"settled after {row.settled_ms:.0f} ms" if row.settled_ms is not None else ""
    hint = html.escape(printable("; ".join(filter(None, (settled, more)))[:500]), quote=True)
    return f'<td class={row.verdict.value} title="{hint}">{shown}</td>'


def _trouble(row: Row, files: dict[str, tuple[str, ...]]) -> str:
    links = " ".join(f'<a href="cells/{row.key}/{name}">{name}</a>' for name in files.get(row.key or "", ()))
    words = "\n".join([*row.complaints, *([f"hint: {row.fix}"] if row.fix else [])])
    shown = "\n".join(_text(line) for line in words.split("\n"))
    return f"<dt>{_text(row.name)} <small>{links}</small></dt><dd>{shown}</dd>"


def _text(text: str) -> str:
    return html.escape(printable(text))
