"""The image's userland: Debian's busybox-static, and a symlink for each of its applets."""

from hostbuild import debs
from hostbuild.errors import WorldError
from hostbuild.image.filetree import FileTree
from hostbuild.run import run

GROUP = "busybox"
_PROGRAM = "usr/bin/busybox"


def put_busybox(tree: FileTree, release: str = "") -> debs.Package:
    """Put busybox and its applets into the image; give the package that it is from, of a release of Debian's."""
    [package] = debs.describe(["busybox-static"], release)
    root = debs.require_unpacked(package)
    program = next((p for p in (root / "bin/busybox", root / _PROGRAM) if p.is_file()), None)
    if program is None:
        raise WorldError(f"the package {package} contains no bin/busybox")
    origin = str(package)
    tree.file(_PROGRAM, program, group=GROUP, origin=origin, permissions=0o755)
    for applet in run([program, "--list-full"], timeout=10).stdout.decode().split():
        # linuxrc is the init of a kind of ramdisk that ended with Linux 2.4
        if applet not in ("linuxrc", "bin/busybox", _PROGRAM):
            tree.symlink(applet, f"/{_PROGRAM}", group=GROUP, origin=origin)
    return package
