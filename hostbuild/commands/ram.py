"""hostbuild ram: how much memory an image needs, reckoned and, on demand, proved by booting."""

from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.path_types import InputPath


@click.command("ram")
@click.argument("image", type=InputPath(beside=files_beside))
@_options.boot_kernel
@_options.append
@click.option("--prove", "proving", is_flag=True, help="Find the true limit by booting, some ten times.")
@_options.machine
@_options.as_json("the table")
def command(
    image: Path, kernel: str | None, append: str, proving: bool, machine_name: str, as_json: bool
) -> None:
    """Say how much memory a guest needs at least to boot IMAGE, and what for.

    Of the words of --append, rootfstype=ramfs counts. --machine is the hardware for --prove.
    """
    from hostbuild.qemu.machine import read_machine
    from hostbuild.qemu.session import prepare

    session = prepare(
        image,
        read_machine(machine_name),
        kernel=kernel,
        append=append,
        memory="auto",
        accel="auto" if proving else "tcg",  # which nothing has to be started for
    )
    estimate = session.estimate
    if not as_json:
        for name, size in estimate.rows:
            ui.line(f"{name:36} {ui.size(size):>10}")
        ui.line(f"{'at least':36} {estimate.least:>6} MiB: {estimate.bound.value}")
        ui.line(f"{'--memory auto takes':36} {estimate.comfortable:>6} MiB")
    proved = None
    if proving:
        from hostbuild.qemu.memory_probe import Attempt, measure_minimum

        def heard(attempt: Attempt) -> None:
            outcome = "settled" if attempt.booted else attempt.why
            ui.complain(f"  {attempt.memory} MiB: {outcome} ({attempt.seconds:.0f} s)")

        proved = measure_minimum(session.machine, session.boot, estimate, heard)
        if not as_json:
            off = 100 * (estimate.least / proved.least - 1)
            ui.line(f"{'proved':36} {proved.least:>6} MiB: the estimate is {off:+.1f} % off")
    if as_json:
        ui.print_json(
            {
                "least": estimate.least,
                "auto": estimate.comfortable,
                "bound": estimate.bound.name.lower(),
                "rows": dict(estimate.rows),
                "proved": proved.least if proved else None,
            }
        )
