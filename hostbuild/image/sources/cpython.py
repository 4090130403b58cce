"""A small CPython for the image: Debian's python3.X-minimal, its libraries, and the modules that are
imported.

The interpreter is the distribution's, so that it is the same whatever Python runs hostbuild; the version X
is the one that Debian's python3-minimal depends on, in this machine's release or another one. Modules are compiled
by that very interpreter, started from its unpacked package under its own loader, and carried as .pyc files in place
of the sources: `/usr/lib/python3.11/os.pyc`. They hold no time (PEP 552, unchecked hashes), so that two runs give
the same bytes, and no docstrings.

An interpreter of another architecture is never started. What is inside it is read from its program, and all else is
done by its twin: the interpreter of the same version that Debian has for this machine. A version's bytecode is the same
on every architecture.
"""

import marshal
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hostbuild import debs
from hostbuild.apt import Lists, Spec, parse_spec
from hostbuild.errors import InputError, WorldError
from hostbuild.formats import elf
from hostbuild.fs import answers
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import imports, inside, stdlib
from hostbuild.image.sources.bootpath import joined, putoff, records, trimmed
from hostbuild.image.sources.libraries import Libraries
from hostbuild.image.sources.stdlib import Closure, Found, Origin, close, complete, start_up
from hostbuild.pybuild.link import Linkage
from hostbuild.run import run

if TYPE_CHECKING:
    from hostbuild.pybuild.build import Built

GROUP = "python"
DEFAULT = Spec("python3")
_NAME = re.compile(r"(python3(?:\.\d+)?)(?:-minimal)?")


