"""hostbuild prove: boots an image and holds its drivers against those of a ledger."""

from dataclasses import asdict
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import GuestTimeoutError, InputError
from hostbuild.formats.manifest import files_beside
from hostbuild.fs.path_types import InputPath
from hostbuild.predict.prove import Proof
from hostbuild.qemu.vm import VM

_LATE_S = 10.0  # how long nothing may come before a device counts as not coming
_EPILOG = """\b
The machine has to be the one that the ledger was recorded on.

Exit status 1 if a device that had a driver in the ledger has another one or none, or is not there; 112 if the
guest was lost; 124 at the time limit.

\b
Example:
  hostbuild run all.img --machine q35 --exit-when-settled --ledger-out q.jsonl
  hostbuild make-image --learn q.jsonl -o small.img
  hostbuild prove small.img --ledger q.jsonl --machine q35
"""


@click.command("prove", epilog=_EPILOG)
@click.argument("image", type=InputPath(beside=files_beside))
@click.option(
    "--ledger",
    "ledger_file",
    type=InputPath(),
    required=True,
    help="The boot to compare with.",
    metavar="FILE",
)
@_options.boot_kernel
@_options.machine
@_options.devices
@_options.append
@_options.accel
@_options.timeout(300.0)
@_options.ledger_out
@_options.as_json("the comparison")
def command(
    image: Path,
    ledger_file: Path,
    kernel: str | None,
    machine_name: str,
    devices: tuple[str, ...],
    append: str,
    accel: str,
    timeout: float,
    ledger_out: Path | None,
    as_json: bool,
) -> int:
    """Boot IMAGE and show that the devices of a ledger get the same drivers."""
    from hostbuild.ledger.file import read_history, write_ledger
    from hostbuild.predict.prove import prove
    from hostbuild.qemu.machine import read_machine
    from hostbuild.qemu.session import prepare
    from modaliasd.core.ledger.history import history_of

    before = read_history(ledger_file)
    if not any(device.driver for device in before.devices.values()):
        raise InputError(f"the ledger {ledger_file} has no device with a driver: there is nothing to prove")
    session = prepare(
        image,
        read_machine(machine_name, devices),
        kernel=kernel,
        append=append,
        accel=accel,
        limit_s=timeout,
    )
    with ui.reporter(as_json=as_json).step(f"Booting {image.name}"), session.vm() as vm:
        vm.settled(timeout=timeout)
        proof = prove(before, history_of(vm.ledger))
        while not proof.holds and _more_comes(vm):
            proof = prove(before, history_of(vm.ledger))
        records = list(vm.ledger)
    if ledger_out is not None:
        write_ledger(ledger_out, records)
    if as_json:
        ui.print_json({"holds": proof.holds} | asdict(proof))
    else:
        _print(proof)
    return int(not proof.holds)


def _more_comes(vm: VM) -> bool:
    """Wait for the next settle: USB disks, for one, come a second after their driver."""
    try:
        vm.settled(since=len(vm.ledger), timeout=_LATE_S)
    except GuestTimeoutError:
        return False
    return True


def _print(proof: Proof) -> None:
    for change in proof.changed:
        ui.line(f"{change.what}: was driven by {change.before}, now by {change.after or 'no driver'}")
    for devpath in proof.gone:
        late = " (it came after the first settle: was it plugged in?)" if devpath in proof.plugged else ""
        ui.line(f"{devpath} is not there{late}")
    total = proof.same + len(proof.changed) + len(proof.gone)
    if proof.holds:
        ui.line(f"all {total} devices with a driver have the same driver")
        return
    ui.line(f"{proof.same} of {total} devices with a driver have the same driver")
    if proof.same < total / 2:
        ui.line("most are missing: is this the machine of the ledger? --machine names it")
