"""Modules that an overlay's /etc/modules and modules-load.d name: the guest loads them, so the image has them."""

from collections.abc import Iterable, Mapping

from hostbuild.image.modules.selection import Index
from modaliasd.core.kmod.modules_load import DIRECTORIES, FILE, listing_files, parse_modules_load


def named_modules(files: Mapping[str, bytes], index: Index) -> set[str]:
    """Give the modules that these files name, as the guest reads them; what the kernel does not have is left out.

    files: content by path in the image, without a slash in front.
    """
    listings = [(directory, _names_in(directory, files)) for directory in DIRECTORIES]
    found: set[str] = set()
    for path in (FILE, *listing_files(listings)):
        text = files.get(path[1:], b"").decode("utf-8", "surrogateescape")
        for entry in parse_modules_load(text, path):
            found.update(index.resolve(entry.name))
    return found


def _names_in(directory: str, files: Iterable[str]) -> list[str]:
    start = f"{directory[1:]}/"
    return [path[len(start) :] for path in files if path.startswith(start) and "/" not in path[len(start) :]]
