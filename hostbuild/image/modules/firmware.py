"""Firmware that drivers may ask for: names stand in their .modinfo, files come from directories of the host.

In each directory the kernel's places are searched in its order (drivers/base/firmware_loader/main.c):

    updates/VERSION   updates   VERSION   the directory itself

first for the file as it is, then for .zst, then for .xz. Compressed files are put into the image plain, as any kernel
can read them. A name is literal; only where there is no such file do `*` and `?` in it stand for any characters but
`/`, as brcmfmac and others have them. A name that the kernel would refuse, or that leads out of the directory, is
missing, and that is all. Drivers inside the kernel ask, too (modules.builtin.modinfo).
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.compress import detect
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.fs.regular import is_regular, read_regular
from hostbuild.image.filetree import FileTree
from hostbuild.image.modules.module import Module
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.kernel_modules import builtin_values

GROUP = "firmware"
SYSTEM_FIRMWARE = Path("/lib/firmware")
_INSIDE = "usr/lib/firmware"
_ENDINGS = ("", ".zst", ".xz")


@dataclass(frozen=True, slots=True)
class Firmware:
    """Names of firmware, sorted: those in the image, and those that nobody has.

    wanted_by: a missing name -> the modules, or drivers inside the kernel, that may ask for it.
    """

    present: list[str]
    missing: list[str]
    wanted_by: dict[str, list[str]]


def put_firmware(
    tree: FileTree, modules: Iterable[Module], directories: Sequence[Path], kernel: Kernel, overlaid: FileTree
) -> Firmware:
    """Put the firmware that drivers name into the image where it is found; the first directory wins.

    directories: those that the caller named. After them come those of the kernel's own system, and this host's.
    overlaid: what overlays bring, which needs nothing more.
    """
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"the firmware directory {directory} is not a directory")
    rooms = _rooms(_directories(directories, kernel), kernel.version)
    askers: dict[str, set[str]] = {}
    for driver, names in (
        *((m.name, m.firmware) for m in modules),
        *builtin_values(kernel.modules, "firmware").items(),
    ):
        for name in names:
            askers.setdefault(name, set()).add(driver)
    present = []
    for name in sorted(askers):
        inside = "/".join(_parts(name))
        there = inside and any(f"{place}{inside}" in overlaid for place in _places_inside(kernel.version))
        found = {} if there else _find(name, rooms)
        for inside, path in found.items():
            compressed = not inside.endswith(path.name)
            tree.file(
                f"{_INSIDE}/{inside}", _read(path, compressed=compressed), group=GROUP, origin=str(path)
            )
        if there or found:
            present.append(name)
    missing = sorted(askers.keys() - set(present))
    return Firmware(present, missing, {name: sorted(askers[name]) for name in missing})


def find_firmware(name: str, directories: Iterable[Path], version: str) -> dict[str, Path]:
    """Give the files that a driver's name for firmware means: name in the guest -> file; none if there are none."""
    return _find(name, _rooms(directories, version))


def _find(name: str, rooms: Sequence[Sequence[str]]) -> dict[str, Path]:
    """Do as find_firmware. rooms: the places of each directory that are there, in the kernel's order."""
    parts = _parts(name)
    if not parts:
        return {}
    literal = "/".join(parts)
    for places in rooms:
        for ending in _ENDINGS:
            for place in places:
                if os.path.isfile(path := f"{place}/{literal}{ending}"):
                    return {literal: Path(path)}
    if not any(sign in name for sign in "*?"):
        return {}
    found: dict[str, Path] = {}
    for places in rooms:
        for ending in _ENDINGS:
            for folder in map(Path, places):
                for file in _matching(folder, parts, ending):
                    inside = file.relative_to(folder).as_posix().removesuffix(ending)
                    found.setdefault(inside, file)
        if found:
            break
    return dict(sorted(found.items()))


def _rooms(directories: Iterable[Path], version: str) -> list[list[str]]:
    """Give the places in each directory that are there: of thousands of names each is looked for in all."""
    places = [[str(directory / place) for place in _places(version)] for directory in directories]
    return [list(filter(os.path.isdir, some)) for some in places]


def _parts(name: str) -> list[str]:
    """Split a name; nothing for one that means no file below the directory."""
    parts = [part for part in name.split("/") if part]
    if any(part in (".", "..") or "\0" in part for part in parts) or name.endswith("/"):
        return []
    return parts


def _places(version: str) -> tuple[str, ...]:
    return (f"updates/{version}", "updates", version, "")


def _places_inside(version: str) -> list[str]:
    return ["/".join(filter(None, (_INSIDE, place))) + "/" for place in _places(version)]


def _directories(named: Sequence[Path], kernel: Kernel) -> list[Path]:
    own = kernel.modules.parent.parent / "firmware" if kernel.modules is not None else SYSTEM_FIRMWARE
    return [*named, *dict.fromkeys((own, SYSTEM_FIRMWARE))]


def _matching(place: Path, parts: Sequence[str], ending: str) -> Iterator[Path]:
    """Yield the regular files below `place` whose names fit a pattern, part by part, sorted."""
    *above, last = parts
    ways = [place]
    for part in above:
        ways = [path for way in ways for path in _fitting(way, part) if os.path.isdir(path)]
    for path in (path for way in ways for path in _fitting(way, last + ending)):
        if is_regular(path) and (ending or path.suffix not in _ENDINGS):
            yield path


def _fitting(directory: Path, part: str) -> list[Path]:
    if not any(sign in part for sign in "*?"):
        return [directory / part]
    pattern = part.replace("[", "[[]")  # a bracket is one
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [directory / name for name in names if fnmatch.fnmatchcase(name, pattern)]


def _read(path: Path, *, compressed: bool) -> bytes:
    try:
        data = read_regular(path)
        return decompress(detect(data), data)[0] if compressed else data
    except (OSError, CompressionError) as e:
        raise InputError(f"cannot read the firmware {path}: {e}") from e
