"""hostbuild plug: plugs a device into a detached guest."""

from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.live.client import connected
from hostbuild.qemu.device import Device, parse_device

_EPILOG = """\b
Examples:
  hostbuild plug box e1000,id=n1
  hostbuild plug box usb-storage,file=disk.img
  hostbuild run --list-devices
"""


@click.command("plug", epilog=_EPILOG)
@_options.guest_name
@_options.plugged_device
@_options.as_json("what became of it")
def command(name: str, device: str, as_json: bool) -> None:
    """Plug DEVICE into the detached guest NAME, and say what was loaded for it and what drives it."""
    device = str(_from_here(parse_device(device)))
    with (
        connected(name) as guest,
        ui.reporter(as_json=as_json).step(f"Plugging in {device.partition(',')[0]}"),
    ):
        done = guest.ask("plug", device=device)
    if as_json:
        ui.print_json(done)
        return
    loaded = ", ".join(done["loaded"])
    ui.line(f"{done['id']}: {f'loaded {loaded}' if loaded else 'nothing had to be loaded'}")
    for path, driver in done["drivers"].items():
        ui.line(f"  {driver} drives {path}")
    for module in done["failed"]:
        ui.line(f"  {module} was not loaded; hostbuild why {name} {module} says more")
    if not done["seen"]:
        ui.note("the guest has said nothing of a new device yet")


def _from_here(device: Device) -> Device:
    """Return the device with the path of its file as the keeper, which may be in another folder, finds it."""
    file = device.get("file")
    return device if file is None else device.without("file").having(file=str(Path(file).absolute()))
