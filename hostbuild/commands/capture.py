"""hostbuild capture: a machine's devices in a file, for `predict` and `make-image --learn`."""

import sys
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.errors import UsageError
from hostbuild.fs.files import write_file
from hostbuild.fs.path_types import InputPath, OutputPath
from hostbuild.predict.capture import parse_capture, render_capture

_EPILOG = """The file holds devices' paths, modaliases, drivers and nodes, and the modules in the kernel. A modalias of
the board (dmi) names its maker and model; no serial numbers are asked for. docs/capture.md describes it.

\b
Examples:
  hostbuild capture -o laptop.json
  hostbuild capture --from boot.jsonl -o guest.json
  hostbuild capture --root /mnt/copy-of-another-machine
"""


@click.command("capture", epilog=_EPILOG)
@click.option(
    "-o", "--output", type=OutputPath("the capture"), help="The file to write. Default: standard output."
)
@click.option(
    "--root", type=InputPath(), help="Read DIR/sys, the copy of another machine's /sys.", metavar="DIR"
)
@click.option(
    "--from",
    "source",
    type=InputPath(),
    metavar="FILE",
    help="Convert a ledger or a umockdev recording to a capture.",
)
def command(output: Path | None, root: Path | None, source: Path | None) -> None:
    """Record which devices this machine has, as the kernel and libudev show them."""
    from hostbuild.predict.file import read_capture
    from hostbuild.predict.machine import capture_machine, capture_root

    if root is not None and source is not None:
        raise UsageError("--root and --from are mutually exclusive")
    if source is not None:
        text = render_capture(read_capture(source))
    elif root is not None:
        text = render_capture(capture_root(root))
    else:
        text = render_capture(capture_machine())
    if output is None:
        sys.stdout.write(text)
        return
    write_file(output, text.encode("ascii"), "the capture")
    devices = parse_capture(text).devices
    with_modalias = sum(bool(one.device.modalias) for one in devices)
    driven = sum(bool(one.device.driver) for one in devices)
    ui.line(f"{output}: {len(devices)} devices, {with_modalias} with a modalias, {driven} with a driver")
