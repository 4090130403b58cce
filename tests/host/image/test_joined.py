"""The boot path in one file: what is left out of its modules or put off, and that what is left does the same."""

import ast
import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path

from hostbuild.image.sources.bootpath import joined, trimmed
from hostbuild.image.sources.bootpath.called import CALLED as CALLED_AT_BOOT

DAEMON = Path(__file__).resolve().parents[3] / "daemon"
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
    roots: list[str],
    sources: joined.Sources,
    place: str = "one.pyc",
    after: tuple[str, ...] = (),
    *,
    called: dict[str, str] | None = None,
) -> tuple[bytes, bytes]:
    """What join() gives in a process of its own: it imports the modules."""
    make = (
        "import marshal, sys; from hostbuild.image.sources.bootpath.joined import join; "
        "q = marshal.load(sys.stdin.buffer); sys.stdout.buffer.write(marshal.dumps(join(*q)))"
    )
    question = marshal.dumps([roots, sources, place, list(after), called])
    answered = subprocess.run([sys.executable, "-c", make], input=question, capture_output=True, check=True)
    contents: tuple[bytes, bytes] = marshal.loads(answered.stdout)
    return contents


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
    (tmp_path / "one.pyc").write_bytes(made(["box.top"], SOURCES)[0])
    expected = "True True 3 / ['left', 'right'] 1\n11 {} 3 box False\n"
    assert answer(ASK, tmp_path) == expected
    (tmp_path / "one.pyc").write_bytes(made(["box.low"], SOURCES)[0])
    (tmp_path / "box/top.pyc").write_bytes(made(["box.top"], SOURCES, "box/top.pyc", ("box.low",))[0])
    assert answer(ASK, tmp_path) == expected
    for name in ("__init__", "low"):
        (tmp_path / f"box/{name}.py").write_bytes(SOURCES["box" if name == "__init__" else "box.low"][0])
    alone = ASK.replace("import one\n", "")
    assert answer(alone, tmp_path).startswith("True True 3 / ['left', 'right'] 1\n11 {'a': ")


def test_the_daemons_modules_are_left_without_imports_and_annotations() -> None:
    """Of the daemon's own imports at a module's top all are taken, but for those that rename what they import."""
    names = {
        path: str(path.relative_to(DAEMON))
        for path in DAEMON.glob("modaliasd/**/*.py")
        if "/ports/" not in f"{path}"
    }
    there = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names.values()
    } | set(sys.builtin_module_names)
    kept: list[ast.alias] = []
    for path in names:
        tree = trimmed.trim(ast.parse(path.read_bytes()))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation]
        trimmed.take_imports(tree, there)
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
    content, _ = made(["alone"], sources)
    assert content[:4] == importlib.util.MAGIC_NUMBER
    (tmp_path / "one.pyc").write_bytes(content)
    failing = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import one; from alone import fail; fail()"
    said = subprocess.run([sys.executable, "-S", "-c", failing], capture_output=True, text=True, check=False)
    assert '"/x/alone.py", line 4, in fail' in said.stderr


