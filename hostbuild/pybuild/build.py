"""Builds CPython once, and keeps what an image's interpreter is linked from: same source and compiler, same files.

    $XDG_CACHE_HOME/hostbuild/python/
        work/KEY/           the source, unpacked, and what was compiled of it; an interrupted build goes on there
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
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hostbuild import debs
from hostbuild.apt import Lists
from hostbuild.errors import CommandError, InputError
from hostbuild.fs import sealed
from hostbuild.fs.locked import locked
from hostbuild.fs.room import room_in
from hostbuild.fs.scratch import scratch_directory
from hostbuild.pybuild import said, setup_lines, toolchain
from hostbuild.pybuild.link import COMPILE, CTYPES, Frozen, compile_paths, link, paths_c, question
from hostbuild.pybuild.source import BuildSpec, Source, read_version, require_source
from hostbuild.run import logged_lines, run
from hostbuild.ui import Reporter

RECIPE = 2  # counted up when what follows changes
OPTIMIZE = "-DNDEBUG -fwrapv -O2"
_CONFIGURE = (
    "--prefix=/usr",
    "--disable-shared",
    "--disable-test-modules",
    "--with-pkg-config=no",  # or libraries of this machine decide what is built
    "--without-doc-strings",
    "--without-ensurepip",
    "--without-readline",
    "ac_cv_header_zlib_h=no",  # binascii would take its crc32 from there
    # What configure would try on this process and its /dev: at nice 19 it finds nice() broken, without /dev/shm
    # semaphores. Guests have Linux and glibc.
    "ac_cv_broken_nice=no",
    "ac_cv_broken_sem_getvalue=no",
    "ac_cv_buggy_getaddrinfo=no",
    "ac_cv_file__dev_ptc=no",
    "ac_cv_file__dev_ptmx=yes",
    "ac_cv_posix_semaphores_enabled=yes",
    "ac_cv_working_tzset=yes",
)
# Parts of an interpreter before it is frozen; what make knows them as
_BOOTSTRAP = ("importlib._bootstrap", "importlib._bootstrap_external", "zipimport")
_TARGETS = (
    *(f"Python/frozen_modules/{name}.h" for name in _BOOTSTRAP),
    "Modules/getpath.o",
    "Programs/python.o",
)
_VARIABLES = ("LIBRARY_OBJS_OMIT_FROZEN", "LIBS", "MODLIBS", "SYSLIBS")
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
_QUESTION = ".PHONY: hostbuild-tell\nhostbuild-tell:\n" + "".join(
    f"\t@echo '{name}: $({name})'\n" for name in _VARIABLES
)
_CONFIGURED = ".configured"  # there when configure has come to its end
_PREPARE_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Built:
    """What an interpreter is linked from. version: "3.11.2". optional: modules in C that may be left out."""

    root: Path
    source: str
    source_version: str
    source_sha256: str
    version: str
    compiler: str
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
    source = require_source(wanted, lists, report)
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
    facts = (source.identity, fingerprint, str(RECIPE), OPTIMIZE, *COMPILE, *_CONFIGURE, paths_c())
    digest = hashlib.sha256("\0".join(facts).encode() + question("", (), ())).hexdigest()
    return f"{re.sub(r'[^a-zA-Z0-9.+~-]', '', f'{source.name}-{source.version}')}-{digest[:16]}"


def read_built(root: Path) -> Built:
    """Read what is known of a build."""
    about: dict[str, Any] = json.loads((root / "about.json").read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in about.items() if isinstance(value, list)}
    return Built(root=root, **(about | lists))


def _build(source: Source, work: Path, final: Path, report: Reporter) -> Path:
    log = work.with_name(f"{work.name}.log")
    tree, objects = work / "source", work / "objects"
    if not tree.is_dir():
        work.mkdir(exist_ok=True)
        with scratch_directory(work) as staging:
            source.unpack(staging / "tree", report)
            read_version(staging / "tree")
            sealed.give_name(staging / "tree", tree)
    log.write_text("", encoding="utf-8")
    if not (objects / _CONFIGURED).is_file():
        _configure(tree, objects, log, report)
    make = ["make", "-C", str(objects), f"OPT={OPTIMIZE}"]
    environment = _environment()
    dry = run([*make, "-n", *_TARGETS], timeout=_PREPARE_TIMEOUT, env=environment, check=False)
    total = said.count_compiled(dry.stdout.decode("utf-8", "replace").splitlines())
    with report.step(f"Building {source.name} {source.version}", total) as advance:
        jobs = len(os.sched_getaffinity(0))
        for line in _lines(["nice", "-n", "10", *make, f"-j{jobs}", *_TARGETS], environment, log):
            if said.is_compiled(line):
                advance(1)
    with report.step("Putting the interpreter together"), scratch_directory(final.parent) as scratch:
        complete = scratch / "sealed"
        root = sealed.root_of(complete)
        root.mkdir(parents=True)
        _assemble(source, tree, objects, root)
        kept = sealed.publish(complete, final)
    shutil.rmtree(work)  # never needed again: the key stands for the result
    return kept


def _configure(tree: Path, objects: Path, log: Path, report: Reporter) -> None:
    shutil.rmtree(objects, ignore_errors=True)
    (objects / "Modules").mkdir(parents=True)
    stdlib = (tree / "Modules/Setup.stdlib.in").read_text(encoding="utf-8")
    # there before configure runs: a Makefile that is made again would have this machine's libraries in it
    (objects / "Modules/Setup.local").write_text(setup_lines.local_setup(stdlib), encoding="utf-8")
    settings = {
        "CC": "gcc",
        "CFLAGS": " ".join(COMPILE),
        "LDFLAGS": "-no-pie -static",
        "LINKFORSHARED": " ",
        "MODULE_BUILDTYPE": "static",
    }
    words = [f"{name}={value}" for name, value in settings.items()]
    # by a relative name, which is what __FILE__ has then; no other path gets into what is compiled
    script = 'cd -- "$1" && shift && exec ../source/configure "$@"'
    with report.step("Configuring CPython"):
        argv = ["nice", "-n", "10", "sh", "-c", script, "sh", str(objects), *_CONFIGURE, *words]
        for _ in _lines(argv, _environment(), log):
            pass
    (objects / _CONFIGURED).touch()


def _assemble(source: Source, tree: Path, objects: Path, root: Path) -> None:
    version = read_version(tree)
    link_directory = root / "link"
    link_directory.mkdir()
    (objects / "hostbuild.mk").write_text(f"include Makefile\n{_QUESTION}", encoding="utf-8")
    argv = ["make", "-s", "--no-print-directory", "-C", str(objects), "-f", "hostbuild.mk", "hostbuild-tell"]
    told = run(argv, timeout=_PREPARE_TIMEOUT, env=_environment()).stdout.decode()
    variables = {name: value for name, _, value in (line.partition(":") for line in told.splitlines())}
    members = [name for name in variables["LIBRARY_OBJS_OMIT_FROZEN"].split() if name.endswith(".o")]
    words = " ".join(variables[name] for name in _VARIABLES[1:]).split()
    archives = ["libpython.a"]
    run(["ar", "rcsD", link_directory / archives[0], *members], timeout=_PREPARE_TIMEOUT, cwd=objects)
    for word in dict.fromkeys(word for word in words if word.endswith(".a")):
        archives.append(Path(word).name)
        shutil.copyfile(objects / word, link_directory / archives[-1])
    libraries = list(dict.fromkeys(word for word in words if word.startswith("-l")))
    for name in ("Modules/getpath.o", "Programs/python.o", "Modules/config.c"):
        shutil.copyfile(objects / name, link_directory / Path(name).name)
    shutil.copytree(tree / "Include", link_directory / "include")
    shutil.copyfile(objects / "pyconfig.h", link_directory / "include/pyconfig.h")
    short = ".".join(version.split(".")[:2])
    _keep_ctypes(tree / "Modules/_ctypes", link_directory / CTYPES)
    compile_paths(link_directory, short)
    shutil.copytree(tree / "Lib", root / f"lib/python{short}", ignore=_NOT_COPIED)
    (root / f"lib/python{short}/lib-dynload").mkdir()
    stdlib = (tree / "Modules/Setup.stdlib.in").read_text(encoding="utf-8")
    built = Built(
        root,
        source=source.name,
        source_version=source.version,
        source_sha256=source.sha256,
        version=version,
        compiler=toolchain.fingerprint().partition("\n")[0],
        optional=tuple(setup_lines.chosen(stdlib)),
        archives=tuple(archives),
        libraries=tuple(libraries),
    )
    about = {name: value for name, value in asdict(built).items() if name != "root"}
    (root / "about.json").write_text(json.dumps(about), encoding="utf-8")
    for name in _BOOTSTRAP:
        code = _array((objects / f"Python/frozen_modules/{name}.h").read_text())
        (link_directory / f"{name}.code").write_bytes(code)
    frozen = bootstrap_modules(root)
    built.program.parent.mkdir()
    built.program.write_bytes(link(link_directory, built.archives, built.libraries, frozen, (), guest=False))
    built.program.chmod(0o755)


def bootstrap_modules(root: Path) -> list[Frozen]:
    """Read what an interpreter that runs here has frozen, the parts without which it imports nothing."""
    return [Frozen(name, (root / f"link/{name}.code").read_bytes(), is_package=False) for name in _BOOTSTRAP]


def _keep_ctypes(sources: Path, kept: Path) -> None:
    def others(_: str, names: list[str]) -> list[str]:
        """Name what a build against a system's own libffi does without."""
        ours = ("malloc_closure.c", "darwin", "libffi_osx")
        return [name for name in names if name in ours or name.startswith("_ctypes_test")]

    shutil.copytree(sources, kept, ignore=others)


