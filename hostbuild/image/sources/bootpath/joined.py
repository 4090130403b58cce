"""Makes one file of the modules of the boot path: importing it leaves what importing them one by one would leave.

Of each module that file has what runs at every start, and no more: without what only a type checker reads, and without
the imports at its top (trimmed.py). As a statement each of these asks a module that is there for `__spec__` and
`__path__`, some 10,000 instructions in CPython 3.11, and there are 300 of them.

The image's interpreter gets this file as text and runs it (inside.py), with those of its neighbours that it imports.
"""

import __future__

import ast
import marshal
import sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER, spec_from_loader
from types import CodeType, FrameType, ModuleType

from hostbuild.image.sources.bootpath.putoff import (
    Swap,
    hollow,
    put_off,
    stubs_of,
    used_by,
)
from hostbuild.image.sources.bootpath.records import write_records
from hostbuild.image.sources.bootpath.trimmed import Taken, take_imports, trim

Sources = dict[str, tuple[bytes, str, bool]]  # name -> source, file name for tracebacks, is it a package
# name; the package's directory or ""; modules that are bound by their names; what is taken of others; its code
Joined = tuple[str, str, tuple[str, ...], Taken, CodeType]
# name; modules that are bound by their names; what is taken of others; functions whose code is put off; what is put off
# of its statements, None for nothing
Later = tuple[str, tuple[str, ...], Taken, tuple[Swap, ...], CodeType | None]

LATER = "_later"  # ends the name of the file with what is put off
# Makes the modules, each before those that take something from it.
_LOADER = """
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
    made.append(name)
    exec(code, space)
"""
# What is put off comes by fill(), once: first the functions' code, then the statements, in the order of the modules.
_FILL = """
import sys
modules = sys.modules
make = type(sys)
here = __file__.removesuffix("PLACE")
made = []
filled = False
for name in "OTHERS":
    __import__(name)

def fill():
    global filled
    if filled:
        return
    filled = True
    sys.meta_path.remove(modules[__name__])
    from FILE_LATER import parts
    del modules["FILE_LATER"]
    for name, _, _, swaps, _ in parts:
        if name in made:
            space = modules[name].__dict__
            for owner, attribute, code in swaps:
                find(space, owner, attribute).__code__ = code
    for name, whole, taken, _, code in parts:
        if name in made:
            space = modules[name].__dict__
            for other in whole:
                space[other] = __import__(other)
            for other, names in taken:
                there = (modules.get(other) or __import__(other)).__dict__
                for one in names:
                    space[one] = there[one]
            if code:
                exec(code, space)

def find(space, owner, attribute):
    found = (space[owner].__dict__ if owner else space)[attribute]
    if type(found) is function:
        return found
    return found.fget if type(found) is property else found.__func__

def wake():
    stub = sys._getframe(1)
    fill()
    owner, _, attribute = stub.f_code.co_qualname.rpartition(".")
    return find(stub.f_globals, owner, attribute)

# Asked first for whatever module is imported now.
def find_spec(name, path=None, target=None):
    fill()

function = type(fill)
sys.meta_path.insert(0, modules[__name__])
"""
# Of a file that puts nothing off.
_PLAIN = """
import sys
modules = sys.modules
make = type(sys)
made = []
here = __file__.removesuffix("PLACE")
for name in "OTHERS":
    __import__(name)
"""
# Of the file with what is put off.
_LATER = 'parts = "PARTS"\n'


def join(
    roots: list[str],
    sources: Sources,
    place: str,
    after: list[str],
    called: dict[str, str] | None = None,
) -> tuple[bytes, bytes]:
    """Import the modules `roots` from their sources; the content of the .pyc file that makes all that they import.

    With it comes the content of a second one, with what is put off; it has the first one's name and `_later`.

    place: that file's path below the directory of the sources' packages. after: modules that are imported before it,
    with all that they import: by others, or by the file. called: the functions by module, their qualified names with
    spaces between them, that are called before fill() is; what else there is, is put off; None: put off nothing.
    """
    finder = _Given(sources)
    sys.meta_path.insert(0, finder)
    for name in after:
        __import__(name)
    before = len(finder.done)
    finder.watch(roots)
    given = finder.done[before:]
    file = place.removesuffix(".pyc").replace("/", ".")
    late: list[Later] = []
    if called is None:
        done = [one.joined(None) for one in given]
    else:
        pairs = {(name, function) for name, functions in called.items() for function in functions.split()}
        done, late = _divided(given, pairs | finder.called, file)
    needed = {other for row in done for other in (*row[2], *(each[0] for each in row[3]))}
    constants: dict[str, object] = {
        "OTHERS": (*after, *(other for other in finder.foreign if other in needed)),
        "JOINED": tuple(done),
        "PLACE": place,
        "PARTS": tuple(late),
    }
    head = _PLAIN if called is None else _FILL.replace("FILE", file).replace("_LATER", LATER)
    return _compiled(head + _LOADER, constants), _compiled(_LATER, constants)


