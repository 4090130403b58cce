"""A small CPython for the image: Debian's python3.X-minimal, its libraries, and the modules that are
imported.

The interpreter is the distribution's, so that it is the same whatever Python runs hostbuild; the version X
is the one that Debian's python3-minimal depends on, in this machine's release or another one. Modules are compiled
by that very interpreter, started from its unpacked package under its own loader, and carried as .pyc files in place
of the sources: `/usr/lib/python3.11/os.pyc`. They hold no time (PEP 552, unchecked hashes), so that two runs give
the same bytes, and no docstrings.
"""

import marshal
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import Spec, parse_spec
from hostbuild.errors import InputError, WorldError
from hostbuild.formats import elf
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import imports
from hostbuild.image.sources.libraries import Libraries
from hostbuild.image.sources.stdlib import Closure, Found, Origin, close, complete, start_up
from hostbuild.run import run

GROUP = "python"
DEFAULT = Spec("python3")
_NAME = re.compile(r"(python3(?:\.\d+)?)(?:-minimal)?")

# Runs in the image's interpreter. marshal on both pipes: the smallest library has neither json nor pickle.
_COMPILE = """
import marshal, sys
from importlib.util import MAGIC_NUMBER
done = []
for source, name in marshal.load(sys.stdin.buffer):
    code = compile(source, name, "exec", dont_inherit=True, optimize=2)
    # dumped twice, so that it does not matter which strings this process happens to share
    code = marshal.dumps(marshal.loads(marshal.dumps(code)))
    # the flags say: by hash, not to be checked; nobody reads the hash then
    done.append(MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + code)
sys.stdout.buffer.write(marshal.dumps(done, 2))
"""

_DESCRIBE = """
import _imp, marshal, sys
sys.stdout.buffer.write(marshal.dumps([list(sys.builtin_module_names), list(_imp._frozen_module_names())], 2))
"""


# Imports modules and tells what is there then. `hidden` are those that the image shall do without. What a module
# prints goes to standard error; one that cannot be imported here has told by then what it wanted.
_OBSERVE = """
import marshal, os, sys
class Hidden:
    def find_spec(name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
names, hidden, sys.path[:] = marshal.load(sys.stdin.buffer)
answer, sys.stdout = os.dup(1), sys.stderr
os.dup2(2, 1)
sys.meta_path.insert(0, Hidden)
for name in names:
    try:
        __import__(name)
    except BaseException:
        pass
with open(answer, "wb") as stream:
    marshal.dump([name for name, module in sys.modules.items() if module is not None], stream, 2)
    stream.flush()
    os._exit(0)
"""

# Reads a source's imports with the text of imports.py; None for what this interpreter does not know either.
_IMPORTED = """
import marshal, sys
text, sys.path[:], *question = marshal.load(sys.stdin.buffer)
there = {}
exec(text, there)
try:
    found = there["imported"](*question)
except (SyntaxError, ValueError):
    found = None
sys.stdout.buffer.write(marshal.dumps(found, 2))
"""