def _array(header: str) -> bytes:
    """Read the bytes of an array in C, as Programs/_freeze_module.c writes them."""
    _, brace, rest = header.partition("{")
    if not brace:
        raise InputError("a header of CPython's frozen modules has no array")
    return bytes(int(number) for number in re.findall(r"\d+", rest.partition("}")[0]))


def _environment() -> dict[str, str]:
    """Return the environment of a build: nothing of this user's steers it, and there is no clock."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONHASHSEED": "0",
    }


def _lines(argv: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run a command, append its output to the log, and yield its lines; a failure names the first error."""
    try:
        yield from logged_lines(argv, env=environment, log=log)
    except CommandError as e:
        if e.status is None:
            raise
        raise failure(log.read_text(encoding="utf-8").splitlines(), e.argv, e.status, log) from e


def failure(lines: Sequence[str], argv: tuple[str, ...], status: int, log: Path) -> CommandError:
    """Make the error of a build that failed: what went wrong, the log's end, what is missing."""
    if package := said.missing_package(lines):
        hint = f"sudo apt-get install --no-install-recommends {package}; the whole log: {log}"
    else:
        hint = f"read the whole log: {log}; leave --python build out for Debian's interpreter"
    error = said.first_error(lines) or f"it ended with {status}"
    message = f"the interpreter could not be built: {error}; the log ends with\n{said.tail(lines)}"
    return CommandError(message, argv=argv, status=status, stderr=said.tail(lines), hint=hint)