def _compiled(text: str, constants: dict[str, object]) -> bytes:
    """Compile a loader to the content of a .pyc file; constants: what stands in the place of its strings."""
    code = compile(text, "joined", "exec", dont_inherit=True, optimize=2)
    code = code.replace(co_consts=tuple(_constant(one, constants) for one in code.co_consts))
    # dumped twice, so that it does not matter which strings this process happens to share
    dumped = marshal.dumps(marshal.loads(marshal.dumps(code)))  # noqa: S302 - our own
    # the flags say: by hash, not to be checked; nobody reads the hash then
    return MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + dumped


def _constant(one: object, constants: dict[str, object]) -> object:
    return constants.get(one, one) if isinstance(one, str) else one


def _code(tree: ast.Module, file: str) -> CodeType:
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile(tree, file, "exec", flags, dont_inherit=True, optimize=2)
    return code


class _Module:
    """A module whose imports have been taken out."""

    def __init__(
        self,
        name: str,
        file: str,
        *,
        is_package: bool,
        tree: ast.Module,
        whole: tuple[str, ...],
        taken: Taken,
    ) -> None:
        self.name = name
        self.file = file
        self.tree = tree
        self.taken = taken
        self._directory = name.replace(".", "/") if is_package else ""
        self.whole = whole

    def code(self, body: list[ast.stmt]) -> CodeType:
        """Compile statements of it."""
        return _code(ast.Module(body, []), self.file)

    def joined(self, code: CodeType | None) -> Joined:
        """Return what the file holds of it; code: in place of its own."""
        whole = code or self.code(self.tree.body)
        return (self.name, self._directory, self.whole, self.taken, whole)


def _divided(
    given: list[_Module], called: set[tuple[str, str]], file: str
) -> tuple[list[Joined], list[Later]]:
    """Return of each module what runs at once, and what fill() brings."""
    trees = {one.name: one.tree for one in given}
    waiting = put_off(trees, called)
    uses = {name: used_by(tree, name, called) for name, tree in trees.items()}
    everywhere = set().union(*uses.values())
    done: list[Joined] = []
    late: list[Later] = []
    for one in given:
        name = one.name
        wanted = {other: {each for each in names if each in everywhere} for other, names in one.taken}
        whole = tuple(other for other in one.whole if other not in uses[name])
        moved = tuple(
            (other, tuple(each for each in names if each not in wanted[other])) for other, names in one.taken
        )
        stays = tuple(
            (other, tuple(each for each in names if each in wanted[other])) for other, names in one.taken
        )
        one.taken = tuple(row for row in stays if row[1])
        one.whole = tuple(other for other in one.whole if other not in whole)
        code, swaps = hollow(one.code(one.tree.body), stubs_of(one.tree, name, called), file)
        done.append(one.joined(code))
        rest = one.code(waiting[name]) if waiting[name] else None
        late.append((name, whole, tuple(row for row in moved if row[1]), swaps, rest))
    return done, [one for one in late if any(one[1:])]


class _Given:
    """Finds modules in sources that were handed in, and trims each once it has run: what it imports has by then."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._names = {file: name for name, (_, file, _) in sources.items()}
        self.done: list[_Module] = []
        self.foreign: dict[str, None] = {}  # modules of others that names are taken from
        self.called: set[tuple[str, str]] = (
            set()
        )  # functions that importing has called: module and qualified name

    def watch(self, roots: list[str]) -> None:
        """Import these modules, and note what that calls."""
        before = sys.getprofile()
        sys.setprofile(self._note)
        try:
            for name in roots:
                __import__(name)
        finally:
            sys.setprofile(before)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in self._names:
            self.called.add((self._names[code.co_filename], code.co_qualname))

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name not in self._sources:
            return None
        return spec_from_loader(name, self, is_package=self._sources[name][2])  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        text, file, is_package = self._sources[name]
        tree = trim(ast.parse(text))
        write_records(tree)
        exec(_code(tree, file), module.__dict__)  # noqa: S102 - ours
        whole, taken = take_imports(tree, {one.name for one in self.done} | self._foreign_ones())
        for other in (*whole, *(other for other, _ in taken)):
            if other not in self._sources:
                self.foreign[other] = None
        self.done.append(_Module(name, file, is_package=is_package, tree=tree, whole=whole, taken=taken))

    def _foreign_ones(self) -> set[str]:
        """Modules of the library that can be imported by their names alone, before any of ours."""
        return {name for name in sys.modules if "." not in name and name not in self._sources}
