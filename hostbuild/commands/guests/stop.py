"""hostbuild stop: ends a detached guest."""

import click

from hostbuild import ui
from hostbuild.errors import GuestError
from hostbuild.live.client import connected
from hostbuild.live.names import all_places

_PATIENCE_S = 60.0


@click.command("stop")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everyone", is_flag=True, help="Stop all of them.")
def command(names: tuple[str, ...], everyone: bool) -> None:
    """Switch detached guests off: their disks are left in order, and nothing of them stays behind."""
    if bool(names) is everyone:
        raise click.UsageError("name the guests, or give --all", click.get_current_context())
    if everyone:
        names = tuple(place.name for place in all_places() if place.alive())
    for name in dict.fromkeys(names):
        with ui.reporter().step(f"Stopping {name}"):
            stop(name)
        ui.line(f"{name}: stopped")


def stop(name: str) -> None:
    """Stop one guest. Raises InputError where there is none, GuestError where it does not end."""
    with connected(name) as guest:
        place = guest.place
        guest.ask("stop")
    if not place.wait_end(_PATIENCE_S):
        pid = place.read("guest").get("pid")
        raise GuestError(f"the guest {name} does not end", hint=f"kill {pid}" if pid else "")
    place.remove()
