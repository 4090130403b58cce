"""Makes one file of the modules of the boot path: importing it leaves what importing them one by one would leave.

Of each module that file has what runs at every start, and no more. Left out is what only a type checker reads: the
annotations (the fields of records keep theirs, without their text), `if TYPE_CHECKING:`, `from __future__`. So are the
imports at a module's top: what they bind is copied from one namespace into the other before the module runs. As a
statement each asks a module that is there for `__spec__` and `__path__`, some 10,000 instructions in CPython 3.11, and
there are 300 of them.

The image's interpreter gets this file as text and runs it (inside.py), so it imports nothing of ours.
"""

import __future__

import ast
import marshal
import sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER, spec_from_loader
from types import CodeType, ModuleType

Sources = dict[str, tuple[bytes, str, bool]]  # name -> source, file name for tracebacks, is it a package
Taken = tuple[tuple[str, tuple[str, ...]], ...]  # module -> its names that come along
# name; the package's directory or ""; modules that are bound by their names; what is taken of others; its code
Joined = tuple[str, str, tuple[str, ...], Taken, CodeType]

_CHECKING = "TYPE_CHECKING"
# Makes the modules, each before those that take something from it.
_LOADER = """
import sys
modules = sys.modules
make = type(sys)
here = __file__.removesuffix("PLACE")
for name in "OTHERS":
    __import__(name)
for name, directory, whole, taken, code in "JOINED":
    if name in modules and name != __name__:
        continue  # somebody has imported it already
    module = modules[name] = make(name)
    space = module.__dict__
    parent, _, child = name.rpartition(".")
    space["__package__"] = name if directory else parent
    if directory:
        space["__path__"] = [here + directory]
    if parent:
        modules[parent].__dict__[child] = module
    for other in whole:
        space[other] = modules[other]
    for other, names in taken:
        there = modules[other].__dict__
        for one in names:
            space[one] = there[one]
    exec(code, space)
"""


def join(roots: list[str], sources: Sources, place: str, after: list[str]) -> bytes:
    """Import the modules `roots` from their sources; the content of the .pyc file that makes all that they import.

    place: that file's path below the directory of the sources' packages. after: modules that are imported before it,
    with all that they import: by others, or by the file.
    """
    finder = _Given(sources)
    sys.meta_path.insert(0, finder)
    for name in after:
        __import__(name)
    before = len(finder.done)
    for name in roots:
        __import__(name)
    constants: dict[str, object] = {
        "OTHERS": (*after, *finder.foreign),
        "JOINED": tuple(finder.done[before:]),
        "PLACE": place,
    }
    code = compile(_LOADER, "joined", "exec", dont_inherit=True, optimize=2)
    code = code.replace(co_consts=tuple(_constant(one, constants) for one in code.co_consts))
    # dumped twice, so that it does not matter which strings this process happens to share
    text = marshal.dumps(marshal.loads(marshal.dumps(code)))  # noqa: S302 - our own
    # the flags say: by hash, not to be checked; nobody reads the hash then
    return MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + text


def _constant(one: object, constants: dict[str, object]) -> object:
    return constants.get(one, one) if isinstance(one, str) else one


class _Given:
    """Finds modules in sources that were handed in, and trims each once it has run: what it imports has by then."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.done: list[Joined] = []
        self.foreign: dict[str, None] = {}  # modules of others that names are taken from

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name not in self._sources:
            return None
        return spec_from_loader(name, self, is_package=self._sources[name][2])  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        text, file, is_package = self._sources[name]
        exec(compile(text, file, "exec", dont_inherit=True, optimize=2), module.__dict__)  # noqa: S102 - ours
        tree = trim(ast.parse(text))
        whole, taken = take_imports(tree, {one[0] for one in self.done} | self._foreign_ones())
        for other in (*whole, *(other for other, _ in taken)):
            if other not in self._sources:
                self.foreign[other] = None
        flags = __future__.annotations.compiler_flag
        code = compile(tree, file, "exec", flags, dont_inherit=True, optimize=2)
        self.done.append((name, name.replace(".", "/") if is_package else "", whole, taken, code))

    def _foreign_ones(self) -> set[str]:
        """Modules of the library that can be imported by their names alone, before any of ours."""
        return {name for name in sys.modules if "." not in name and name not in self._sources}


def trim(tree: ast.Module) -> ast.Module:
    """Leave out of a module what only a type checker reads."""
    body: list[ast.stmt] = []
    for statement in tree.body:
        if isinstance(statement, ast.If) and _is_name(statement.test, _CHECKING):
            body += statement.orelse
        elif isinstance(statement, ast.AnnAssign):
            if statement.value is not None:
                plain = ast.Assign([statement.target], statement.value)
                body.append(ast.copy_location(plain, statement))
        elif not _is_for_checkers(statement):
            body.append(statement)
    tree.body = body
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.copy_location(ast.Constant(0), node.annotation)
    return tree


def _is_for_checkers(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return isinstance(statement, ast.Assign) and any(_is_name(one, _CHECKING) for one in statement.targets)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def take_imports(tree: ast.Module, there: set[str]) -> tuple[tuple[str, ...], Taken]:
    """Take out of a module the imports at its top that need no more than copying, from modules that are `there`.

    Gives the modules that they bind, and the names of others that they bind.
    """
    whole: list[str] = []
    taken: list[tuple[str, tuple[str, ...]]] = []
    body: list[ast.stmt] = []
    for statement in tree.body:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)) or any(
            alias.asname is not None or alias.name == "*" for alias in statement.names
        ):
            body.append(statement)
            continue
        names = tuple(alias.name for alias in statement.names)
        if isinstance(statement, ast.Import):
            if all("." not in name and name in there for name in names):
                whole += names
                continue
        elif statement.level == 0 and statement.module in there:
            taken.append((statement.module, names))
            continue
        body.append(statement)
    tree.body = body
    return tuple(whole), tuple(taken)
