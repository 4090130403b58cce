"""The closure of imports, on small made-up libraries and on the real interpreter."""

import ast
import marshal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostbuild.apt import Spec
from hostbuild.errors import InputError, WorldError
from hostbuild.image.filetree import FileTree
from hostbuild.image.sources import cpython, daemon, stdlib
from hostbuild.image.sources.cpython import Interpreter
from hostbuild.image.sources.stdlib import Found, Import, Origin, imports, start_up
from tests.support.unpacked import write_libraries

SOURCES = {
    "top": "import sys\ndef f():\n    import lazy\n",
    "lazy": "",
    "pkg": "from pkg.inner import thing\nfrom . import sibling\n",
    "pkg.inner": "from .absent import x\ntry:\n    import nowhere\nexcept ImportError:\n    pass\n",
    "pkg.sibling": "from .inner import thing as t\n",
    "typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lazy\nelse:\n    import top\n",
    "typing": "",
}


def find(name: str) -> Found | None:
    if name == "sys":
        return Found(Origin.BUILTIN)
    if name not in SOURCES:
        return None
    package = any(other.startswith(f"{name}.") for other in SOURCES)
    file = Path(name.replace(".", "/") + ("/__init__.py" if package else ".py"))
    return Found(Origin.SOURCE, file, SOURCES[name].encode())


def closed(*names: str) -> set[str]:
    return set(stdlib.close(names, find).modules)


def test_imports_inside_functions_do_not_count_in_the_library() -> None:
    """What a library's function imports when it is called is not carried."""
    assert closed("top") == {"top", "sys"}


def test_packages_bring_their_submodules_and_parents() -> None:
    """`from . import x` and `from .x import y` mean submodules; a submodule brings its package."""
    assert closed("pkg.inner") == {"pkg", "pkg.inner", "pkg.sibling"}


def test_type_checking_blocks_do_not_count() -> None:
    """Of `if TYPE_CHECKING` only the else branch runs."""
    assert closed("typed") == {"typed", "typing", "top", "sys"}


def test_what_runs_as_a_program_only_does_not_count_in_the_library() -> None:
    """`if __name__ == "__main__"` is not true of a module that is imported; of a script it is."""
    source = b"if __name__ == '__main__':\n    import top\n"
    assert imports(source, "", inside_functions=False) == []
    assert imports(source, "", inside_functions=True) == [Import("top")]


def test_what_one_leaves_out_another_may_bring() -> None:
    """A module left out of one closure is in the union with one that has it, and then is missing nowhere."""
    without = stdlib.close(["pkg.sibling"], find, frozenset({"pkg.inner"}))
    assert "pkg.inner" in without.missing
    assert "pkg.inner" not in without.modules
    both = without | stdlib.close(["pkg.inner"], find)
    assert "pkg.inner" in both.modules
    assert "pkg.inner" not in both.missing


def test_what_only_shows_by_running_is_added_with_its_own_imports() -> None:
    """What is seen to come along is followed; not what was left out on purpose, nor what has no file."""
    asked: list[list[str]] = []

    def observe(names: list[str], hidden: frozenset[str]) -> set[str]:
        asked.append(names)
        assert hidden == {"pkg.inner"}
        return {*names, "os.path", "sys"} | ({"pkg.sibling", "pkg.inner"} if "lazy" in names else set())

    closure = stdlib.close(["lazy"], find) | stdlib.Closure({}, {"pkg.inner": "somebody"})
    done = stdlib.complete(closure, find, observe)
    assert set(done.modules) == {"lazy", "pkg", "pkg.sibling"}
    assert asked == [["lazy"], ["pkg", "pkg.sibling"]]


def test_what_nobody_has_is_named_with_who_wants_it() -> None:
    """Missing modules are told apart by their importer; what was asked for itself has none."""
    assert stdlib.close(["pkg", "gone"], find).missing == {
        "nowhere": "pkg.inner",
        "pkg.absent": "pkg.inner",
        "gone": "",
    }


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import a.b, c", "", [Import("a.b"), Import("c")]),
        ("from a import b as c, d", "", [Import("a", "b"), Import("a", "d")]),
        ("from . import x", "p.q", [Import("p.q", "x")]),
        ("from ..m import x", "p.q", [Import("p.m", "x")]),
        ("class C:\n    import a", "", [Import("a")]),
        ("lambda: __import__('a')", "", []),
    ],
    ids=["plain", "from", "relative", "above", "class", "dynamic"],
)
def test_imports(source: str, package: str, expected: list[Import]) -> None:
    """Each form of import statement is understood; calls of __import__ are not."""
    assert imports(source.encode(), package, inside_functions=False) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["json", "subprocess", "asyncio", "http.client"])