# Imports modules from sources that are handed in, and compiles one that makes them all, each before those that import
# it: what the import system would do, without its searches. Their code is a constant of that one's.
_JOIN = """
import marshal, sys
from importlib.util import MAGIC_NUMBER, spec_from_loader
roots, sources = marshal.load(sys.stdin.buffer)
done = []
class Given:
    def find_spec(name, path=None, target=None):
        return spec_from_loader(name, Given, is_package=sources[name][2]) if name in sources else None
    def create_module(spec):
        return None
    def exec_module(module):
        text, file, is_package = sources[module.__name__]
        code = compile(text, file, "exec", dont_inherit=True, optimize=2)
        exec(code, module.__dict__)
        done.append((module.__name__, module.__name__.replace(".", "/") if is_package else "", code))
sys.meta_path.insert(0, Given)
for name in roots:
    __import__(name)
text = '''
import sys
make = type(sys)
here = __file__.rpartition("/")[0]
for name, directory, code in "CODES":
    module = sys.modules[name] = make(name)
    parent, _, child = name.rpartition(".")
    module.__package__ = name if directory else parent
    if directory:
        module.__path__ = [here + "/" + directory]
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(code, module.__dict__)
'''
code = compile(text, "joined", "exec", dont_inherit=True, optimize=2)
code = code.replace(co_consts=tuple(tuple(done) if one == "CODES" else one for one in code.co_consts))
code = marshal.dumps(marshal.loads(marshal.dumps(code)))
sys.stdout.buffer.write(MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + code)
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An unpacked interpreter.

    version: "3.11". command: what starts it where it lies, under its own loader and with its own libraries.
    library: the directories of its standard library's sources. home: as PYTHONHOME.
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

    @property
    def path(self) -> str:
        """Where the interpreter is in the image."""
        return f"/usr/bin/python{self.version}"

    def find(self, name: str) -> Found | None:
        """Find a module of the standard library."""
        if name in self.builtin:
            return Found(Origin.BUILTIN)
        relative = name.replace(".", "/")
        for directory in self.library:
            for path in (directory / relative / "__init__.py", directory / f"{relative}.py"):
                if path.is_file():
                    origin = Origin.FROZEN if name in self.frozen else Origin.SOURCE
                    return Found(origin, path, path.read_bytes())
            for path in (directory / "lib-dynload").glob(f"{name}.*.so"):
                return Found(Origin.EXTENSION, path)
        return Found(Origin.FROZEN) if name in self.frozen else None

    def compile(self, sources: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """Compile pairs of source and file name (for tracebacks) to the content of .pyc files, in order."""
        answer = _run_python(self.command, self.home, _COMPILE, marshal.dumps(list(sources), 2))
        compiled: list[bytes] = marshal.loads(answer)  # noqa: S302 - our own child's answer
        return compiled

    def join(self, roots: Sequence[str], sources: Mapping[str, tuple[bytes, str, bool]]) -> bytes:
        """Compile what the modules `roots` import of `sources`, and they themselves, to the content of one .pyc file.

        sources: name -> (source, file name for tracebacks, is it a package). Importing the file makes the modules; what
        they import later is looked for beside it.
        """
        question = marshal.dumps([list(roots), dict(sources)], 2)
        return _run_python(self.command, self.home, _JOIN, question)

    def imported(self, source: bytes, package: str, inside_functions: bool) -> list[tuple[str, str]]:
        """Return what a source imports, as imported() of imports.py does; this interpreter knows newer syntax, too."""
        try:
            return imports.imported(source, package, inside_functions)
        except SyntaxError:
            text = Path(imports.__file__).read_text(encoding="utf-8")
            question = marshal.dumps([text, self._places(), source, package, inside_functions], 2)
            answer = _run_python(self.command, self.home, _IMPORTED, question)
            found = marshal.loads(answer)  # noqa: S302 - our own child's answer
            if found is None:
                raise
            return [(module, name) for module, name in found]

    def _places(self) -> list[str]:
        return [str(place) for root in self.library for place in (root, root / "lib-dynload")]

    def observe(self, names: Sequence[str], hidden: Iterable[str]) -> set[str]:
        """Import modules of the standard library, all but `hidden`; give the names of all that are loaded then.

        What the interpreter started with counts, too.
        """
        extensions = [
            found.path for found in map(self.find, names) if found and found.origin is Origin.EXTENSION
        ]
        command = _command(self.program, self.libraries, [path for path in extensions if path is not None])
        question = marshal.dumps([list(names), sorted(hidden), self._places()], 2)
        answer = _run_python(command, self.home, _OBSERVE, question)
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
    release = wanted.release
    if version == "3":
        [meta] = debs.describe(["python3-minimal"], release)
        versions = [m[1] for name in meta.depends if (m := re.fullmatch(r"python(3\.\d+)-minimal", name))]
        if not versions:
            raise WorldError(f"the package {meta} does not say which Python it stands for")
        version = versions[0]
    ending = f"={wanted.version}" if wanted.version and wanted.name != "python3" else ""
    names = (f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib")
    packages = debs.describe([f"{name}{ending}" for name in names], release)
    roots = [debs.require_unpacked(package) for package in packages]
    program = roots[0] / f"usr/bin/python{version}"
    libraries = Libraries(release)
    command = _command(program, libraries)
    home = roots[1] / "usr"
    answer = _run_python(command, home, _DESCRIBE)
    builtin, frozen = marshal.loads(answer)  # noqa: S302 - our own child's answer
    return Interpreter(
        version=version,
        program=program,
        command=command,
        home=home,
        library=tuple(root / f"usr/lib/python{version}" for root in roots[1:]),
        packages=tuple(packages),
        builtin=frozenset(builtin),
        frozen=frozenset(frozen),
        libraries=libraries,
    )


def library_for(interpreter: Interpreter, wanted: Iterable[str]) -> Closure:
    """Return the modules that the interpreter needs for its start, and those that `wanted` need."""
    return close([*start_up(interpreter.version), *wanted], interpreter.find, read=interpreter.imported)


def complete_library(interpreter: Interpreter, closure: Closure) -> Closure:
    """Add what the modules of the closure are seen to import when the interpreter runs."""
    return complete(closure, interpreter.find, interpreter.observe, interpreter.imported)


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
        if found.path is None or (found.origin is Origin.FROZEN and name != "os"):
            continue  # `os` is frozen too, but its file marks where the library is
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


def _command(program: Path, libraries: Libraries, extensions: Sequence[Path] = ()) -> tuple[str | Path, ...]:
    with program.open("rb") as stream:
        loader = elf.interpreter(stream)
    if loader is None:
        return (program,)
    found = elf.closure([program, *extensions], libraries.find)
    directories = sorted({str(path.parent) for path in found.values()})
    return libraries.require(loader.rpartition("/")[2]), "--library-path", ":".join(directories), program


def _run_python(command: Sequence[str | Path], home: Path, script: str, stdin: bytes = b"") -> bytes:
    # the hash seed decides in which order sets are written into .pyc files
    environment = {"PYTHONHOME": str(home), "PYTHONHASHSEED": "0"}
    # -B: the packages in the cache stay as they are
    return run([*command, "-B", "-S", "-c", script], stdin=stdin, env=environment, timeout=120).stdout
