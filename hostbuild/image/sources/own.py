"""An interpreter of our own for the image (`--python build`): built once (pybuild), linked for the image.

Frozen are the modules that every image has: what the interpreter starts with, the daemon, the agent, and what these
import. Whatever else an image has of the standard library, for overlays' scripts, extras or `--python MODULE`, lies as
.pyc files in /usr/lib/python3.X, as Debian's interpreter has all of it. Modules in C are linked in if the image imports
them.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hostbuild import debs
from hostbuild.apt import Lists
from hostbuild.errors import CommandError, UsageError, WorldError
from hostbuild.fs.remembered import remembered
from hostbuild.fs.scratch import scratch_directory
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import cpython, daemon
from hostbuild.image.sources.cpython import GROUP, Interpreter, complete_library, describe, library_for
from hostbuild.image.sources.extras import Extra
from hostbuild.image.sources.libraries import Libraries
from hostbuild.image.sources.overlay import Overlay
from hostbuild.image.sources.stdlib import Closure, Origin, imports
from hostbuild.pybuild import link
from hostbuild.pybuild.link import Frozen, Linkage
from hostbuild.pybuild.setup_lines import reasons
from hostbuild.ui import Reporter

if TYPE_CHECKING:
    from hostbuild.pybuild.build import Built
    from hostbuild.pybuild.source import BuildSpec

# Frozen in every interpreter, as CPython's own has them: the import system, and what `python3 -m` and directories need
_ALWAYS = (
    "importlib._bootstrap",
    "importlib._bootstrap_external",
    "importlib.machinery",
    "importlib.util",
    "runpy",
    "zipimport",
)
_IMPORT_SYSTEM = frozenset({"_frozen_importlib", "_frozen_importlib_external"})
_EXTENSION = re.compile(r"\.(?:cpython-3\d+\S*|abi3)\.so$")  # PEP 3149, PEP 384
_HEADER = 16  # bytes of a .pyc file before its code: PEP 552
_LARGE = frozenset(
    {"unicodedata"}
)  # a megabyte of tables, which re wants for \N{NAME}: only for who imports it
_LOADING = frozenset({Extra.AUDIT, Extra.NETWORK})  # pyudev loads libudev; pyroute2 imports ctypes
_CTYPES = frozenset({"ctypes", "_ctypes"})


def linkage_of(extras: Iterable[Extra], names: Iterable[str], overlays: Iterable[Overlay]) -> Linkage:
    """Tell how an image's interpreter has to be linked: static, unless something loads libraries while it runs.

    names: modules of --python.
    """
    laid = list(overlays)
    if any(_EXTENSION.search(path) for one in laid for path, _ in one.entries):
        return Linkage.EXPORTING
    wanted = [
        *names,
        *(name for one in laid for source in one.python_sources() for name in _imported(source)),
    ]
    if _LOADING.intersection(extras) or _CTYPES.intersection(name.partition(".")[0] for name in wanted):
        return Linkage.LOADING
    return Linkage.STATIC


def _imported(source: bytes) -> list[str]:
    try:
        return [one.module for one in imports(source, "", inside_functions=True)]
    except (SyntaxError, ValueError):
        return []  # a script of another Python, or of none


def require_own(wanted: "BuildSpec", lists: Lists, report: Reporter, linkage: Linkage) -> Interpreter:
    """Build an interpreter, or take the one that was built before. Raises as require_built() does."""
    # all of the building: an image with Debian's interpreter does not wait for it
    from hostbuild.pybuild.build import require_built
    from hostbuild.pybuild.loading import require_loading
    from hostbuild.pybuild.toolchain import require_toolchain

    loads = linkage is not Linkage.STATIC
    if loads:  # said before anything is built
        require_toolchain(from_package=wanted.tarball is None, loads=True)
    built = require_built(wanted, lists, report)
    if loads:
        built = require_loading(built, report)
    libraries = Libraries(lists)
    command = cpython.command_of(built.program, libraries)  # a static one's is its own name
    try:
        builtin, _ = describe(command, built.root)
    except CommandError as e:
        if not loads or "version `GLIBC" not in str(e):
            raise
        raise WorldError(
            f"the interpreter that is built here does not run with the C library of {lists.release}: {e}",
            hint="leave --python build or --release out: a program runs with its own release's libraries or newer ones",
        ) from e
    return Interpreter(
        version=built.short,
        program=built.program,
        command=command,
        home=built.root,
        library=(built.library,),
        packages=_packages(built),
        builtin=builtin,
        frozen=_IMPORT_SYSTEM,
        libraries=libraries,
        own=built,
        linkage=linkage,
    )


def check_asked(names: Sequence[str], interpreter: Interpreter) -> None:
    """Refuse modules of the standard library that need one in C which is not there. Others' names are let through."""
    for name in names:
        found = interpreter.find(name)
        if name in reasons([name]) and found is None:
            why = reasons([name])[name]
        elif found is None or name in interpreter.observe([name], ()):
            continue
        else:
            why = "; ".join(reasons(library_for(interpreter, [name]).missing).values())
        raise UsageError(
            f"an interpreter of our own cannot import {name}{why and f': {why}'}",
            hint="leave --python build out: Debian's interpreter has all of the library",
        )