def test_closure_covers_what_python_really_imports(name: str) -> None:
    """Every pure module that `import NAME` puts into sys.modules is in the closure over this Python."""
    library = Path(ast.__file__).parent

    def find_here(module: str) -> Found | None:
        relative = module.replace(".", "/")
        for path in (library / relative / "__init__.py", library / f"{relative}.py"):
            if path.is_file():
                return Found(Origin.SOURCE, path, path.read_bytes())
        return None

    script = f"import {name}, sys; print(*[n for n, m in sys.modules.items() if getattr(m, '__file__', '')])"
    printed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, check=True, timeout=20, text=True
    ).stdout.split()
    loaded = {module for module in printed if find_here(module)} - {"zipimport"}  # the importer itself
    assert len(loaded) > 5
    assert loaded <= set(
        stdlib.close([*start_up("{}.{}".format(*sys.version_info)), name], find_here).modules
    )


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    return cpython.require_interpreter()


@pytest.mark.net
def test_compiled_modules_have_no_times_and_no_docstrings(interpreter: Interpreter) -> None:
    """A .pyc is by unchecked hash (PEP 552), names its file for tracebacks, and has no docstring."""
    [pyc] = interpreter.compile([(b'"""Doc."""\nX = {"a", "b", "c"}\n', "/usr/lib/x.py")])
    assert pyc[4:16] == b"\1\0\0\0" + bytes(8)
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == interpreter.version:
        code = marshal.loads(pyc[16:])
        assert code.co_filename == "/usr/lib/x.py"
        assert "Doc." not in code.co_consts


# Modules in C that import others, which no source shows: what was seen of CPython 3.11.
IMPORTED_BY_C = {
    "array": {"collections.abc"},
    "decimal": {"collections.abc"},
    "xml.etree.ElementTree": {"copy"},
    "zoneinfo": {"_sysconfigdata__x86_64-linux-gnu"},
}


@pytest.mark.net
@pytest.mark.parametrize("name", IMPORTED_BY_C)
def test_what_modules_in_c_import_is_seen_by_running(interpreter: Interpreter, name: str) -> None:
    """The closure by the sources lacks it, the completed one has it."""
    if interpreter.version not in {"3.11", "3.12"}:
        pytest.skip(f"the C modules of Python {interpreter.version} import other things")
    closure = cpython.library_for(interpreter, [name])
    assert not IMPORTED_BY_C[name] & closure.modules.keys()
    assert IMPORTED_BY_C[name] <= cpython.complete_library(interpreter, closure).modules.keys()


@pytest.mark.net
def test_what_an_image_does_without_is_not_brought_by_running(interpreter: Interpreter) -> None:
    """A module that is left out is hidden from those that would import it."""
    assert "_hashlib" in interpreter.observe(["hashlib"], [])
    assert "_hashlib" not in interpreter.observe(["hashlib"], ["_hashlib"])
    closure = stdlib.close(
        [*start_up(interpreter.version), "hashlib"], interpreter.find, frozenset({"_hashlib"})
    )
    assert "_hashlib" not in cpython.complete_library(interpreter, closure).modules


