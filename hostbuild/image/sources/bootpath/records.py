"""Writes into the text of records what core/fasttypes.py would make of their annotations at each start.

`class Match(NamedTuple)` with its fields becomes a class with `_fields` and `__new__`: the same class, some 17,000
instructions earlier. It has no `__annotations__`, which nothing in a guest asks for.

The image's interpreter gets this file as text (inside.py), so it imports nothing of ours.
"""

import ast

_TYPES = "modaliasd.core.fasttypes"
_BASE = "NamedTuple"
_NEW = "_new"  # tuple.__new__


def write_records(tree: ast.Module) -> None:
    """Write the constructors into the module's records that take their base from fasttypes."""
    imports = [
        one
        for one in tree.body
        if isinstance(one, ast.ImportFrom)
        and one.module == _TYPES
        and any(alias.name == _BASE and alias.asname is None for alias in one.names)
    ]
    written = [_write(one) for one in tree.body if isinstance(one, ast.ClassDef)] if imports else []
    if any(written):
        imports[0].names.append(ast.copy_location(ast.alias(_NEW), imports[0]))


def _write(record: ast.ClassDef) -> bool:
    [base, *others] = record.bases or [ast.Constant(None)]
    if not isinstance(base, ast.Name) or base.id != _BASE or others:
        return False
    fields: list[str] = []
    defaults: list[ast.expr] = []
    rest: list[ast.stmt] = []
    for one in record.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            fields.append(one.target.id)
            if one.value is not None:
                defaults.append(one.value)
        else:
            rest.append(one)
    arguments = ", ".join(["_cls", *fields])
    values = "".join(f"{field}, " for field in fields)
    made = ast.parse(
        f"_fields = {tuple(fields)!r}\ndef __new__({arguments}): return {_NEW}(_cls, ({values}))"
    ).body
    for one in made:
        for node in ast.walk(one):
            ast.copy_location(node, record)
        if isinstance(one, ast.FunctionDef):
            one.args.defaults = defaults
    record.body = [*made, *rest]
    return True
