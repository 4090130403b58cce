"""Directories that are laid over the image: hostbuild's own rootfs-overlay/, and those of --overlay.

Modes and symlinks are kept, everything belongs to root, what comes later wins. Files that are one on the host
(hard links) are one in the image. Sockets are left out.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import hostbuild
from hostbuild.errors import InputError
from hostbuild.formats.sniff import kind_of_file, near_files
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry

GROUP = "overlay"
OWN = "rootfs-overlay"

_KINDS = {kind.value: kind for kind in NodeKind}


class OverlayError(InputError):
    """An overlay cannot be read."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """A directory that was read. entries: what it holds, a directory before its content, by relative path."""

    name: str
    entries: tuple[tuple[str, TreeEntry], ...]

    def put(self, tree: FileTree) -> None:
        """Lay it over the image."""
        for path, entry in self.entries:
            tree.put(path, entry)

    def sha256(self) -> str:
        """Return a digest of paths, modes and contents."""
        digest = hashlib.sha256()
        for path, entry in self.entries:
            data = entry.read()
            head = f"{entry.mode:o} {entry.device} {len(data)} {path}\0"
            digest.update(head.encode("utf-8", "surrogateescape") + data)
        return digest.hexdigest()

    def python_sources(self) -> list[bytes]:
        """Return the sources of the Python files: those named *.py, and scripts that name python3 first."""
        sources = []
        for path, entry in self.entries:
            if entry.kind is not NodeKind.FILE:
                continue
            source = entry.read()
            first = source[:100].partition(b"\n")[0]
            if path.endswith(".py") or (first.startswith(b"#!") and b"python3" in first):
                sources.append(source)
        return sources


def find_own() -> Path:
    """Return hostbuild's own overlay: inside the installed package, or beside it in a checkout."""
    package = Path(hostbuild.__file__).parent
    for place in (package / OWN, package.parent / OWN):
        if place.is_dir():
            return place
    raise OverlayError(f"hostbuild's own {OWN}/ is not in {package} and not beside it: damaged installation")


def read_own() -> Overlay:
    """Read hostbuild's own overlay. Its modes do not depend on the umask of whoever checked it out."""
    return _read(find_own(), OWN, plain_modes=True)


def read_overlay(directory: Path) -> Overlay:
    """Read an overlay. Raises OverlayError where it is not there or cannot be read."""
    if not directory.is_dir():
        if not directory.exists():
            raise OverlayError(f"the overlay {directory} does not exist{near_files(directory)}")
        raise OverlayError(f"the overlay {directory} is {kind_of_file(directory).value}, not a directory")
    return _read(directory, f"overlay {directory.resolve().name}", plain_modes=False)


def _read(root: Path, name: str, *, plain_modes: bool) -> Overlay:
    linked: dict[tuple[int, int], TreeEntry] = {}
    entries = []
    try:
        for parent, directories, files in os.walk(root, onerror=_raise):
            directories.sort()
            for child in sorted([*directories, *files]):
                path = Path(parent, child)
                status = path.lstat()
                kind = _KINDS.get(stat.S_IFMT(status.st_mode))
                if kind is None:
                    continue
                inode = (status.st_dev, status.st_ino)
                entry = linked.get(inode) or _entry(path, status, kind, name, plain_modes=plain_modes)
                if kind is NodeKind.FILE and status.st_nlink > 1:
                    linked[inode] = entry
                entries.append((path.relative_to(root).as_posix(), entry))
    except OSError as e:
        raise OverlayError(f"cannot read {e.filename} of the overlay {root}: {e.strerror}") from e
    return Overlay(name, tuple(entries))


def _entry(
    path: Path, status: os.stat_result, kind: NodeKind, origin: str, *, plain_modes: bool
) -> TreeEntry:
    permissions = stat.S_IMODE(status.st_mode)
    if plain_modes and kind is not NodeKind.SYMLINK:
        permissions = 0o755 if kind is NodeKind.DIRECTORY or permissions & 0o100 else 0o644
    return TreeEntry(
        kind,
        permissions,
        GROUP,
        origin,
        content=path.read_bytes() if kind is NodeKind.FILE else b"",
        target=str(path.readlink()) if kind is NodeKind.SYMLINK else "",
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
    )


def _raise(error: OSError) -> None:
    raise error