WAITING = {
    "way": (
        f"{HEAD}from errno import EPERM\nfrom stat import S_IFMT\nLIMIT = 3\nROOM = (LIMIT, 4)\n"
        "class Kept:\n"
        "    def __init__(self, a, *, b=LIMIT):\n        self.a, self.b = a, b\n"
        "    def early(self):\n        return self.a\n"
        "    def late(self, *more, c=LIMIT):\n        return self.b, more, c\n"
        "    @property\n    def place(self):\n        return Waiting(ROOM).a\n"
        "    @staticmethod\n    def still(a):\n        return S_IFMT(a)\n"
        "    @classmethod\n    def made(cls, a):\n        return cls(a).early()\n"
        "    def __len__(self):\n        yielded = list(self.each())\n        return len(yielded)\n"
        "    def each(self):\n        yield from ROOM\n"
        "    def __repr__(self):\n        return super().__repr__()[:1] + str(EPERM)\n"
        "class Waiting(Kept):\n"
        "    def fail(self):\n        return 1 / 0\n"
        "def early():\n    return Kept(1).early()\n"
        "def late(a, b=LIMIT):\n    def inner():\n        return a, b\n    return inner()\n".encode(),
        "/x/way.py",
        False,
    ),
    "end": (
        f"{HEAD}from way import Waiting, early, late\n"
        "def run():\n    return early()\n"
        "def rare():\n    return Waiting(2).b, late(7)\n".encode(),
        "/x/end.py",
        False,
    ),
}
CALLED = {"end": "run", "way": "early Kept.__init__ Kept.early"}
# each question is the first one in an interpreter; what it says, and whether that has brought what was put off
QUESTIONS = {
    "end.run()": ("1", False),
    "__import__('third') and end.rare()": ("(3, (7, 3))", True),
    "way.Kept(1).late(2, 3, c=4)": ("(3, (2, 3), 4)", True),
    "way.Kept(1).place": ("(3, 4)", True),
    "way.Kept.still(0o100644)": ("32768", True),
    "way.Kept.made(5)": ("5", True),
    "len(way.Kept(1))": ("2", True),
    "list(way.Kept(1).each())": ("[3, 4]", True),
    "repr(way.Kept(1))": ("<1", False),
    "__import__('third').Waiting.__mro__[1] is way.Kept": ("True", True),
    "__import__('third') and end.Waiting is way.Waiting, way.ROOM, one in sys.meta_path": (
        "True (3, 4) False",
        True,
    ),
    "__import__('third') and way.late is end.late, way.late.__defaults__, way.late.__qualname__": (
        "True (3,) late",
        True,
    ),
}


def test_what_is_put_off_is_there_for_whoever_asks(tmp_path: Path) -> None:
    """Functions of every kind, classes, constants and imports that are put off answer as if they had been there.

    A call brings them, and the import of any other module.
    """
    boot, rest = made(["end"], WAITING, called=CALLED)
    (tmp_path / "one.pyc").write_bytes(boot)
    (tmp_path / "one_later.pyc").write_bytes(rest)
    (tmp_path / "third.py").write_text("from way import Waiting\n")
    ask = "import sys; sys.path.insert(0, sys.argv[1]); import one, way, end; filled = one.filled\n"
    for question, (answered, brings) in QUESTIONS.items():
        said = answer(f"{ask}print({question}, '|', filled, one.filled)", tmp_path)
        assert said.strip() == f"{answered} | False {brings}", question


