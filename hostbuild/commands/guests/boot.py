"""hostbuild boot: from a kernel's build tree to a guest, in one command."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.commands.guests import _running
from hostbuild.fs.path_types import InputPath
from hostbuild.live.options import GuestOptions
from hostbuild.near import listed

_EPILOG = """TREE is what `make` left, or the output directory of `make O=`; modules_install is not needed. The image is
made once and kept. A module that was built again since is put behind it; a kernel that was linked again boots with
the same image; what is more makes the image anew, which takes some seconds.

All else is as `hostbuild run` has it: the console, or a command, and its exit status.

\b
Examples:
  hostbuild boot ~/linux
  hostbuild boot ~/linux --rebuild --device e1000e -- dmesg
  hostbuild boot ~/linux --modules qemu,e1000e --share . -- sh ./test.sh
  hostbuild boot ~/linux --detach box     # then: hostbuild exec box -- lsmod
"""


@click.command("boot", epilog=_EPILOG)
@click.argument("tree", type=InputPath(), metavar="TREE")
@click.option("--rebuild", is_flag=True, help="Call make in TREE first.")
@_options.selection
@_options.strip
@_options.overlays
@_options.firmware_dirs
@_options.guest_to_be
@_options.list_devices
@_running.wish
def command(
    tree: Path,
    rebuild: bool,
    selection: str | None,
    strip: bool,
    overlays: tuple[Path, ...],
    firmware_dirs: tuple[Path, ...],
    guest: GuestOptions,
    wish: _running.Wish,
) -> int:
    """Boot the kernel of a build TREE with its modules, with its console here or for COMMAND."""
    from hostbuild.formats.compress import Compressor
    from hostbuild.image.build import ImageOptions
    from hostbuild.image.from_tree import find_tree, image_of_tree

    _running.check(wish, guest)
    report = ui.reporter()
    if rebuild:
        from hostbuild.kbuild.remake import remake

        tree = find_tree(tree)
        remake(tree, report)
    options = ImageOptions(
        modules=selection or "",
        strip=strip,
        overlays=overlays,
        firmware_dirs=firmware_dirs,
        compressor=Compressor.NONE,  # quickly written, quickly booted, and every kernel takes it
    )
    with image_of_tree(tree, options, report) as ready:
        for note in ready.notes:
            ui.note(note)
        if ready.appended is not None and sys.stderr.isatty():
            ui.note(f"put anew: {listed(ready.appended.modules)}")
        if ready.appended is not None and wish.dry_run:
            ui.note("the image named here has a module put anew, and is gone when this command ends")
        guest = replace(guest, image=ready.image, kernel=str(ready.kernel), made_of=str(tree))
        return _running.live(guest, wish)
