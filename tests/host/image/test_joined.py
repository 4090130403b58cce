"""The boot path in one file: what is left out of its modules, and that what is left does the same."""

import ast
import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path

from hostbuild.image.sources import joined

HEAD = "from __future__ import annotations\nTYPE_CHECKING = False\n"
SOURCES = {
    "box": (b"", "/x/box/__init__.py", True),
    "box.low": (
        f"{HEAD}import sys\nfrom posix import getpid\nif TYPE_CHECKING:\n    import nowhere\n"
        "else:\n    LIMIT: int = 3\nclass Row:\n    left: nowhere.Thing = 1\n    right: int\n"
        "def own(a: nowhere.Thing = LIMIT, *rest: int, b: int = 2) -> nowhere.Thing:\n"
        "    c: nowhere.Thing = a + b + len(rest)\n    return c, getpid(), sys.platform\n".encode(),
        "/x/box/low.py",
        False,
    ),
    "box.top": (
        f"{HEAD}from box import low\nfrom box.low import LIMIT, Row, own\nfrom os import path as where\n"
        "def late():\n    from box import later\n    return later.LIMIT\n".encode(),
        "/x/box/top.py",
        False,
    ),
}
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
import one
from box import low, top
print(top.low is low, top.own is low.own, top.LIMIT, top.where.sep, list(low.Row.__annotations__), low.Row.left)
print(low.own(4, 5, b=6)[0], low.own.__annotations__, top.late(), low.__package__, hasattr(low, "annotations"))
"""


def made(
    roots: list[str], sources: joined.Sources, place: str = "one.pyc", after: tuple[str, ...] = ()
) -> bytes:
    """What join() gives in a process of its own: it imports the modules."""
    make = "import marshal, sys; from hostbuild.image.sources.joined import join; q = marshal.load(sys.stdin.buffer)"
    command = [sys.executable, "-c", f"{make}; sys.stdout.buffer.write(join(*q))"]
    question = marshal.dumps([roots, sources, place, list(after)])
    return subprocess.run(command, input=question, capture_output=True, check=True).stdout


def answer(code: str, directory: Path) -> str:
    """What a bare interpreter says that finds modules in this directory only."""
    command = [sys.executable, "-S", "-c", code, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_is_joined_does_the_same(tmp_path: Path) -> None:
    """Names, defaults, a record's fields, an import with `as` and one inside a function: all as when imported.

    So they are when a part of it lies in a second file, which takes the place of one of its modules; and when that is
    imported before the first one, from whose modules it takes something.
    """
    (tmp_path / "box").mkdir()
    (tmp_path / "box/later.py").write_text("from box.low import LIMIT\n")
    (tmp_path / "one.pyc").write_bytes(made(["box.top"], SOURCES))
    expected = "True True 3 / ['left', 'right'] 1\n11 {} 3 box False\n"
    assert answer(ASK, tmp_path) == expected
    (tmp_path / "one.pyc").write_bytes(made(["box.low"], SOURCES))
    (tmp_path / "box/top.pyc").write_bytes(made(["box.top"], SOURCES, "box/top.pyc", ("box.low",)))
    assert answer(ASK, tmp_path) == expected
    for name in ("__init__", "low"):
        (tmp_path / f"box/{name}.py").write_bytes(SOURCES["box" if name == "__init__" else "box.low"][0])
    alone = ASK.replace("import one\n", "")
    assert answer(alone, tmp_path).startswith("True True 3 / ['left', 'right'] 1\n11 {'a': ")


def test_the_daemons_modules_are_left_without_imports_and_annotations() -> None:
    """Of the daemon's own imports at a module's top all are taken, but for those that rename what they import."""
    daemon = Path(__file__).resolve().parents[3] / "daemon"
    names = {
        path: str(path.relative_to(daemon))
        for path in daemon.glob("modaliasd/**/*.py")
        if "/ports/" not in f"{path}"
    }
    there = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names.values()
    } | set(sys.builtin_module_names)
    kept: list[ast.alias] = []
    for path in names:
        tree = joined.trim(ast.parse(path.read_bytes()))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation]
        joined.take_imports(tree, there)
        left = [one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module in there]
        kept += [alias for one in left for alias in one.names]
        assert "TYPE_CHECKING" not in ast.unparse(tree)
        compile(tree, str(path), "exec")
    assert len(kept) < 30
    # a statement is kept whole if one of its names is renamed
    assert [alias for alias in kept if alias.asname is not None]


def test_a_traceback_has_its_lines(tmp_path: Path) -> None:
    """What goes wrong in a joined module is told with the line of its source."""
    sources = {
        "alone": (b"from posix import getpid\n\ndef fail():\n    return 1 / 0\n", "/x/alone.py", False)
    }
    content = made(["alone"], sources)
    assert content[:4] == importlib.util.MAGIC_NUMBER
    (tmp_path / "one.pyc").write_bytes(content)
    failing = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import one; from alone import fail; fail()"
    said = subprocess.run([sys.executable, "-S", "-c", failing], capture_output=True, text=True, check=False)
    assert '"/x/alone.py", line 4, in fail' in said.stderr