@dataclass(frozen=True, slots=True)
class Small:
    """An image's Python files below `root`, and what they are for."""

    root: Path
    interpreter: Interpreter
    modules: tuple[str, ...]
    daemon: tuple[str, ...]

    def run(self, code: str) -> str:
        """What the code prints in the image's interpreter, which sees the image's files only."""
        library = [str(self.root / daemon.LIBRARY)]
        done = subprocess.run(
            [*self.interpreter.command, "-S", "-c", f"import sys; sys.path[:0] = {library}\n{code}"],
            env={"PYTHONHOME": str(self.root / "usr")},
            capture_output=True,
            check=False,
            timeout=60,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture(scope="module", params=["", "trixie", "sid"], ids=["this machine's", "trixie", "sid"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The library of a default image, and the daemon; with this machine's release's interpreter, and newer ones."""
    try:
        interpreter = cpython.require_interpreter(Spec("python3", release=request.param))
    except WorldError as e:
        pytest.skip(f"the release is out of reach: {e}")
    tree = FileTree()
    tree.symlink("lib64", "usr/lib64", group="g", origin="test")
    sources = daemon.require_sources()
    wanted = ["json", "mmap", *daemon.imports(sources, interpreter)]
    closure = cpython.complete_library(interpreter, cpython.library_for(interpreter, wanted))
    assert {"json", "mmap", "_json"} <= closure.modules.keys()
    cpython.put_interpreter(tree, interpreter, closure)
    daemon.put_daemon(tree, sources, interpreter)
    root = tmp_path_factory.mktemp("small")
    write_libraries(tree, root)
    return Small(root, interpreter, tuple(closure.modules), tuple(source.name for source in sources))


@pytest.mark.net
def test_a_source_is_read_by_the_interpreter_that_knows_its_syntax(
    interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this Python does not know a syntax, that of the image is asked; what neither knows is no Python."""
    source = b"from . import x\ndef f():\n    import y\nif TYPE_CHECKING:\n    import z\n"
    here = interpreter.imported(source, "p.q", True)

    def refuse(*_what: object) -> None:
        raise SyntaxError

    monkeypatch.setattr("hostbuild.image.sources.imports.imported", refuse)
    assert interpreter.imported(source, "p.q", True) == here == [("p.q", "x"), ("y", "")]
    assert interpreter.imported(source, "p.q", False) == [("p.q", "x")]
    with pytest.raises(SyntaxError):
        interpreter.imported(b"print 1\n", "", False)


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("deb:python3", Spec("python3")),
        ("deb:python3-minimal/trixie", Spec("python3", release="trixie")),
        ("deb:python3.13-minimal=3.13.5-2/trixie", Spec("python3.13", "3.13.5-2", "trixie")),
    ],
)
def test_the_interpreters_package(word: str, spec: Spec) -> None:
    """The default of a release, or a version of its own, by either package's name."""
    assert cpython.parse_package(word) == spec


@pytest.mark.parametrize(
    "word", ["deb:busybox", "deb:python2.7", "deb:python3-click/sid", "deb:python3.13/SID"]
)
def test_what_is_no_interpreters_package(word: str) -> None:
    """It is refused with an example."""
    with pytest.raises(InputError, match="not a"):
        cpython.parse_package(word)


@pytest.mark.net
def test_the_small_library_starts_and_imports(small: Small) -> None:
    """With the image's files alone the interpreter starts without a complaint and imports what it shall."""
    printed = small.run("import json, mmap, os; print(json.dumps([os.__file__, mmap.PAGESIZE]))")
    assert printed == f'["{small.root}/usr/lib/python{small.interpreter.version}/os.py", 4096]\n'


@pytest.mark.net
@pytest.mark.slow
def test_every_module_of_an_image_can_be_imported_in_it(small: Small) -> None:
    """Each by itself, in a process where only os has been imported: of the library and of the daemon."""
    code = f"""
import os, posix
for name in {[*small.modules, *small.daemon]!r}:
    if not (child := posix.fork()):
        try:
            __import__(name)
        except ImportError as e:
            print(name, "->", e, flush=True)
        posix._exit(0)
    posix.waitpid(child, 0)
"""
    assert small.run(code) == ""


@pytest.mark.net
def test_an_index_is_built_with_the_images_files_alone(small: Small, tmp_path: Path) -> None:
    """What a stale index brings about, array and its imports, is there."""
    (tmp_path / "modules.alias").write_text("alias pci:v00001AF4d00001001sv*sd*bc*sc*i* virtio_pci\n")
    arguments = [
        "match",
        "--no-config",
        "--modules-dir",
        str(tmp_path),
        "pci:v00001AF4d00001001sv1sd1bc1sc1i1",
    ]
    assert small.run(f"from modaliasd.cli import main; main({arguments})").endswith("\tvirtio_pci\n")


@pytest.mark.net
def test_the_boot_path_in_one_file_makes_the_same_modules(small: Small) -> None:
    """Importing it leaves what importing the boot path's roots leaves, each module where a lazy import finds it."""
    tell = "print(*sorted(name for name in sys.modules if name.startswith('modaliasd')))"
    one_by_one = small.run(f"import sys, {', '.join(daemon.BOOT_PATH)}; {tell}").split()
    joined = small.run(f"import sys, {daemon.JOINED}; {tell}").split()
    assert joined == sorted([*one_by_one, daemon.JOINED])
    missing = small.run(
        f"""
import {daemon.JOINED}, sys
for name, module in list(sys.modules.items()):
    parent, _, child = name.rpartition(".")
    if name.startswith("modaliasd.") and getattr(sys.modules[parent], child) is not module:
        print(name)
from modaliasd.core.ledger import history
print(history.__name__, history.__package__)
"""
    )
    assert missing == "modaliasd.core.ledger.history modaliasd.core.ledger\n"


@pytest.mark.net
@pytest.mark.parametrize(
    ("name", "there"), [("os.path", True), ("collections.abc", True), ("os.nothing", False), ("numpy", False)]
)
def test_a_module_that_its_parent_makes(interpreter: Interpreter, name: str, there: bool) -> None:
    """It needs no file of its own, and can be imported: os.path ever, collections.abc since Python 3.13."""
    assert (interpreter.find(name) is not None or interpreter.can_import(name)) is there
