"""hostbuild tree: a ledger as a tree, as the guest's `modaliasd tree` prints it."""

import sys
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.fs.path_types import InputPath
from hostbuild.ledger.file import read_history
from modaliasd.core.ledger.answers.jsonable import tree_fields
from modaliasd.core.ledger.text_tree import WIDTH, render_tree


@click.command("tree")
@click.argument("ledger", type=InputPath())
@click.option(
    "--by",
    type=click.Choice(["device", "module", "time"]),
    default="device",
    show_default=True,
    help="What the tree is ordered by.",
)
@click.option("--color/--no-color", default=None, help="Colour the tree. Default: on a terminal only.")
@click.option("--full", is_flag=True, help="Do not truncate lines.")
@_options.as_json("devices and loads")
def command(ledger: Path, by: str, color: bool | None, full: bool, as_json: bool) -> None:
    """Print LEDGER as a tree: devices with what they matched, what was loaded, what drives them."""
    if as_json:
        ui.print_json(tree_fields(read_history(ledger)))
        return
    color = ui.wants_color() if color is None else color
    sys.stdout.write(render_tree(read_history(ledger), by, color=color, width=0 if full else WIDTH))
