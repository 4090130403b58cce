"""Debian's OpenRC and s6 as an overlay for an image: their packages unpacked, never installed.

OpenRC runs as on Alpine: busybox init starts its runlevels, in the place of the daemon. s6 lies there, to be started.
"""

import shutil
from pathlib import Path

from hostbuild import debs
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources.libraries import Libraries
from tests.support.places import PROJECT
from tests.support.udevd import write_tree

SERVICES = PROJECT / "daemon" / "services"
_INITTAB = """\
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::respawn:/usr/lib/micro/console
::once:/usr/lib/micro/agent
::shutdown:/usr/lib/micro/shutdown
"""
# where Debian's packages have what an image has below usr; since Debian 13 they, too, have it there
_PLACES = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib/rc": "usr/lib/rc",
    "usr/bin": "usr/bin",
    "usr/sbin": "usr/sbin",
    "usr/lib/rc": "usr/lib/rc",
    "usr/lib/s6": "usr/lib/s6",
}


def make_overlay(directory: Path) -> Path:
    """Fill `directory` with both, what they link against, and our services; gives it."""
    tree = FileTree()
    programs: list[Path] = []
    for package in debs.describe(["openrc", "s6"]):
        root = debs.require_unpacked(package)
        for place, inside in _PLACES.items():
            for path in sorted((root / place).rglob("*")):
                if path.is_dir() or path.is_symlink():
                    continue
                if path.read_bytes()[:4] == b"\x7fELF":
                    programs.append(path)
                name = f"{inside}/{path.relative_to(root / place)}"
                tree.file(name, path, group=package.name, origin=package.name, permissions=0o755)
    Libraries().put(tree, programs, group="supervisors")
    write_tree(tree, directory)
    etc = directory / "etc"
    for name in ("conf.d", "init.d", *(f"runlevels/{level}" for level in ("sysinit", "boot", "default"))):
        (etc / name).mkdir(parents=True)
    shutil.copy(SERVICES / "openrc/modaliasd", etc / "init.d")
    (etc / "runlevels/sysinit/modaliasd").symlink_to("/etc/init.d/modaliasd")
    (etc / "conf.d/modaliasd").write_text("modaliasd_settle=60\n")
    (etc / "rc.conf").write_text("")
    (etc / "inittab").write_text(_INITTAB)
    shutil.copytree(SERVICES / "s6", etc / "s6")
    return directory
