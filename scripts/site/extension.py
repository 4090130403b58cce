"""What the site has besides docs/*.md, as an extension of Sphinx: pages made when it is built, and its order.

docs/index.md is the order: each of its second-level headings becomes a part of the navigation, the list below it the
pages there and what they are called. A link to a file that has a page of its own (SHOWN) leads to that page on the
site, and to the file elsewhere.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.site.options import render_commands
from scripts.site.schema import render_schema

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
MADE = "reference"  # the directory below docs, ignored by git, of the pages that are made
# What the pages link to, from docs, and the page that shows it.
SHOWN = {
    "man": "commands.md",
    "ledger.schema.json": "ledger-schema.md",
    "capture.schema.json": "capture-schema.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "reporting.md",
    "../examples": "examples.md",
}
_TARGET = re.compile(r"\]\(([^)#\s]+)([^)\s]*)\)")
_ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#\s]+)\.md\)", re.MULTILINE)
_PART = re.compile(r"^## (.+)$", re.MULTILINE)


def setup(app: "Sphinx") -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", lambda _app: write_pages(DOCS / MADE))
    app.connect("source-read", lambda _app, name, source: _read(name, source))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(directory: Path) -> None:
    """Write the made pages; those that are the same stay as they are, those of what is gone go."""
    written = dict(_pages())
    directory.mkdir(exist_ok=True)
    for old in directory.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _pages() -> Iterator[tuple[str, str]]:
    yield from render_commands()
    for subject in ("ledger", "capture"):
        schema = json.loads((DOCS / f"{subject}.schema.json").read_text(encoding="utf-8"))
        meanings = (DOCS / f"{subject}.md").read_text(encoding="utf-8")
        yield f"{subject}-schema.md", render_schema(schema, f"{subject}.schema.json", meanings)
    for target in ("../CHANGELOG.md", "../CONTRIBUTING.md", "../SECURITY.md"):
        text = (DOCS / target).resolve().read_text(encoding="utf-8")
        yield SHOWN[target], _TARGET.sub(_moved, text)
    yield SHOWN["../examples"], _examples()


def _moved(link: re.Match[str]) -> str:
    """Return a link of a file in the project's directory as it is from a made page."""
    target, anchor = link.groups()
    if ":" in target:
        return link[0]
    from_docs = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
    if from_docs in SHOWN:
        return f"]({SHOWN[from_docs]}{anchor})"
    return f"](../{from_docs}{anchor})"


def _examples() -> str:
    parts = [
        "# Examples of hotplug tests\n\nThe suites in `examples`; [testing.md](../testing.md) explains them.\n\n"
    ]
    for path in sorted((PROJECT / "examples").rglob("*")):
        if path.suffix in (".py", ".c") or path.name in ("Kbuild", "Makefile"):
            language = {".py": "python", ".c": "c"}.get(path.suffix, "make")
            name = path.relative_to(PROJECT)
            text = path.read_text(encoding="utf-8").rstrip("\n")
            parts.append(f"## `{name}`\n\n```{language}\n{text}\n```\n\n")
    return "".join(parts)


def _read(name: str, source: list[str]) -> None:
    """Change a page's text before it is parsed; source: its one element."""
    if name.startswith(f"{MADE}/"):
        return
    text = _TARGET.sub(_shown, source[0])
    source[0] = text + _navigation(text) if name == "index" else text


def _shown(link: re.Match[str]) -> str:
    target, anchor = link.groups()
    return f"]({MADE}/{SHOWN[target]}{anchor})" if target in SHOWN else link[0]


def _navigation(index: str) -> str:
    """Return the parts of the index as Sphinx's tables of contents, hidden: the side bar shows them."""
    _, *pieces = _PART.split(index)
    parts = []
    for title, text in zip(pieces[::2], pieces[1::2], strict=True):
        listed = "".join(f"{name} <{page}>\n" for name, page in _ENTRY.findall(text))
        parts.append(f"\n```{{toctree}}\n:hidden:\n:titlesonly:\n:caption: {title}\n\n{listed}```\n")
    return "".join(parts)
