"""The report as one page that needs no network: page.html with its style, its script and its data inside."""

import html
import json
from importlib.resources import files
from typing import Any

from modaliasd.core.printable import printable

# The script's parts, in the order in which they run; they share one function's scope.
_SCRIPTS = (
    "base",
    "window",
    "figures",
    "phases",
    "timeline",
    "tree",
    "side",
    "details",
    "search",
    "keys",
    "start",
)


def render_html(model: dict[str, Any]) -> str:
    """Return the page; its data stand in a script element that the browser does not run."""
    values = {
        "style": _read("page.css"),
        "script": _script(),
        "title": html.escape(printable(str(model["title"]))),
        "data": _embeddable(model),
    }
    head, *rest = _read("page.html").split("{{")
    parts = [head]
    for piece in rest:
        name, _, text = piece.partition("}}")
        parts += [values[name], text]
    return "".join(parts)


def _script() -> str:
    """Return all parts as one function, so that the page has no names but the browser's own."""
    body = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _embeddable(model: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever a device calls itself."""
    text = json.dumps(model, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c")
