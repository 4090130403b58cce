"""hostbuild cache: what is kept between runs, how large it is, and away with what nobody uses."""

import re
import time
from collections.abc import Sequence
from typing import Any

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.debs import cache_directory
from hostbuild.errors import UsageError
from hostbuild.fs.usage import KINDS, Entry, entries_of, remove

_EXAMPLES = """\b
Examples:
  hostbuild cache
  hostbuild cache --trim 30d
  hostbuild cache --trim 0           # all: the next image fetches it again
"""
_UNITS = {"": 86400, "d": 86400, "h": 3600, "w": 7 * 86400}


@click.command("cache", epilog=_EXAMPLES)
@click.option(
    "--trim",
    metavar="AGE",
    help="Remove what has not been used for so long: 30d, 12h, 2w. What runs meanwhile may need what 0 removes.",
)
@_options.as_json("the kinds with their sizes, and what was removed,")
def command(trim: str | None, as_json: bool) -> None:
    """Show what is kept between runs, by kind; remove what nobody has used for a while.

    Everything in it can be fetched or made again. Packages' lists and guests that run are left alone.
    """
    cache = cache_directory()
    gone: list[Entry] = []
    if trim is not None:
        before = time.time() - _seconds(trim)
        gone = remove(entry for entry in entries_of(cache) if entry.used <= before)
    left = entries_of(cache)
    if as_json:
        told = {"directory": str(cache), "kinds": _rows(left), "removed": _rows(gone)}
        ui.print_json(told)
        return
    ui.line(f"{cache}: {ui.size(sum(entry.size for entry in left))}")
    for row in _rows(left):
        what = KINDS.get(row["kind"], "of another version")
        ui.line(f"  {ui.size(row['size']):>10}  {row['entries']:>5}  {row['kind']:<15}  {what}")
    if trim is not None:
        ui.line(f"removed {len(gone)}, {ui.size(sum(entry.size for entry in gone))}")


def _rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return a row for each kind, the largest first."""
    kinds = dict.fromkeys(entry.kind for entry in entries)
    rows = []
    for kind in kinds:
        mine = [entry for entry in entries if entry.kind == kind]
        rows.append(
            {
                "kind": kind,
                "entries": len(mine),
                "size": sum(entry.size for entry in mine),
                "oldest_use": int(min(entry.used for entry in mine)),
            }
        )
    return sorted(rows, key=lambda row: -row["size"])


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([dhw]?)", text)
    if match is None:
        raise UsageError(f"invalid age {text!r}", hint="30d for thirty days, 12h, 2w, or 0 for everything")
    return float(match[1]) * _UNITS[match[2]]
