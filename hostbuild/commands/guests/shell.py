"""hostbuild shell: a shell on this terminal, in a running guest or in one that is booted for it."""

import shlex
import sys
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.commands.guests._common import run_in
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.sniff import near_files
from hostbuild.guest.share import directory_in
from hostbuild.live.command import current_directory, leaving, run_command, shell_request
from hostbuild.live.names import all_places, place_of, require_free
from hostbuild.live.options import NOBODY_LOOKS_S, GuestOptions
from hostbuild.near import did_you_mean

_EPILOG = """The shell has a terminal of its own in the guest: size, colours, history, Ctrl-C and Ctrl-Z work, and
no line of the kernel's log comes between. Ctrl-] leaves it. Without a terminal here it reads commands from standard
input.

\b
Examples:
  hostbuild shell micro.img
  hostbuild shell micro.img --share .
  hostbuild shell box      # a guest of `hostbuild run micro.img --detach box`
"""


@click.command("shell", epilog=_EPILOG)
@_options.guest
@_options.cwd
@_options.own_name
@_options.timeout()
@_options.dry_run
def command(
    guest: GuestOptions, cwd: str | None, name: str | None, timeout: float | None, dry_run: bool
) -> int:
    """Open a shell in a guest: IMAGE is booted for it, or is the NAME of one that runs."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if name:
        require_free(name)
    if _is_name(guest.image):
        return run_in(str(guest.image), (), cwd, tty=True)
    if not (guest.image.exists() or "/" in str(guest.image)):
        near = did_you_mean(str(guest.image), [place.name for place in all_places()])
        raise InputError(
            f"there is neither an image nor a running guest {guest.image}{near or near_files(guest.image)}",
            hint="hostbuild list names the guests; hostbuild make-image -o FILE makes an image",
        )
    session = guest.session(limit_s=timeout or (float("inf") if interactive else NOBODY_LOOKS_S), agent=True)
    if dry_run:
        ui.line(shlex.join(session.argv()))
        return 0
    where = directory_in(guest.shares, current_directory()) if cwd is None else cwd
    start, stdin = shell_request(where)
    if interactive:
        for note in session.notes:
            ui.note(note)
    return leaving(lambda: run_command(session, start, name=name, stdin=stdin))


def _is_name(image: Path) -> bool:
    if image.exists() or "/" in str(image):
        return False
    try:
        return place_of(str(image)).directory.is_dir()
    except UsageError:
        return False