# What `abc` imports where the interpreter has no _abc, which CPython always has
_FALLBACKS = frozenset({"_py_abc"})


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An unpacked interpreter.

    version: "3.11". command: what starts it where it lies, under its own loader and with its own libraries.
    twin: what is started in its place, if it is another architecture's; its command is empty then.
    library: the directories of its standard library's sources. home: as PYTHONHOME. own: what it is linked from, if it
    is one of our own (own.py); None for Debian's. linkage: how that is linked.
    """

    version: str
    program: Path
    command: tuple[str | Path, ...]
    home: Path
    library: tuple[Path, ...]
    packages: tuple[debs.Package, ...]
    builtin: frozenset[str]
    frozen: frozenset[str]
    libraries: Libraries
    twin: "Interpreter | None" = None
    own: "Built | None" = None
    linkage: Linkage = Linkage.STATIC
    _found: dict[str, Found | None] = field(default_factory=dict, compare=False, repr=False)

    def find(self, name: str) -> Found | None:
        """Find a module of the standard library."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Found | None:
        if "/" in name or not all(name.split(".")):
            return None  # a path, which somebody took for a name
        if name in self.builtin:
            return Found(Origin.BUILTIN)
        relative = name.replace(".", "/")
        for directory in self.library:
            for path in (directory / relative / "__init__.py", directory / f"{relative}.py"):
                if path.is_file():
                    origin = Origin.FROZEN if name in self.frozen else Origin.SOURCE
                    return Found(origin, path, path.read_bytes())
            if (extension := _extensions(directory).get(name)) is not None:
                return Found(Origin.EXTENSION, extension)
        return Found(Origin.FROZEN) if name in self.frozen else None

    def can_import(self, name: str) -> bool:
        """Tell whether a module is there that has no file: one that its parent makes, as `os` does os.path."""
        return "." in name and name in self.observe([name], ())

    def compile(self, sources: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """Compile pairs of source and file name (for tracebacks) to the content of .pyc files, in order."""
        answer = self._answer(inside.COMPILE, marshal.dumps(list(sources), 2))
        compiled: list[bytes] = marshal.loads(answer)  # noqa: S302 - our own child's answer
        return compiled

    def join(
        self,
        roots: Sequence[str],
        sources: Mapping[str, tuple[bytes, str, bool]],
        place: str,
        after: Sequence[str] = (),
        *,
        called: Mapping[str, str] | None = None,
    ) -> tuple[bytes, bytes]:
        """Compile what the modules `roots` import of `sources`, and they themselves, to the content of one .pyc file.

        A second one has what is put off.

        sources: name -> (source, file name for tracebacks, is it a package). Importing the file makes the modules; what
        they import later is looked for beside it. place: its path below the directory that holds the packages. after:
        modules that are imported before it is, by whomsoever; what these import is left out. called: see join() of
        joined.py.
        """
        texts = [(module.__name__, _text_of(module)) for module in (putoff, records, trimmed, joined)]
        functions = None if called is None else dict(called)
        question = [texts, list(roots), dict(sources), place, list(after), functions]
        answer = self._answer(inside.JOIN, marshal.dumps(question, 2))
        contents: tuple[bytes, bytes] = marshal.loads(answer)  # noqa: S302 - our own child's answer
        return contents

    def imported(self, source: bytes, package: str, inside_functions: bool) -> list[tuple[str, str]]:
        """Return what a source imports, as imported() of imports.py does; this interpreter knows newer syntax, too."""
        asked = [_text_of(imports), sys.version, self.version, source, package, inside_functions]
        found = answers.values(
            "imported", asked, lambda: self._read_imports(source, package, inside_functions)
        )
        return [(module, name) for module, name in found]

    def imported_by(self, sources: Sequence[tuple[bytes, str]]) -> list[list[tuple[str, str]]]:
        """Return what each of many sources imports, inside functions as well; with each comes its package."""
        asked = [_text_of(imports), sys.version, self.version, *map(list, sources)]
        found: list[list[tuple[str, str]]] = answers.values(
            "imported by", asked, lambda: [self.imported(*source, True) for source in sources]
        )
        return found

    def closed(
        self, what: str, roots: Sequence[str], missing: Mapping[str, str], make: Callable[[], Closure]
    ) -> Closure:
        """Return a closure of its library that `make` makes of what is told; the same one once."""
        code = answers.code_of(imports.__file__, inside.__file__, stdlib.__file__, __file__)
        library = [
            sys.version,
            self.version,
            *(f"{package.sha256} {package.architecture}" for package in self.packages),
            "" if self.own is None else f"{self.own.root}",  # named by the key of all that it is built of
        ]

        def told() -> tuple[list[str], dict[str, str]]:
            closure = make()
            return list(closure.modules), closure.missing

        names, lacking = answers.values(code, [what, library, list(roots), dict(missing)], told)
        found = {name: self.find(name) for name in names}
        return Closure({name: one for name, one in found.items() if one is not None}, lacking)

    def _read_imports(self, source: bytes, package: str, inside_functions: bool) -> list[tuple[str, str]]:
        try:
            return imports.imported(source, package, inside_functions)
        except SyntaxError:
            places = (self.twin or self)._places()
            question = marshal.dumps([_text_of(imports), places, source, package, inside_functions], 2)
            answer = self._answer(inside.IMPORTED, question)
            found = marshal.loads(answer)  # noqa: S302 - our own child's answer
            if found is None:
                raise
            return [(module, name) for module, name in found]

    def _answer(self, script: str, question: bytes) -> bytes:
        who = self.twin or self
        return _run_python(who.command, who.home, script, question)

    def _places(self) -> list[str]:
        return [str(place) for root in self.library for place in (root, root / "lib-dynload")]

    def observe(self, names: Sequence[str], hidden: Iterable[str]) -> set[str]:
        """Import modules of the standard library, all but `hidden`; give the names of all that are loaded then.

        What the interpreter started with counts, too.
        """
        if self.twin is not None:
            return self.twin.observe(names, hidden)
        extensions = [
            found.path for found in map(self.find, names) if found and found.origin is Origin.EXTENSION
        ]
        command = command_of(self.program, self.libraries, [path for path in extensions if path is not None])
        question = marshal.dumps([list(names), sorted(hidden), self._places()], 2)
        answer = _run_python(command, self.home, inside.OBSERVE, question)
        return set(marshal.loads(answer))  # noqa: S302 - our own child's answer


def parse_package(text: str) -> Spec:
    """Parse the word that names an interpreter's package: deb:python3/trixie, deb:python3.13. Raises InputError."""
    spec = parse_spec(text.removeprefix("deb:"))
    match = _NAME.fullmatch(spec.name)
    if match is None:
        raise InputError(
            f"{spec.name} is not a package of CPython's interpreter",
            hint="deb:python3, or deb:python3.13/trixie",
        )
    return replace(spec, name=match[1])


def require_interpreter(wanted: Spec = DEFAULT) -> Interpreter:
    """Get the interpreter's packages and learn what is built into it.

    wanted: python3 for the one that the release prefers, or python3.13 and the like.
    """
    version = wanted.name.removeprefix("python")
    lists = wanted.lists
    if version == "3":
        [meta] = debs.describe(["python3-minimal"], lists)
        versions = [m[1] for name in meta.depends if (m := re.fullmatch(r"python(3\.\d+)-minimal", name))]
        if not versions:
            raise WorldError(f"the package {meta} does not say which Python it stands for")
        version = versions[0]
    ending = f"={wanted.version}" if wanted.version and wanted.name != "python3" else ""
    names = (f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib")
    packages = debs.describe([f"{name}{ending}" for name in names], lists)
    roots = [debs.require_unpacked(package) for package in packages]
    program = roots[0] / f"usr/bin/python{version}"
    libraries = Libraries(lists)
    home = roots[1] / "usr"
    twin: Interpreter | None = None
    command: tuple[str | Path, ...] = ()
    if lists.architecture:
        twin = _require_twin(version, lists)
        from hostbuild.formats.programs.cpython import builtin_modules, frozen_modules

        with program.open("rb") as stream:
            builtin, frozen = builtin_modules(stream), frozen_modules(stream, version)
    else:
        command = command_of(program, libraries)
        builtin, frozen = describe(command, home)
    return Interpreter(
        version=version,
        program=program,
        command=command,
        home=home,
        library=tuple(root / f"usr/lib/python{version}" for root in roots[1:]),
        packages=tuple(packages),
        builtin=builtin,
        frozen=frozen,
        libraries=libraries,
        twin=twin,
    )


def _require_twin(version: str, lists: Lists) -> Interpreter:
    """Get this machine's interpreter of the same version, from the same release. Raises WorldError."""
    spec = Spec(f"python{version}", release=lists.release)
    try:
        return require_interpreter(spec)
    except InputError as e:
        raise WorldError(
            f"the guest's Python {version} is another architecture's, and none of this machine's compiles for it: {e}",
            hint="name a release that this machine's architecture has the same Python in: --release",
        ) from e


def describe(command: Sequence[str | Path], home: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return which modules are built into an interpreter, and which are frozen, by its own words."""
    builtin, frozen = marshal.loads(_run_python(command, home, inside.DESCRIBE))  # noqa: S302 - our own child's answer
    return frozenset(builtin), frozenset(frozen)


def library_for(interpreter: Interpreter, wanted: Iterable[str]) -> Closure:
    """Return the modules that the interpreter needs for its start, and those that `wanted` need."""
    roots = [*start_up(interpreter.version), *wanted]
    return interpreter.closed(
        "close", roots, {}, lambda: close(roots, interpreter.find, _FALLBACKS, interpreter.imported)
    )


def complete_library(interpreter: Interpreter, closure: Closure) -> Closure:
    """Add what the modules of the closure are seen to import when the interpreter runs."""
    return interpreter.closed(
        "complete",
        list(closure.modules),
        closure.missing,
        lambda: complete(closure, interpreter.find, interpreter.observe, interpreter.imported),
    )


def put_interpreter(tree: FileTree, interpreter: Interpreter, closure: Closure) -> None:
    """Put the interpreter and its libraries into the image, and the modules of the closure."""
    version = interpreter.version
    origin = str(interpreter.packages[0])
    tree.file(f"usr/bin/python{version}", interpreter.program, group=GROUP, origin=origin, permissions=0o755)
    tree.symlink("usr/bin/python3", f"python{version}", group=GROUP, origin=origin)
    library = f"usr/lib/python{version}"
    # the interpreter takes this directory as the mark of its exec_prefix, and complains without it
    tree.directory(f"{library}/lib-dynload", group=GROUP, origin=origin)
    programs = [interpreter.program]
    jobs: list[tuple[bytes, str]] = []
    for name, found in closure.modules.items():
        if (
            found.origin is Origin.FROZEN and name == "os"
        ):  # its file is never read, but marks where the library is
            tree.file(f"{library}/os.pyc", b"", group=GROUP, origin=str(interpreter.packages[1]))
        if found.path is None or found.origin is Origin.FROZEN:
            continue
        if found.origin is Origin.EXTENSION:
            path = f"{library}/lib-dynload/{found.path.name}"
            tree.file(path, found.path, group=GROUP, origin=str(interpreter.packages[2]))
            programs.append(found.path)
            continue
        relative = name.replace(".", "/") + ("/__init__" if found.is_package else "")
        jobs.append((found.source, f"/{library}/{relative}.py"))
    for (_, name), code in zip(jobs, interpreter.compile(jobs), strict=True):
        tree.file(name[1:] + "c", code, group=GROUP, origin=str(interpreter.packages[1]))
    interpreter.libraries.put(tree, programs, group=GROUP)


def command_of(
    program: Path, libraries: Libraries, extensions: Sequence[Path] = ()
) -> tuple[str | Path, ...]:
    """Return what starts a program where it lies, under its own loader and with its own libraries."""
    loader = elf.program_of(program).interpreter
    if loader is None:
        return (program,)
    found = elf.closure([program, *extensions], libraries.find)
    directories = sorted({str(path.parent) for path in found.values()})
    return libraries.require(loader.rpartition("/")[2]), "--library-path", ":".join(directories), program


def _run_python(command: Sequence[str | Path], home: Path, script: str, stdin: bytes = b"") -> bytes:
    """Have the image's interpreter answer a question; the same one once: the paths of packages hold their digests."""
    # the hash seed decides in which order sets are written into .pyc files
    environment = {"PYTHONHOME": str(home), "PYTHONHASHSEED": "0"}
    environment["PYTHONNODEBUGRANGES"] = "1"  # columns for tracebacks are 8 % of a .pyc file
    # -B: the packages in the cache stay as they are
    words = [*command, "-B", "-S", "-c", script]
    question = marshal.dumps([[str(word) for word in words], environment, stdin], 2)
    return answers.answer(question, lambda: run(words, stdin=stdin, env=environment, timeout=120).stdout)


@cache
def _text_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")


@cache
def _extensions(library: Path) -> dict[str, Path]:
    """Give the extension modules of a library by their names: _ssl.cpython-311-x86_64-linux-gnu.so."""
    files = sorted((library / "lib-dynload").glob("*.*.so"), reverse=True)
    return {path.name.partition(".")[0]: path for path in files}