def test_what_was_put_off_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Afterwards code, defaults and namespaces are those of the modules joined whole; a traceback has its line."""
    for name, called in (("part", CALLED), ("whole", None)):
        (tmp_path / name).mkdir()
        boot, rest = made(["end"], WAITING, called=called)
        (tmp_path / name / "one.pyc").write_bytes(boot)
        (tmp_path / name / "one_later.pyc").write_bytes(rest)
    tell = (
        "import sys; sys.path.insert(0, sys.argv[1]); import one, way, end\n"
        "if hasattr(one, 'fill'): one.fill()\n"
        "seen = lambda one: one.fget if isinstance(one, property) else getattr(one, '__func__', one)\n"
        "for space in (way.__dict__, end.__dict__, way.Kept.__dict__, way.Waiting.__dict__):\n"
        "    print(sorted(name for name in space if name != '__builtins__'))\n"
        "    for name in sorted(space):\n"
        "        code = getattr(seen(space[name]), '__code__', None)\n"
        "        if code: print(name, seen(space[name]).__defaults__, code.co_code.hex(), code.co_names)\n"
    )
    assert answer(tell, tmp_path / "part") == answer(tell, tmp_path / "whole")
    failing = f"import sys; sys.path.insert(0, {str(tmp_path / 'part')!r}); import one, way; one.fill()"
    failing += "; way.Waiting(1).fail()"
    said = subprocess.run([sys.executable, "-S", "-c", failing], capture_output=True, text=True, check=False)
    line = WAITING["way"][0].decode().splitlines().index("        return 1 / 0") + 1
    assert f'"/x/way.py", line {line}, in fail' in said.stderr


def test_a_second_file_finds_what_the_first_one_has_put_off(tmp_path: Path) -> None:
    """What is joined to come later takes names that wait, from modules that a first file made."""
    boot, rest = made(["way"], WAITING, called=CALLED)
    (tmp_path / "one.pyc").write_bytes(boot)
    (tmp_path / "one_later.pyc").write_bytes(rest)
    (tmp_path / "end.pyc").write_bytes(made(["end"], WAITING, "end.pyc", ("way",))[0])
    ask = "import sys; sys.path.insert(0, sys.argv[1]); import one; before = one.filled; import end, way\n"
    assert (
        answer(f"{ask}print(before, one.filled, end.Waiting is way.Waiting, end.run())", tmp_path)
        == "False True True 1\n"
    )


def test_what_is_called_is_there() -> None:
    """Each function of the measured list stands in its module; `make boot-calls` measures anew."""
    gone: list[str] = []
    for module, functions in CALLED_AT_BOOT.items():
        tree = ast.parse((DAEMON / f"{module.replace('.', '/')}.py").read_bytes())
        there = {f"{record.name}.__new__" for record in tree.body if isinstance(record, ast.ClassDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                there |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
            elif isinstance(node, ast.FunctionDef):
                there.add(node.name)
        gone += [f"{module}: {name}" for name in functions.split() if name not in there]
    assert gone == []
    assert len(CALLED_AT_BOOT) > 40


def test_a_record_is_written_as_it_would_be_made(tmp_path: Path) -> None:
    """Fields, defaults, methods, errors and what a record can do are those of core/fasttypes.py."""
    types = DAEMON / "modaliasd/core/fasttypes.py"
    text = (
        f"{HEAD}from modaliasd.core.fasttypes import NamedTuple\nLIMIT = 3\n"
        "class Empty(NamedTuple):\n    pass\n"
        "class Row(NamedTuple):\n    left: int\n    right: str = 'a'\n    more: tuple[int, ...] = (LIMIT, 4)\n\n"
        "    def both(self) -> str:\n        return f'{self.left}{self.right}'\n"
    )
    sources = {
        "modaliasd": (b"", "/x/modaliasd/__init__.py", True),
        "modaliasd.core": (b"", "/x/modaliasd/core/__init__.py", True),
        "modaliasd.core.fasttypes": (types.read_bytes(), "/x/fasttypes.py", False),
        "rows": (text.encode(), "/x/rows.py", False),
    }
    (tmp_path / "whole").mkdir()
    (tmp_path / "plain").mkdir()
    (tmp_path / "whole/one.pyc").write_bytes(made(["rows"], sources)[0])
    (tmp_path / "plain/rows.py").write_text(text)
    (tmp_path / "plain/one.py").write_text(f"import sys; sys.path.append({str(types.parents[2])!r})\n")
    tell = """
import sys
sys.path.insert(0, sys.argv[1])
import one, rows
row = rows.Row(1, more=())
print(row, rows.Row(2), rows.Empty(), row.both(), row._replace(right="b"), row._asdict(), rows.Row._fields)
make = rows.Row.__new__
print(row.left, row == (1, "a", ()), make.__defaults__, make.__name__, make.__qualname__, make.__code__.co_varnames)
for arguments in ((), (1, 2, 3, 4)):
    try:
        rows.Row(*arguments)
    except TypeError as e:
        print(e)
"""
    said = answer(tell, tmp_path / "whole")
    assert "Row(left=2, right='a', more=(3, 4))" in said
    assert said == answer(tell, tmp_path / "plain")
