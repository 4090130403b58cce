"""`hostbuild demo`: the main job, told on a terminal."""

import sys
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.demo import run_demo
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.path_types import OutputPath
from hostbuild.ledger.file import write_ledger
from hostbuild.qemu.accel import choose
from modaliasd.core.ledger.text_tree import render_tree


@click.command()
@click.option(
    "-o",
    "--image",
    type=OutputPath("the image", beside=lambda image: (*files_beside(image), _ledger(image)), parents=True),
    default=Path("build/demo.img"),
    show_default=True,
    help="The image to write.",
)
@_options.accel
def command(image: Path, accel: str) -> int:
    """Build an image, boot a zoo of emulated hardware, plug devices in and out, and tell the history as a tree.

    The exit status is 0 only if every device that should have a driver has one.
    """
    image.parent.mkdir(parents=True, exist_ok=True)
    choice = choose(accel)
    click.echo(f"running under {choice.accel.value}: {choice.why}")
    story: list[str] = []

    def say(line: str) -> None:
        story.append(line)
        if sys.stderr.isatty():
            ui.complain(
                line
            )  # as it happens; below the tree, which may have hundreds of lines, it stands once more

    told = run_demo(image, choice.accel, ui.reporter(), say)
    ledger = _ledger(image)
    write_ledger(ledger, told.records)
    sys.stdout.write(render_tree(told.history, color=ui.wants_color()))
    ui.line("")
    for line in story:
        ui.line(line)
    sys.stdout.flush()
    click.echo(f"the ledger: {ledger}; as a page: hostbuild report {ledger} -o report.html")
    for complaint in told.complaints:
        ui.complain(f"problem: {complaint}")
    if told.complaints:
        return 1
    click.echo("every device that should have a driver has one")
    return 0


def _ledger(image: Path) -> Path:
    return image.with_suffix(".ledger.jsonl")
