"""Where an interpreter's source comes from: Debian's source package, with its patches, or a tarball.

    build                               the source package of the Python that the release prefers
    build:deb:python3.13[=VERSION]      that one
    build:Python-3.11.9.tar.xz          as python.org has it, or any tarball of a tree with its ./configure

A source is known by the checksum of its .dsc or of the tarball. It is unpacked where it is built (build.py), and not
kept: what was built is.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import Lists, Spec, parse_spec
from hostbuild.errors import InputError, WorldError
from hostbuild.formats.compress import Compressor, detect
from hostbuild.formats.sniff import Kind, instead, use_of
from hostbuild.pybuild.packages import SourcePackage, packages_of
from hostbuild.run import run
from hostbuild.ui import Reporter

WORD = "build"
_NAME = re.compile(r"python3(?:\.\d+)?")
_VERSION = re.compile(r"#define PY_VERSION\s+\"([^\"]+)\"")
_OLDEST = (3, 11)  # Modules/Setup.stdlib.in, frozen modules of one's own
_UNPACK_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What an interpreter is built of: a source package, or a tarball. package: None with a tarball."""

    package: Spec | None = field(default_factory=lambda: Spec("python3"))
    tarball: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A source that can be unpacked.

    identity: names its content for ever. version: of the package, or of the tarball's name. sha256: of the .dsc, or of
    the tarball. unpack: into a directory that is not there yet.
    """

    name: str
    version: str
    sha256: str
    unpack: Callable[[Path, Reporter], None] = field(compare=False)

    @property
    def identity(self) -> str:
        """A text that no other source has."""
        return f"{self.name} {self.version} {self.sha256}"


def parse_build(text: str) -> BuildSpec:
    """Parse what follows --python: build, build:deb:python3.13, build:TARBALL. Raises InputError."""
    _, colon, what = text.partition(":")
    if not colon:
        return BuildSpec()
    if not what.startswith("deb:"):
        if not what:
            raise InputError(
                "build: names no source", hint="build, build:deb:python3.13, build:Python-3.11.9.tar.xz"
            )
        return BuildSpec(None, Path(what).absolute())
    spec = parse_spec(what.removeprefix("deb:"))
    if not _NAME.fullmatch(spec.name):
        raise InputError(
            f"{spec.name} is not a source package of CPython's interpreter", hint="build:deb:python3.13"
        )
    _check_version(spec.name)
    return BuildSpec(spec)


def tarballs_of(text: str) -> list[Path]:
    """Give the file that a word after --python names, if it names one."""
    if not text.startswith(f"{WORD}:") or text.startswith(f"{WORD}:deb:"):
        return []
    return [Path(text.partition(":")[2])]


def digest_of(path: Path) -> str:
    """Return a tarball's SHA-256. Raises InputError."""
    if not path.is_file():
        raise InputError(
            f"there is no source of CPython at {path}", hint="a tarball, or build for Debian's source package"
        )
    if other := instead(path, Kind.TARBALL, Kind.PACKED):
        raise InputError(f"{other} of CPython's source", hint=use_of(path))
    import tarfile

    with path.open("rb") as stream:
        zstd = detect(stream.read(8)) is Compressor.ZSTD  # which tarfile cannot read
    if not zstd and not tarfile.is_tarfile(path):
        raise InputError(f"{path} is not a tarball, but CPython's source has to be one")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sources_of(wanted: BuildSpec, lists: Lists, report: Reporter) -> Iterator[Source]:
    """Find the source; then, for who goes on, those of the versions that may be taken in its place, newest first.

    lists: the release of the image's packages. Raises InputError for what is not there, WorldError where there is no
    way to it; unpack() raises NotFetchedError where the archive has not got the files.
    """
    if wanted.tarball is not None:
        yield _tarball(wanted.tarball)
        return
    spec = wanted.package or Spec("python3")
    name = spec.name
    release = spec.release or lists.release
    if name == "python3":
        name = _preferred(Lists(release))
        _check_version(name)
    for package in packages_of(name, spec.version, release, report):
        yield _of_package(package)


def _tarball(path: Path) -> Source:
    def unpack(tree: Path, report: Reporter) -> None:
        with report.step(f"Unpacking {path.name}"):
            tree.mkdir()
            run(["tar", "-xf", path, "--strip-components=1", "-C", tree], timeout=_UNPACK_TIMEOUT)

    return Source("cpython", path.name.partition(".tar")[0], digest_of(path), unpack)


def _of_package(package: SourcePackage) -> Source:
    def unpack(tree: Path, report: Reporter) -> None:
        dsc = package.fetch(tree.parent, report)
        with report.step(f"Unpacking {dsc.name}"):
            # apt has compared the files with its signed lists already
            run(["dpkg-source", "--no-check", "-x", dsc, tree], timeout=_UNPACK_TIMEOUT)
        for name in package.files:
            (tree.parent / name).unlink()

    return Source(package.name, package.version, package.sha256, unpack)


def read_version(tree: Path) -> str:
    """Return the version of an unpacked source: "3.11.2". Raises InputError for what is no CPython, or too old."""
    try:
        match = _VERSION.search((tree / "Include/patchlevel.h").read_text("utf-8", "replace"))
    except OSError:
        match = None
    if match is None or not (tree / "configure").is_file():
        raise InputError("it is not CPython's source: it has no Include/patchlevel.h and ./configure")
    version = match[1].rstrip("+")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    _check_numbers(numbers, version)
    return version


def _check_version(name: str) -> None:
    """Refuse a source package of a Python that is too old: python3.9. Raises InputError."""
    if numbers := tuple(int(part) for part in re.findall(r"\d+", name.removeprefix("python"))):
        _check_numbers(numbers, name.removeprefix("python"))


def _check_numbers(numbers: tuple[int, ...], version: str) -> None:
    if (3,) < numbers < _OLDEST:
        raise InputError(
            f"it is CPython {version}; an interpreter can be built of 3.11 and later",
            hint="build:deb:python3.11/bookworm, build:deb:python3.13/trixie; without build it is Debian's own",
        )


def _preferred(lists: Lists) -> str:
    """Name the source package of the Python that a release prefers."""
    [meta] = debs.describe(["python3-minimal"], lists)
    for name in meta.depends:
        if match := re.fullmatch(r"(python3\.\d+)-minimal", name):
            return match[1]
    raise WorldError(f"the package {meta} does not say which Python it stands for")