def put_interpreter(
    tree: FileTree, interpreter: Interpreter, closure: Closure, sources: list[daemon.ModuleSource]
) -> list[str]:
    """Put the interpreter and its library into the image; give the names of what is frozen, [] for Debian's.

    closure: all that the image has of the standard library. sources: the daemon's and the agent's.
    """
    built = interpreter.own
    if built is None:
        cpython.put_interpreter(tree, interpreter, closure)
        return []
    base = library_for(interpreter, [*_ALWAYS, *daemon.imports(sources, interpreter)])
    base = complete_library(interpreter, base)
    library = f"usr/lib/python{interpreter.version}"
    origin = f"{built.source} {built.source_version}"
    frozen = _frozen(interpreter, base, sources, library)
    used = _named(closure | base, interpreter)
    unused = [name for name in built.optional if name not in used]
    program = _linked(built, frozen, unused, interpreter.linkage)
    tree.file(f"usr/bin/python{interpreter.version}", program, group=GROUP, origin=origin, permissions=0o755)
    tree.symlink("usr/bin/python3", f"python{interpreter.version}", group=GROUP, origin=origin)
    if interpreter.linkage is not Linkage.STATIC:
        with scratch_directory() as place:
            (place / "python").write_bytes(program)
            interpreter.libraries.put(tree, [place / "python"], group=GROUP)
    tree.directory(library, group=GROUP, origin=origin)
    jobs = _sources(closure, library, set(base.modules))
    for (_, name), code in zip(jobs.values(), interpreter.compile(list(jobs.values())), strict=True):
        tree.file(name[1:] + "c", code, group=GROUP, origin=origin)
    return sorted(one.name for one in frozen)


def _named(closure: Closure, interpreter: Interpreter) -> set[str]:
    """Return the closure's modules, and all that these may import when their functions run, as hashlib does _md5."""
    return set(closure.modules) | {
        one.module
        for found in closure.modules.values()
        if found.source
        for one in imports(found.source, "", inside_functions=True, read=interpreter.imported)
        if one.module not in _LARGE
    }


def _frozen(
    interpreter: Interpreter, base: Closure, sources: list[daemon.ModuleSource], library: str
) -> list[Frozen]:
    """Compile what is frozen: what the interpreter starts with, the boot path, the rest."""
    single = [source for source in sources if source.name != daemon.LATER]
    jobs = _sources(base, library, set())
    start = [*_ALWAYS[:2], *(name for name in jobs if name not in _ALWAYS[:2])]
    jobs |= {source.name: (source.text, f"/{daemon.LIBRARY}/{source.path}") for source in single}
    compiled = dict(zip(jobs, interpreter.compile(list(jobs.values())), strict=True))
    files = daemon.joined_files(sources, interpreter)
    joined = {place.removesuffix(".pyc").replace("/", "."): code for place, code in files.items()}
    order = [*start, *joined, *(source.name for source in single)]
    packages = {name for name, found in base.modules.items() if found.is_package}
    packages |= {source.name for source in single if source.path.endswith("/__init__.py")}
    codes = compiled | joined
    return [Frozen(name, codes[name][_HEADER:], name in packages) for name in order]


def _sources(closure: Closure, library: str, without: set[str]) -> dict[str, tuple[bytes, str]]:
    """Return the closure's modules that are written in Python: name -> source, and its file in the image."""
    return {
        name: (found.source, f"/{library}/{name.replace('.', '/')}{'/__init__' * found.is_package}.py")
        for name, found in closure.modules.items()
        if found.origin is Origin.SOURCE and name not in without
    }


def _linked(built: "Built", frozen: Sequence[Frozen], without: Sequence[str], linkage: Linkage) -> bytes:
    place = debs.cache_directory() / "python" / "linked"
    place.parent.mkdir(exist_ok=True)

    def make() -> bytes:
        directory = built.root / "link"
        return link.link(
            directory, built.archives, built.libraries, frozen, without, guest=True, linkage=linkage
        )

    return remembered(place, link.question(str(built.root), frozen, without, linkage), make)


def _packages(built: "Built") -> tuple[debs.Package, ...]:
    """Return the source package, for the manifest; nothing for a tarball."""
    if built.source == "cpython":
        return ()
    return (debs.Package(built.source, built.source_version, "source", built.source_sha256, 0, ()),)


def told(interpreter: Interpreter, frozen: Sequence[str]) -> dict[str, object]:
    """Return the manifest's row: what the interpreter was built of and by, what is frozen; {} for Debian's."""
    built = interpreter.own
    if built is None:
        return {}
    source = {"name": built.source, "version": built.source_version, "sha256": built.source_sha256}
    return {
        "version": built.version,
        "source": source,
        "compiler": built.compiler,
        "profile": built.profile,
        "frozen": list(frozen),
    }
