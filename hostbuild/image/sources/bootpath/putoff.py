"""Takes out of the boot path's modules what nothing calls before the first modprobe: it is read while that works.

What is put off is there again, as if it had never been missing, after fill() (joined.py):

- The code of functions and methods that are not called until then. What stands in their place, a stub, has fill()
  called and then calls the function that it stood for, so an early call is slower and no more. A function keeps its
  identity, defaults and decorators; only its `__code__` changes.
- Whole statements at a module's top, functions, classes and constants, if nothing that runs until then has
  their names, in whatever module: neither as a name nor as an attribute. Code of other modules could ask for them, so
  whoever imports a module that is not there has fill() called first.

What is called is measured (called.py). A list that is out of date costs time and breaks nothing.

The image's interpreter gets this file as text (inside.py), so it imports nothing of ours.
"""

import ast
from collections import Counter
from collections.abc import Container, Iterator
from types import CodeType

Called = Container[tuple[str, str]]  # module and qualified name of the functions that are called before
Swap = tuple[str, str, CodeType]  # a function that is put off: its class or "", its name there, its code

_DECORATORS = frozenset({"property", "staticmethod", "classmethod"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BY_TEXT = frozenset({"getattr", "hasattr", "setattr"})
_IS_FUNCTION = 0x2  # CO_NEWLOCALS; the bodies of modules and classes are without it
_STUB = """
def stub(*args, **kwargs):
    import FILE
    return FILE.wake()(*args, **kwargs)
"""


def put_off(trees: dict[str, ast.Module], called: Called) -> dict[str, list[ast.stmt]]:
    """Take out of the modules the statements that can wait; return them by module, in their order."""
    stubs = {name: stubs_of(tree, name, called) for name, tree in trees.items()}
    waiting = {name: _candidates(tree, name, called) for name, tree in trees.items()}
    while True:
        used = {
            asked
            for name, tree in trees.items()
            for one in tree.body
            if id(one) not in waiting[name]
            for asked in _used(one, stubs[name])
        }
        kept = {
            name: {key: bound for key, bound in there.items() if bound not in used}
            for name, there in waiting.items()
        }
        if kept == waiting:
            break
        waiting = kept
    taken = {name: [one for one in tree.body if id(one) in waiting[name]] for name, tree in trees.items()}
    for name, tree in trees.items():
        tree.body = [one for one in tree.body if id(one) not in waiting[name]]
    return taken


def _candidates(tree: ast.Module, module: str, called: Called) -> dict[int, str]:
    """Return the statements that only bind a name, each by its id, with the name."""
    often = Counter(map(_name_of, tree.body))
    found = {id(one): _bound(one, module, called) for one in tree.body}
    return {key: name for key, name in found.items() if name and often[name] == 1}


def used_by(tree: ast.Module, module: str, called: Called) -> set[str]:
    """Return the names that are asked for by what is left of a module."""
    stubs = stubs_of(tree, module, called)
    return {asked for one in tree.body for asked in _used(one, stubs)}


def stubs_of(tree: ast.Module, module: str, called: Called) -> set[str]:
    """Return the qualified names of the functions that get stubs in what is left of a module."""
    found = set(_stubs(tree.body, module, "", called))
    for one in tree.body:
        if isinstance(one, ast.ClassDef):
            found |= set(_stubs(one.body, module, f"{one.name}.", called))
    return found


def hollow(code: CodeType, stubs: Container[str], file: str) -> tuple[CodeType, tuple[Swap, ...]]:
    """Put stubs into a module's code; return it with what they stand for. file: the module that has wake()."""
    module = compile(_STUB.replace("FILE", file), file, "exec", dont_inherit=True, optimize=2)
    [template] = [one for one in module.co_consts if isinstance(one, CodeType)]
    swaps: list[Swap] = []
    return _hollowed(code, stubs, template, swaps), tuple(swaps)


def _hollowed(code: CodeType, stubs: Container[str], template: CodeType, swaps: list[Swap]) -> CodeType:
    constants: list[object] = []
    for one in code.co_consts:
        new = one
        if isinstance(one, CodeType):
            name = one.co_qualname
            if not one.co_flags & _IS_FUNCTION:
                new = _hollowed(one, stubs, template, swaps)
            elif name in stubs:
                if one.co_freevars:
                    raise ValueError(f"{name} in {one.co_filename} has variables of a function around it")
                owner, _, attribute = name.rpartition(".")
                swaps.append((owner, attribute, one))
                new = template.replace(
                    co_name=one.co_name,
                    co_qualname=name,
                    co_filename=one.co_filename,
                    co_firstlineno=one.co_firstlineno,
                )
        constants.append(new)
    return code.replace(co_consts=tuple(constants))


def _bound(statement: ast.stmt, module: str, called: Called) -> str:
    """Return the name that a statement binds, and that is all that it does; "" for others."""
    name = _name_of(statement)
    if isinstance(statement, _FUNCTIONS):
        is_free = (module, name) not in called and not statement.decorator_list
    elif isinstance(statement, ast.ClassDef):
        methods = [one.name for one in statement.body if isinstance(one, _FUNCTIONS)]
        is_free = (
            not any((module, f"{name}.{one}") in called for one in methods) and not statement.decorator_list
        )
    else:
        is_free = not any(
            isinstance(node, (ast.Call, ast.NamedExpr, ast.Await)) for node in ast.walk(statement)
        )
    return name if is_free and name[:2] != "__" else ""


def _calls(node: ast.AST) -> bool:
    """Tell whether something is called when this is evaluated; what a lambda does, it does later."""
    if isinstance(node, ast.Lambda):
        return any(map(_calls, (*node.args.defaults, *filter(None, node.args.kw_defaults))))
    return isinstance(node, (ast.Call, ast.NamedExpr)) or any(map(_calls, ast.iter_child_nodes(node)))


def _name_of(statement: ast.stmt) -> str:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return statement.name
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else ""
    return ""


def _stubs(body: list[ast.stmt], module: str, prefix: str, called: Called) -> Iterator[str]:
    """Yield the qualified names of the functions that can have stubs, of a module's or a class's own."""
    functions = [one for one in body if isinstance(one, _FUNCTIONS)]
    often = Counter(one.name for one in functions)
    for one in functions:
        if (
            (module, prefix + one.name) not in called
            and often[one.name] == 1
            and one.name != "__new__"  # as short as a stub, where a record has it
            and all(isinstance(by, ast.Name) and by.id in _DECORATORS for by in one.decorator_list)
            and not (prefix and one.name[:2] == "__" != one.name[-2:])  # mangled
            and not {"super", "__class__"} & set(_names(one))
        ):
            yield prefix + one.name


def _used(statement: ast.stmt, stubs: Container[str], prefix: str = "") -> Iterator[str]:
    """Yield the names that are asked for when a statement runs, and when what it makes is called, stubs aside."""
    if isinstance(statement, _FUNCTIONS) and prefix + statement.name in stubs:
        arguments = statement.args
        for node in (*statement.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)):
            yield from _names(node)
    elif isinstance(statement, ast.ClassDef) and not prefix:
        for outer in (*statement.bases, *statement.keywords, *statement.decorator_list):
            yield from _names(outer)
        for one in statement.body:
            yield from _used(one, stubs, f"{statement.name}.")
    else:
        yield from _names(statement)


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from node.names
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_TEXT:
            yield from (
                one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )
