"""A JSON Schema of ours as a page: each kind of record with its fields, their types and values.

Only the words that our schemas use are known (JSON Schema 2020-12); another one is a KeyError or ValueError, so that
the page never leaves something out in silence.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxItems": "at most {}",
    "minItems": "at least {}",
}
_SKIPPED = {"$schema", "$id", "title", "description"}  # told at the page's top
_CLOSING = {"additionalProperties", "unevaluatedProperties"}  # false everywhere: no other fields
_FIELDS = {"type", "properties", "required"}
_RULES = {"oneOf", "dependentRequired", "if", "else", "$ref"}


def render_schema(schema: Schema, source: str, meanings: str) -> str:
    """Return the page. source: the schema's file; meanings: the text of the page that says what each field means.

    Both stand one directory above the page. source has the name of that page before `.schema.json`.
    """
    page = source.replace(".schema.json", ".md")
    defs = schema["$defs"]
    kinds = [_name(one) for one in schema.get("oneOf", ())]
    headings = _anchors(meanings)
    parts = [
        f"# Schema: {page.removesuffix('.md')}\n\n{schema['title']}. [{page}](../{page}) says what each field means; "
        f"{{download}}`{source} <../{source}>` is the schema itself.\n\n"
    ]
    top = {key: value for key, value in schema.items() if key not in {*_SKIPPED, "$defs"}}
    if kinds:
        parts.append("## Every line\n\n")
        top.pop("oneOf")
    else:
        parts.append("## The file\n\n")
    parts.append(_object(top))
    for kind in kinds:
        link = f"[What they mean](../{page}#{headings[kind]})\n\n" if kind in headings else ""
        parts.append(f"## {kind}\n\n{link}{_object(defs[kind])}")
    parts.append("## Parts\n\nWhat several of them are made of.\n\n")
    for name in sorted(defs.keys() - set(kinds)):
        one = defs[name]
        parts.append(f"### part: {name}\n\n")
        parts.append(_object(one) if "properties" in one or "oneOf" in one else f"{_type(one)}\n\n")
    return "".join(parts)


def _anchors(text: str) -> dict[str, str]:
    """Return the anchors of the headings that name kinds of lines in backticks, as GitHub makes them."""
    found = {}
    for title in re.findall(r"^## (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for kind in re.findall(r"`(\w+)`", title.partition(":")[0]):
            found[kind] = slug
    return found


def _object(schema: Schema) -> str:
    """Return an object's fields as a table, and its rules as a list."""
    unknown = schema.keys() - _FIELDS - _RULES - _CLOSING - _SKIPPED
    if unknown or any(schema.get(key) for key in _CLOSING):
        raise ValueError(f"the schema has words that its page cannot tell: {sorted(unknown) or schema}")
    rules = [f"- {rule}\n" for rule in _rules(schema)]
    required = schema.get("required", ())
    rows = [
        f"| `{field}` | {_type(value)} | {'always' if field in required else ''} |\n"
        for field, value in schema.get("properties", {}).items()
    ]
    parts = (
        [f"{schema['description'][:1].upper()}{schema['description'][1:]}.\n\n"]
        if "description" in schema
        else []
    )
    if rows:
        parts += ["| field | type, values | there |\n|---|---|---|\n", *rows, "\n"]
    return "".join([*parts, *rules, "\n" if rules else ""])


def _rules(schema: Schema) -> Iterator[str]:
    """Say in words what goes beyond single fields."""
    if "$ref" in schema:
        yield f"Has the fields of {_link(_name(schema))}, too."
    for one in schema.get("oneOf", ()):
        names = ", ".join(f"`{name}`" for name in one["required"])
        more = [f"`{name}` is {_type(value)}" for name, value in one.get("properties", {}).items()]
        if "$ref" in one:
            more.append(f"with the fields of {_link(_name(one))}")
        yield f"One of: has {names}" + (f"; {'; '.join(more)}" if more else "") + "."
    for field, needed in schema.get("dependentRequired", {}).items():
        yield f"With `{field}` there is {' and '.join(f'`{name}`' for name in needed)}."
    if "if" in schema:
        [(field, condition)] = schema["if"]["properties"].items()
        values = " or ".join(f"`{value}`" for value in condition["enum"])
        needed = " and ".join(f"`{name}`" for name in schema["else"]["required"])
        yield f"Unless `{field}` is {values}, there is {needed}."


def _type(schema: Schema) -> str:
    """Return a field's type in words; a part is a link to where it is told."""
    if "$ref" in schema:
        return _link(_name(schema))
    if "const" in schema:
        return f"`{_json(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{_json(value)}`" for value in schema["enum"])
    if schema["type"] == "array":
        limits = [_LIMITS[key].format(schema[key]) for key in schema if key in _LIMITS]
        limits += ["each once"] if schema.get("uniqueItems") else []
        return _limited(f"array of {_type(schema['items'])}", limits)
    if "additionalProperties" in schema:
        return f"object of names, each with {_type(schema['additionalProperties'])}"
    limits = [_LIMITS[key].format(schema[key]) for key in schema if key in _LIMITS]
    limits += ["not empty"] if schema.get("minLength") else []
    limits += [f"matches `{schema['pattern']}`"] if "pattern" in schema else []
    return _limited(schema["type"], limits)


def _limited(what: str, limits: list[str]) -> str:
    return f"{what}, {', '.join(limits)}" if limits else what


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).removeprefix("#/$defs/")


def _link(name: str) -> str:
    return f"[{name}](#part-{name})"
