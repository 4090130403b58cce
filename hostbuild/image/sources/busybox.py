"""The image's userland: Debian's busybox-static, and a symlink for each of its applets."""

from pathlib import Path

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.errors import InputError, WorldError
from hostbuild.formats.programs.busybox import applets_in
from hostbuild.image.filetree import FileTree
from hostbuild.run import run

GROUP = "busybox"
_PROGRAM = "usr/bin/busybox"


def put_busybox(tree: FileTree, lists: Lists = OWN) -> debs.Package:
    """Put busybox and its applets into the image; give the package that it is from."""
    [package] = debs.describe(["busybox-static"], lists)
    root = debs.require_unpacked(package)
    program = next((p for p in (root / "bin/busybox", root / _PROGRAM) if p.is_file()), None)
    if program is None:
        raise WorldError(f"the package {package} contains no bin/busybox")
    origin = str(package)
    tree.file(_PROGRAM, program, group=GROUP, origin=origin, permissions=0o755)
    for applet in _applets(program, package, runs=not lists.architecture):
        # linuxrc is the init of a kind of ramdisk that ended with Linux 2.4
        if applet not in ("linuxrc", "bin/busybox", _PROGRAM):
            tree.symlink(applet, f"/{_PROGRAM}", group=GROUP, origin=origin)
    return package


def _applets(program: Path, package: debs.Package, *, runs: bool) -> list[str]:
    """Ask a busybox for its applets' paths; one that does not run here is read."""
    if runs:
        return run([program, "--list-full"], timeout=10).stdout.decode().split()
    try:
        return applets_in(program.read_bytes())
    except InputError as e:
        raise WorldError(f"cannot tell the applets of {package}: {e}") from e
