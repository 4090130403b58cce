"""hostbuild ram: how much memory an image needs, reckoned and, on demand, proved by booting."""

from pathlib import Path

import click

from hostbuild import ui
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.path_types import InputPath, InputWord


@click.command("ram")
@click.argument("image", type=InputPath(beside=files_beside))
@click.option(
    "--kernel",
    type=InputWord(),
    help="A vmlinuz, or deb:PACKAGE. Default: the kernel that the image was built for.",
)
@click.option("--append", default="", help="Words for the kernel's command line: rootfstype=ramfs counts.")
@click.option("--prove", "proving", is_flag=True, help="Find the true limit by booting, some ten times.")
@click.option(
    "--machine",
    "machine_name",
    type=InputWord(),
    default="virtio",
    show_default=True,
    help="The hardware for --prove.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    image: Path, kernel: str | None, append: str, proving: bool, machine_name: str, as_json: bool
) -> None:
    """Say how much memory a guest needs at least to boot IMAGE, and what for."""
    from hostbuild.qemu.memory_probe import read_estimate
    from hostbuild.qemu.pairing import read_manifest_if_any, require_kernel_for

    manifest = read_manifest_if_any(image)
    vmlinuz = require_kernel_for(image, manifest, kernel)
    prediction = read_estimate(image, manifest, vmlinuz, append)
    if not as_json:
        for name, size in prediction.rows:
            ui.line(f"{name:36} {ui.size(size):>10}")
        ui.line(f"{'at least':36} {prediction.least:>6} MiB: {prediction.bound.value}")
        ui.line(f"{'--memory auto takes':36} {prediction.comfortable:>6} MiB")
    proved = None
    if proving:
        from hostbuild.qemu.accel import choose
        from hostbuild.qemu.machine import read_machine
        from hostbuild.qemu.memory_probe import Attempt, prove
        from hostbuild.qemu.vm import Boot

        def heard(attempt: Attempt) -> None:
            outcome = "settled" if attempt.booted else attempt.why
            click.echo(f"  {attempt.memory} MiB: {outcome} ({attempt.seconds:.0f} s)", err=True)

        words = f"{manifest.get('append', '')} {append}".strip()
        boot = Boot(vmlinuz, image, append=words, accel=choose().accel, agent=False)
        proved = prove(read_machine(machine_name), boot, prediction, heard)
        if not as_json:
            off = 100 * (prediction.least / proved.least - 1)
            ui.line(f"{'proved':36} {proved.least:>6} MiB: the prediction is {off:+.1f} % off")
    if as_json:
        ui.print_json(
            {
                "least": prediction.least,
                "auto": prediction.comfortable,
                "bound": prediction.bound.name.lower(),
                "rows": dict(prediction.rows),
                "proved": proved.least if proved else None,
            }
        )
