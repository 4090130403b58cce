"""hostbuild predict: which modules a captured machine would have loaded, and which devices would stay alone."""

from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import UsageError
from hostbuild.fs.path_types import InputPath

_EPILOG = """CAPTURE is what `hostbuild capture` wrote, a ledger, or a umockdev recording. It should be of a machine
whose drivers were loaded: what appears behind a driver is only there to be captured once the driver is.
Or it is a board's device tree (.dtb), of which nothing has to have been booted.

Exit status 1 if a device that has a driver in CAPTURE would have none, or would not be there.

\b
Examples:
  hostbuild predict laptop.json --image micro.img
  hostbuild predict boot.jsonl --kernel deb:linux-image-amd64 --json
  hostbuild predict boot.jsonl --image x.img --append modprobe.blacklist=e1000
  hostbuild predict board.dtb --kernel deb:linux-image-arm64
"""


@click.command("predict", epilog=_EPILOG)
@click.argument("capture_file", metavar="CAPTURE", type=InputPath())
@click.option(
    "--image", type=InputPath(), help="Predict for this image: its modules, modprobe.d and modules-load.d."
)
@_options.kernel
@_options.modules_dir
@click.option(
    "--overlay",
    "overlays",
    multiple=True,
    type=InputPath(),
    help="Include an overlay's modprobe.d, modules-load.d and policy.",
)
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=InputPath(),
    help="Include a file, or a directory of files, of modprobe.d.",
)
@_options.append
@_options.as_json("the prediction")
def command(
    capture_file: Path,
    image: Path | None,
    kernel: str | None,
    modules_dir: Path | None,
    overlays: tuple[Path, ...],
    configs: tuple[Path, ...],
    append: str,
    as_json: bool,
) -> int:
    """Predict what the daemon would load on the machine of CAPTURE, without booting anything.

    With --image from that image's modules and its configuration, else from all modules of a kernel.
    """
    from hostbuild.kernels.kernel import require_kernel
    from hostbuild.predict.capture import CaptureKind
    from hostbuild.predict.file import read_capture
    from hostbuild.predict.simulate import predict
    from hostbuild.predict.target import open_image, open_kernel, read_config
    from hostbuild.predict.text import prediction_fields, render_prediction

    if image is not None and (kernel is not None or modules_dir is not None):
        raise UsageError("--image brings its own kernel's modules; leave --kernel and --modules-dir out")
    capture = read_capture(capture_file)
    config = read_config(overlays, configs)
    if image is not None:
        target = open_image(image, config, append)
    else:
        found = require_kernel(kernel, modules_dir, ui.reporter(as_json=as_json))
        target = open_kernel(found, config, append)
    for problem in target.problems:
        ui.complain(f"{problem.file}:{problem.line}: {problem.message}")
    prediction = predict(capture, target)
    if as_json:
        ui.print_json(prediction_fields(prediction))
    else:
        of_tree = capture.source is CaptureKind.DEVICETREE
        ui.lines(render_prediction(prediction, target.name, of_tree=of_tree).rstrip("\n"))
    return int(bool(prediction.lost))
