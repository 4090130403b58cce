"""Builds CPython once, and keeps what an image's interpreter is linked from: same source and compiler, same files.

    $XDG_CACHE_HOME/hostbuild/python/
        work/KEY/           the source, unpacked, and what was compiled of it; an interrupted build goes on there
            profile/            what it is optimized by (training.py)
        work/KEY.log        what configure and make printed
        built/KEY/          sealed (fs/sealed.py); complete or absent:
            bin/python3.X       all modules built in, without paths of its own: compiles for the image, and is asked
            lib/python3.X/      the standard library's sources
            link/               objects in archives, headers, Modules/config.c: what link.py takes
            link/ctypes/            sources of _ctypes, which loading.py compiles for images that want it
        about.json          versions, the modules that may be left out, libraries

The key is made of the source, the compiler, the linker, libc, and how all is compiled. No path of this machine gets
into the objects, and no time.
"""

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hostbuild import debs, ui
from hostbuild.apt import Lists
from hostbuild.fs import sealed
from hostbuild.fs.locked import locked
from hostbuild.fs.room import room_in
from hostbuild.fs.scratch import scratch_directory
from hostbuild.pybuild import setup_lines, toolchain, training
from hostbuild.pybuild.compiling import CONFIGURE, OPTIMIZE, Tree
from hostbuild.pybuild.link import COMPILE, CTYPES, bootstrap_modules, compile_paths, link, question
from hostbuild.pybuild.packages import NotFetchedError
from hostbuild.pybuild.source import BuildSpec, Source, read_version, sources_of
from hostbuild.pybuild.training import Profile, texts, trained
from hostbuild.ui import Reporter

RECIPE = 3  # counted up when what follows changes
# Of the library, what no guest has: tests, windows, installers
_NOT_COPIED = shutil.ignore_patterns(
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "ensurepip",
    "distutils",
    "__pycache__",
    "*.pyc",
)


@dataclass(frozen=True, slots=True)
class Built:
    """What an interpreter is linked from.

    version: "3.11.2". optional: modules in C that may be left out.
    profile: the SHA-256 of the counters that it was optimized by, "" where it could not be trained.
    """

    root: Path
    source: str
    source_version: str
    source_sha256: str
    version: str
    compiler: str
    profile: str
    optional: tuple[str, ...]
    archives: tuple[str, ...]
    libraries: tuple[str, ...]

    @property
    def home(self) -> Path:
        """The sealed directory that it lies in, named by its key."""
        return self.root.parent

    @property
    def short(self) -> str:
        """Major and minor version: "3.11"."""
        return ".".join(self.version.split(".")[:2])

    @property
    def program(self) -> Path:
        """The interpreter that runs here."""
        return self.root / f"bin/python{self.short}"

    @property
    def library(self) -> Path:
        """The standard library's sources."""
        return self.root / f"lib/python{self.short}"


def require_built(wanted: BuildSpec, lists: Lists, report: Reporter) -> Built:
    """Build what is wanted, or give what was built before. lists: the release of the image's packages.

    Raises ToolMissingError before anything is done, CommandError with the end of the log.
    """
    toolchain.check_architecture(lists.architecture)
    toolchain.require_toolchain(from_package=wanted.tarball is None)
    failed: NotFetchedError | None = None
    for source in sources_of(wanted, lists, report):
        if failed is not None:
            ui.note(f"{failed}; {source.name} {source.version} is built in its place")
        try:
            return _require(source, report)
        except NotFetchedError as e:
            failed = failed or e
    assert failed is not None
    raise failed


def _require(source: Source, report: Reporter) -> Built:
    key = key_of(source, toolchain.fingerprint())
    place = debs.cache_directory() / "python"
    final = place / "built" / key
    work = place / "work" / key
    for directory in (final.parent, work.parent):
        directory.mkdir(parents=True, exist_ok=True)
    with locked(work.with_name(f"{key}.lock")):
        root = sealed.find(final)
        if root is None:
            with room_in(place):
                root = _build(source, work, final, report)
    return read_built(root)


def key_of(source: Source, fingerprint: str) -> str:
    """Return what a build is kept under."""
    facts = (source.identity, fingerprint, str(RECIPE), OPTIMIZE, *COMPILE, *CONFIGURE, *training.FLAGS)
    digest = hashlib.sha256("\0".join((*facts, *texts())).encode() + question("", (), ())).hexdigest()
    return f"{re.sub(r'[^a-zA-Z0-9.+~-]', '', f'{source.name}-{source.version}')}-{digest[:16]}"


def read_built(root: Path) -> Built:
    """Read what is known of a build."""
    about: dict[str, Any] = json.loads((root / "about.json").read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in about.items() if isinstance(value, list)}
    return Built(root=root, **(about | lists))


def _build(source: Source, work: Path, final: Path, report: Reporter) -> Path:
    tree = Tree(work / "source", work / "objects", work.with_name(f"{work.name}.log"))
    if not tree.source.is_dir():
        with scratch_directory(work.parent) as staging:
            source.unpack(staging / "tree", report)
            read_version(staging / "tree")
            work.mkdir(exist_ok=True)
            sealed.give_name(staging / "tree", tree.source)
    tree.log.write_text("", encoding="utf-8")
    tree.configure(report)
    profile = trained(tree, work, report)
    tree.compile(f"Compiling {source.name} {source.version}", report, flags=profile.flags)
    with report.step("Putting the interpreter together"), scratch_directory(final.parent) as scratch:
        complete = scratch / "sealed"
        root = sealed.root_of(complete)
        root.mkdir(parents=True)
        _assemble(source, tree, profile, root)
        kept = sealed.publish(complete, final)
    shutil.rmtree(work)  # never needed again: the key stands for the result
    return kept


def _assemble(source: Source, tree: Tree, profile: Profile, root: Path) -> None:
    version = read_version(tree.source)
    short = ".".join(version.split(".")[:2])
    link_directory = root / "link"
    link_directory.mkdir()
    parts = tree.collect(link_directory)
    compile_paths(link_directory, short)
    _keep_ctypes(tree.source / "Modules/_ctypes", link_directory / CTYPES)
    shutil.copytree(tree.source / "Lib", root / f"lib/python{short}", ignore=_NOT_COPIED)
    (root / f"lib/python{short}/lib-dynload").mkdir()
    stdlib = (tree.source / "Modules/Setup.stdlib.in").read_text(encoding="utf-8")
    built = Built(
        root,
        source=source.name,
        source_version=source.version,
        source_sha256=source.sha256,
        version=version,
        compiler=toolchain.fingerprint().partition("\n")[0],
        profile=profile.sha256,
        optional=tuple(setup_lines.chosen(stdlib)),
        archives=parts.archives,
        libraries=parts.libraries,
    )
    about = {name: value for name, value in asdict(built).items() if name != "root"}
    (root / "about.json").write_text(json.dumps(about), encoding="utf-8")
    frozen = bootstrap_modules(link_directory)
    built.program.parent.mkdir()
    built.program.write_bytes(link(link_directory, built.archives, built.libraries, frozen, (), guest=False))
    built.program.chmod(0o755)


def _keep_ctypes(sources: Path, kept: Path) -> None:
    def others(_: str, names: list[str]) -> list[str]:
        """Name what a build against a system's own libffi does without."""
        ours = ("malloc_closure.c", "darwin", "libffi_osx")
        return [name for name in names if name in ours or name.startswith("_ctypes_test")]

    shutil.copytree(sources, kept, ignore=others)
