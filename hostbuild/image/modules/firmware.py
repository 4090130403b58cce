"""Firmware that modules may ask for: names stand in their .modinfo, files come from directories of the host.

A name may hold wildcards. Files compressed with xz or zstd are put into the image plain, as any kernel can
read them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.compress import CompressionError, decompress, detect
from hostbuild.image.filetree import FileTree
from hostbuild.image.modules.selection import Module

GROUP = "firmware"
_SYSTEM = Path("/lib/firmware")
_ENDINGS = ("", ".xz", ".zst")


@dataclass(frozen=True, slots=True)
class Firmware:
    """Names of firmware, sorted: those in the image, and those that nobody has."""

    present: list[str]
    missing: list[str]


def put_firmware(tree: FileTree, modules: Iterable[Module], directories: Sequence[Path]) -> Firmware:
    """Put the firmware that `modules` name into the image where it is found; the first directory wins."""
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"the firmware directory {directory} is not a directory")
    wanted = sorted({name for module in modules for name in module.firmware})
    places = [*directories, _SYSTEM]
    present = [name for name in wanted if _put(tree, name, places)]
    return Firmware(present, sorted(set(wanted) - set(present)))


def _put(tree: FileTree, name: str, places: Sequence[Path]) -> bool:
    for place in places:
        for ending in _ENDINGS:
            found = sorted(path for path in place.glob(name + ending) if path.is_file())
            for path in found:
                inside = path.relative_to(place).as_posix().removesuffix(ending)
                tree.file(f"usr/lib/firmware/{inside}", _read(path, ending), group=GROUP, origin=str(path))
            if found:
                return True
    return False


def _read(path: Path, ending: str) -> bytes:
    try:
        data = path.read_bytes()
        return data if ending == "" else decompress(detect(data), data)[0]
    except (OSError, CompressionError) as e:
        raise InputError(f"cannot read the firmware {path}: {e}") from e
