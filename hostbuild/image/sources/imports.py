"""What a Python source imports, read with `ast`: (module, name) for `import module` and `from module import name`.

It imports nothing but `ast`, so that an interpreter of another version can be handed this text and run it: a source
may be written in syntax that only newer ones know (cpython.py).
"""

import ast


def imported(source: bytes, package: str, inside_functions: bool) -> list[tuple[str, str]]:
    """Return what a module imports, in the order of its text; the name is "" for a plain `import`.

    package: the package that relative imports start from, "" for a module outside of any.
    inside_functions: count the imports that run when a function is called, too.
    Raises SyntaxError or ValueError for what is no Python of this version.
    """
    found: list[tuple[str, str]] = []
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            found += [(base, alias.name) for alias in node.names]
        elif isinstance(node, ast.If) and (
            _is_type_checking(node.test) or (not inside_functions and _is_main(node.test))
        ):
            waiting = [*node.orelse, *waiting]
        elif inside_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting = [*ast.iter_child_nodes(node), *waiting]
    return found


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def _is_type_checking(test: ast.expr) -> bool:
    if isinstance(test, ast.Name):
        return test.id == "TYPE_CHECKING"
    return isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"


def _is_main(test: ast.expr) -> bool:
    """Return whether a condition is `__name__ == "__main__"`."""
    return ast.unparse(test) == "__name__ == '__main__'"
