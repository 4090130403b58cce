"""hostbuild stop: ends a detached guest."""

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import GuestError
from hostbuild.live.client import connected
from hostbuild.live.names import all_places

_PATIENCE_S = 60.0


@click.command("stop")
@_options.guest_names
@click.option("--all", "everyone", is_flag=True, help="Stop all of them.")
@_options.as_json("the names of those that were stopped")
def command(names: tuple[str, ...], everyone: bool, as_json: bool) -> None:
    """Switch detached guests off: their disks are left in order, and nothing of them stays behind."""
    if bool(names) is everyone:
        raise click.UsageError("name the guests, or give --all", click.get_current_context())
    if everyone:
        names = tuple(place.name for place in all_places() if place.alive())
    stopped: list[str] = []
    try:
        for name in dict.fromkeys(names):
            with ui.reporter(as_json=as_json).step(f"Stopping {name}"):
                stop(name)
            stopped.append(name)
            if not as_json:
                ui.line(f"{name}: stopped")
    finally:
        if as_json:
            ui.print_json({"stopped": stopped})


def stop(name: str) -> None:
    """Stop one guest. Raises InputError where there is none, GuestError where it does not end."""
    with connected(name) as guest:
        place = guest.place
        guest.ask("stop")
    if not place.wait_end(_PATIENCE_S):
        pid = place.read("guest").get("pid")
        raise GuestError(f"the guest {name} does not end", hint=f"kill {pid}" if pid else "")
    place.remove()
