"""hostbuild list: the guests that have a name."""

import time
from pathlib import Path
from typing import Any

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.live.names import all_places, describe


@click.command("list")
@_options.as_json("the guests")
def command(as_json: bool) -> None:
    """List the guests that have a name; one that ended is listed once more, with how it ended, and then forgotten."""
    rows = [describe(place) for place in all_places()]
    for place in all_places():
        if not place.alive() and any(row["name"] == place.name and not row["alive"] for row in rows):
            place.remove()
    if as_json:
        ui.print_json(rows)
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        ui.note("no guest with a name is running; hostbuild run --detach NAME IMAGE starts one")
        return
    width = max(len("NAME"), *(len(row["name"]) for row in rows))
    ui.line(f"{'NAME':{width}}  {'UP FOR':>8}  {'MACHINE':10}  IMAGE")
    for row in rows:
        if row["alive"]:
            image = Path(row["image"]).name
            ui.line(f"{row['name']:{width}}  {_age(row['since']):>8}  {row['machine']:10}  {image}")
        else:
            ui.line(f"{row['name']:{width}}  {'ended':>8}  {row['ended']}")


def _age(since: object) -> str:
    if not isinstance(since, int | float):
        return "?"
    seconds = max(0, int(time.time() - since))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
