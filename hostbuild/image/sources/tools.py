"""Programs of Debian's packages for an image, with their libraries: those of `--with md`, `lvm`, `luks` and `fsck`.

They come from packages and not from the host that happens to build the image, as busybox and kmod do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import Lists
from hostbuild.errors import WorldError
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources.libraries import Libraries


@dataclass(frozen=True, slots=True)
class Tool:
    """A program. links: its further names. loaded: sonames of what it opens by dlopen(3)."""

    name: str
    package: str
    links: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()


MDADM = Tool("mdadm", "mdadm")
LVM = Tool(
    "lvm",
    "lvm2",
    ("lvchange", "lvcreate", "lvs", "pvcreate", "pvs", "pvscan", "vgchange", "vgcreate", "vgs", "vgscan"),
)
# Argon2's threads end by pthread_exit(3), for which glibc opens libgcc_s, and gives up without it.
CRYPTSETUP = Tool("cryptsetup", "cryptsetup-bin", loaded=("libgcc_s.so.1",))
E2FSCK = Tool("e2fsck", "e2fsprogs", ("fsck.ext2", "fsck.ext3", "fsck.ext4"))
FSCK_FAT = Tool("fsck.fat", "dosfstools", ("fsck.vfat", "fsck.msdos"))


def put_tools(
    tree: FileTree, tools: Iterable[Tool], libraries: Libraries, lists: Lists, *, group: str
) -> list[debs.Package]:
    """Put the programs into /usr/sbin, their libraries beside the others; give the packages that they are from."""
    packages = []
    for tool in tools:
        [package] = debs.describe([tool.package], lists)
        program = _program(package, tool.name)
        origin = str(package)
        tree.file(f"usr/sbin/{tool.name}", program, group=group, origin=origin, permissions=0o755)
        for link in tool.links:
            tree.symlink(f"usr/sbin/{link}", tool.name, group=group, origin=origin)
        libraries.put(tree, [program], group=group, loaded=tool.loaded)
        packages.append(package)
    return packages


def _program(package: debs.Package, name: str) -> Path:
    root = debs.require_unpacked(package)
    for place in ("sbin", "usr/sbin", "bin", "usr/bin"):
        if (root / place / name).is_file():
            return root / place / name
    raise WorldError(f"the package {package} holds no program {name}")
