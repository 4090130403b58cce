"""hostbuild unplug: takes a device out of a detached guest."""

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.live.client import connected


@click.command("unplug")
@_options.guest_name
@click.argument("device_id", metavar="ID")
@_options.as_json("what became of it")
def command(name: str, device_id: str, as_json: bool) -> None:
    """Unplug the device ID from the detached guest NAME; returns once the guest has let it go."""
    with connected(name) as guest, ui.reporter(as_json=as_json).step(f"Unplugging {device_id}"):
        done = guest.ask("unplug", id=device_id)
    if as_json:
        ui.print_json(done)
    else:
        ui.line(f"{done['id']}: gone")
