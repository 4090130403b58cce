"""Shared libraries for an image, taken from Debian packages and not from the host that happens to build it.

A soname's package is found by Debian's naming rule (Policy 8.1): libexpat.so.1 is in libexpat1,
libbz2.so.1.0 in libbz2-1.0; the few that do not follow it stand in a table. Debian 13 has given the packages whose
interface has a time in it, which has 64 bits since then, a name that ends in t64: libssl3t64.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.errors import InputError, WorldError
from hostbuild.formats import elf
from hostbuild.image.filetree import FileTree

_EXCEPTIONS = {
    "libz.so.1": "zlib1g",
    "libcrypto.so.3": "libssl3",
    "libgcc_s.so.1": "libgcc-s1",
    "libpam.so.0": "libpam0g",
    "libpam_misc.so.0": "libpam0g",
    "libe2p.so.2": "libext2fs2",
}
_PRIVATE = re.compile(r"(lib.+)-\d+\.so")  # of one version of its program, whose number it has
_OF_LIBC = ("libc.so.", "libm.so.", "libdl.so.", "libpthread.so.", "librt.so.", "libresolv.so.", "ld-linux")


class Libraries:
    """Finds libraries in packages, unpacking what is needed. lists: those that packages are looked for in."""

    def __init__(self, lists: Lists = OWN) -> None:
        self._lists = lists
        self._origin_of: dict[Path, debs.Package] = {}
        self._found: dict[str, Path] = {}

    def find(self, soname: str) -> Path | None:
        """Return the file of a soname, None where its package does not have it."""
        if soname in self._found:
            return self._found[soname]
        package, root = self._package(soname)
        # a loader stands twice in its package: where programs look for it there is a link (ld.so(8))
        places = sorted(
            (path for path in root.glob(f"**/{soname}") if path.is_file()),
            key=lambda path: (path.is_symlink(), path),
        )
        if not places:
            return None
        self._origin_of[places[0]] = package
        self._found[soname] = places[0]
        return places[0]

    def put(self, tree: FileTree, programs: list[Path], *, group: str, loaded: Iterable[str] = ()) -> None:
        """Put the libraries and the loader that `programs` need into the image, where their loader looks.

        loaded: the sonames of what they open by dlopen(3), which their headers do not tell.
        """
        opened = {soname: self.require(soname) for soname in loaded}
        needed = elf.closure([*programs, *opened.values()], self.find)
        for soname, path in {**needed, **opened}.items():
            origin = str(self._origin_of[path])
            directory = library_directory(path)
            tree.file(f"{directory}/{soname}", path, group=group, origin=origin, permissions=0o755)
        for program in programs:
            loader = elf.program_of(program).interpreter
            if loader is None or loader.lstrip("/") in tree:
                continue
            path = self.require(loader.rpartition("/")[2])
            origin = str(self._origin_of[path])
            inside = f"{library_directory(path)}/{path.name}"
            tree.file(inside, path, group=group, origin=origin, permissions=0o755)
            tree.symlink(loader.lstrip("/"), f"/{inside}", group=group, origin=origin)

    def require(self, soname: str) -> Path:
        """Return the file of a soname. Raises WorldError where there is none."""
        path = self.find(soname)
        if path is None:
            raise WorldError(f"the package {self._package(soname)[0]} does not hold {soname}")
        return path

    def used(self) -> list[debs.Package]:
        """Return the packages that libraries were taken from, sorted by name."""
        return sorted(set(self._origin_of.values()), key=lambda package: package.name)

    def _package(self, soname: str) -> tuple[debs.Package, Path]:
        name = package_of(soname)
        try:
            [package] = debs.describe([name], self._lists, renew=False)
        except InputError as e:
            try:
                [package] = debs.describe([f"{name}t64"], self._lists, renew=False)
            except InputError:
                raise e from None
        return package, debs.require_unpacked(package)


def package_of(soname: str) -> str:
    """Name the Debian package of a soname."""
    if soname.startswith(_OF_LIBC):
        return "libc6"
    if soname in _EXCEPTIONS:
        return _EXCEPTIONS[soname]
    if private := _PRIVATE.fullmatch(soname):  # libsystemd-shared-257.so
        return private[1].lower().replace("_", "-")
    stem, _, version = soname.partition(".so.")
    hyphen = "-" if stem[-1:].isdigit() else ""
    return f"{stem}{hyphen}{version}".lower().replace("_", "-")


def library_directory(path: Path) -> str:
    """Return the directory of the image for a library: the multiarch one that its package has it in."""
    parts = path.parent.parts
    below = [number for number, part in enumerate(parts) if part == "lib"]
    return f"usr/{'/'.join(parts[below[-1] :])}" if below else f"usr/lib/{path.parent.name}"
