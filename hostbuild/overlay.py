"""Directories that are laid over the image: hostbuild's own rootfs-overlay/, and those of --overlay.

Modes and symlinks are kept, everything belongs to root, what comes later wins. Files that are one on the
host (hard links) are one in the image. Sockets are left out.
"""

import os
import stat
from pathlib import Path

import hostbuild
from hostbuild.errors import InputError
from hostbuild.tree import Entry, FileTree, Kind

GROUP = "overlay"
OWN = "rootfs-overlay"

_KINDS = {kind.value: kind for kind in Kind}


class OverlayError(InputError):
    """An overlay cannot be read."""


def find_own() -> Path:
    """Give hostbuild's own overlay: inside the installed package, or beside it in a checkout."""
    package = Path(hostbuild.__file__).parent
    for place in (package / OWN, package.parent / OWN):
        if place.is_dir():
            return place
    raise OverlayError(
        f"hostbuild's own {OWN}/ is neither in {package} nor beside it; the installation is damaged"
    )


def put_own(tree: FileTree) -> None:
    """Lay hostbuild's own overlay; modes are made independent of the umask of whoever checked it out."""
    _put(tree, find_own(), group=GROUP, origin=OWN, plain_modes=True)


def require_directory(directory: Path) -> None:
    """Raise OverlayError where an overlay is not there."""
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "does not exist"
        raise OverlayError(f"the overlay {directory} {what}")


def put_overlay(tree: FileTree, directory: Path) -> None:
    """Lay a directory over the image. Raises OverlayError where it cannot be read."""
    require_directory(directory)
    _put(tree, directory, group=GROUP, origin=f"overlay {directory.name}", plain_modes=False)


def _put(tree: FileTree, root: Path, *, group: str, origin: str, plain_modes: bool) -> None:
    linked: dict[tuple[int, int], Entry] = {}
    try:
        for parent, directories, names in os.walk(root, onerror=_raise):
            directories.sort()
            for name in sorted([*directories, *names]):
                path = Path(parent, name)
                status = path.lstat()
                kind = _KINDS.get(stat.S_IFMT(status.st_mode))
                if kind is None:
                    continue
                permissions = stat.S_IMODE(status.st_mode)
                if plain_modes:
                    permissions = 0o755 if kind is Kind.DIRECTORY or permissions & 0o100 else 0o644
                inode = (status.st_dev, status.st_ino)
                entry = linked.get(inode) or Entry(
                    kind,
                    permissions,
                    group,
                    origin,
                    content=path.read_bytes() if kind is Kind.FILE else b"",
                    target=str(path.readlink()) if kind is Kind.SYMLINK else "",
                    device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
                )
                if status.st_nlink > 1 and kind is Kind.FILE:
                    linked[inode] = entry
                tree.put(path.relative_to(root).as_posix(), entry)
    except OSError as e:
        raise OverlayError(f"cannot read {e.filename} of the overlay {root}: {e.strerror}") from e


def _raise(error: OSError) -> None:
    raise error
