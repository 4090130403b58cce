"""CPU microcode in front of an image: of Debian's packages, or of files that somebody names.

intel, amd    Debian's intel-microcode and amd64-microcode, fetched and not installed
a file        updates of one vendor, also packed (.xz, .zst, .gz), as some distributions have them
a directory   its intel-ucode and amd-ucode, as in /lib/firmware; without these, the files in it
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild import debs
from hostbuild.arch import Arch
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.compress import detect
from hostbuild.formats.kconfig import Config, value_of
from hostbuild.formats.microcode import Microcode, MicrocodeError, Vendor, join, parse_microcode
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.fs.files import read_input
from hostbuild.fs.regular import is_regular
from hostbuild.image.filetree import FileTree
from hostbuild.near import listed
from hostbuild.ui import Reporter

GROUP = "microcode"
PACKAGES = {"intel": "intel-microcode", "amd": "amd64-microcode"}
_COMPONENT = "non-free-firmware"
_DIRECTORIES = ("intel-ucode", "amd-ucode")
_PLACES = ("usr/lib/firmware", "lib/firmware")  # in Debian's packages


@dataclass(frozen=True, slots=True)
class Found:
    """Microcode for an image. packages: of Debian, that it is from. origin: of each vendor's, for the manifest."""

    each: tuple[Microcode, ...] = ()
    origins: tuple[tuple[Vendor, str], ...] = ()
    packages: tuple[debs.Package, ...] = ()

    def tree(self) -> FileTree:
        """Return the files of the archive in front of an image."""
        tree = FileTree()
        origins = dict(self.origins)
        for one in self.each:
            tree.file(one.vendor.path, one.data, group=GROUP, origin=origins[one.vendor])
        return tree


def check_words(words: Sequence[str], arch: Arch) -> None:
    """Refuse microcode for an architecture whose kernels look for none. Raises UsageError."""
    if words and arch is not Arch.AMD64:
        raise UsageError(
            f"--microcode is for amd64: a kernel for {arch.value} does not look for any in its image"
        )


def files_of(word: str) -> Iterable[Path]:
    """Return the path that a word of --microcode names, if it names one."""
    return () if word in PACKAGES else (Path(word),)


def read_microcode(words: Sequence[str], report: Reporter) -> Found:
    """Find what words name. Raises InputError for what is no microcode, WorldError where a package is not to be had."""
    each: list[Microcode] = []
    origins: dict[Vendor, list[str]] = {}
    packages: list[debs.Package] = []
    for word in dict.fromkeys(words):
        origin = word
        if word in PACKAGES:
            package, found = _of_package(word, report)
            packages.append(package)
            origin = str(package)
        else:
            found = read_path(Path(word))
        each += found
        for vendor in {one.vendor for one in found}:
            origins.setdefault(vendor, []).append(origin)
    told = tuple((vendor, listed(names)) for vendor, names in origins.items())
    return Found(tuple(join(each)), told, tuple(packages))


def read_path(path: Path) -> list[Microcode]:
    """Read a file or a directory. Raises InputError."""
    if not path.is_dir():
        return [_read(path)]
    found = list(_read_directory(path))
    if not found:
        raise InputError(
            f"there is no CPU microcode in {path}",
            hint=f"a directory has {' or '.join(_DIRECTORIES)}, as /lib/firmware, or the files themselves",
        )
    return found


def lacking(config: Config | None, found: Found) -> list[str]:
    """Return warnings about a kernel that takes no notice of it. config: the kernel's, None where it is not known."""
    if config is None or not found.each:
        return []
    missing = [] if value_of(config, "MICROCODE") == "y" else ["CONFIG_MICROCODE"]
    if (
        not missing
    ):  # until 6.6 each vendor had its own switch, and there is no telling from the configuration alone
        missing = [
            f"CONFIG_MICROCODE_{one.vendor.name}"
            for one in found.each
            if config.get(f"MICROCODE_{one.vendor.name}") == "n"
        ]
    return [f"the kernel takes no notice of the CPU microcode: {listed(missing)} is off"] if missing else []


def _of_package(word: str, report: Reporter) -> tuple[debs.Package, list[Microcode]]:
    name = PACKAGES[word]
    try:
        [package] = debs.describe([name], report=report, renew=False)
    except InputError as e:
        raise InputError(
            f"apt does not know the package {name}, which Debian has in its component {_COMPONENT}",
            hint=f"add {_COMPONENT} to the components in apt's sources, and sudo apt-get update; "
            "or --microcode DIRECTORY, such as /lib/firmware",
        ) from e
    root = debs.require_unpacked(package, report)
    found = [one for place in _PLACES if (root / place).is_dir() for one in _read_directory(root / place)]
    if not found:
        raise InputError(f"the package {package} holds no CPU microcode")
    return package, found


def _read_directory(directory: Path) -> Iterator[Microcode]:
    """Yield what is microcode there; beside it lie licences, signatures and the like."""
    below = [directory / name for name in _DIRECTORIES if (directory / name).is_dir()]
    for place in below or [directory]:
        for path in sorted(place.iterdir()):
            if is_regular(path):
                try:
                    yield _read(path)
                except MicrocodeError:
                    continue


def _read(path: Path) -> Microcode:
    data = read_input(path, "the microcode")
    try:
        return parse_microcode(decompress(detect(data), data)[0])
    except (MicrocodeError, CompressionError) as e:
        raise MicrocodeError(f"{path} cannot be put in front of the image: {e}") from e
