"""Takes out of a module's text what no guest needs to run: what only a type checker reads, and imports at its top.

Annotations go (the fields of records keep theirs, without their text), `if TYPE_CHECKING:`, `from __future__`. What an
import binds is copied from one namespace into the other before the module runs (joined.py).

The image's interpreter gets this file as text (inside.py), so it imports nothing of ours.
"""

import ast

Taken = tuple[tuple[str, tuple[str, ...]], ...]  # module -> its names that come along

_CHECKING = "TYPE_CHECKING"


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
