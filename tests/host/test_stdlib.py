"""The closure of imports, on small made-up libraries and on the real interpreter."""

import ast
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.image import cpython, guest, stdlib
from hostbuild.image.cpython import Interpreter
from hostbuild.image.stdlib import Found, Import, Origin, imports, start_up
from hostbuild.image.tree import FileTree
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


@pytest.mark.net
def test_the_small_library_starts_and_imports(interpreter: Interpreter, tmp_path: Path) -> None:
    """With the image's files alone the interpreter starts without a complaint and imports what it shall."""
    tree = FileTree()
    tree.symlink("lib64", "usr/lib64", group="g", origin="test")
    sources = guest.require_sources()
    wanted = ["json", "mmap", *guest.imports(sources, interpreter)]
    closure = cpython.library_for(interpreter, wanted)
    cpython.put_interpreter(tree, interpreter, closure)
    write_libraries(tree, tmp_path)
    assert {"json", "mmap", "_json"} <= closure.modules.keys()
    done = subprocess.run(
        [
            *interpreter.command,
            "-S",
            "-c",
            "import json, mmap, os; print(json.dumps([os.__file__, mmap.PAGESIZE]))",
        ],
        env={"PYTHONHOME": str(tmp_path / "usr")},
        capture_output=True,
        check=True,
        timeout=20,
        text=True,
    )
    assert done.stdout == f'["{tmp_path}/usr/lib/python{interpreter.version}/os.py", 4096]\n'
    assert done.stderr == ""
