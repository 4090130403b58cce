"""The report as one page that needs no network: page.html with its style, its script and its data inside."""

import html
import json
from importlib.resources import files
from typing import Any

_PARTS = {"style": "page.css", "script": "page.js"}


def render_html(model: dict[str, Any]) -> str:
    """The page. The data stand in a script element that the browser does not run."""
    here = files(__package__)
    values = {name: (here / file).read_text(encoding="utf-8") for name, file in _PARTS.items()}
    values["title"] = html.escape(str(model["title"]))
    values["data"] = _embeddable(model)
    page = (here / "page.html").read_text(encoding="utf-8")
    head, *rest = page.split("{{")
    parts = [head]
    for piece in rest:
        name, _, text = piece.partition("}}")
        parts += [values[name], text]
    return "".join(parts)


def _embeddable(model: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever a device calls itself."""
    text = json.dumps(model, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c")
