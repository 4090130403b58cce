"""The documentation as a site: what it is made of, and that it is whole and loads nothing from elsewhere."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from scripts.command_pages import Item, command_pages
from scripts.site.extension import SHOWN, write_pages
from scripts.site.options import escaped, render_commands
from scripts.site.schema import render_schema
from tests.support.places import DOCS, PROJECT

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that are made when the site is built."""
    folder = tmp_path_factory.mktemp("docs") / "reference"
    folder.mkdir()
    (folder / "old.md").touch()
    write_pages(folder)
    assert not (folder / "old.md").exists()
    return folder


def test_the_index_has_every_page_once() -> None:
    """docs/index.md is the site's navigation: what it lacks nobody finds."""
    listed = re.findall(r"^- \[[^\]]+\]\((\S+?)\)", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({*(path.name for path in DOCS.glob("*.md")), *SHOWN} - {"index.md"})


def test_every_option_is_on_a_page() -> None:
    """Each option of each command, with its meaning; each command is in the overview."""
    pages = dict(render_commands())
    for page in command_pages():
        text = pages[f"{page.name}.md"]
        for item in (block for _, blocks in page.sections for block in blocks if isinstance(block, Item)):
            if item.term.startswith("-") and item.meaning:
                assert f"`{item.term}`\n: {escaped(item.meaning)}\n" in text
        assert f"]({page.name}.md)" in pages["commands.md"]


def test_help_stays_what_it_is() -> None:
    """What Markdown would read in a text is shown; code in backticks stays code."""
    assert escaped("a *b* [c] <d> `*e*` | _f") == r"a \*b\* \[c\] \<d\> `*e*` \| \_f"


@pytest.mark.parametrize("subject", ["ledger", "capture"])
def test_every_field_of_a_schema_is_on_its_page(subject: str, made: Path) -> None:
    """With all of its values; each kind of line leads to what docs/ledger.md says of it."""
    schema = json.loads((DOCS / f"{subject}.schema.json").read_text())
    text = (made / f"{subject}-schema.md").read_text()
    for name, one in schema["$defs"].items():
        assert f" {name}\n" in text
        for field, value in one.get("properties", {}).items():
            assert f"| `{field}` | " in text
            assert all(f"`{word}`" in text for word in value.get("enum", ()))
    for kind in schema.get("oneOf", ()):
        name = kind["$ref"].rpartition("/")[2]
        assert f"## {name}\n\n[What they mean](../ledger.md#{name}" in text or name == "walked"


def test_what_a_schema_says_is_told_or_refused() -> None:
    """Types, limits and rules in words; a word that the page would have to leave out is an error."""
    schema = {
        "title": "A thing",
        "$defs": {"count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"enum": ["x", "y"]},
            "b": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/count"}},
        },
        "dependentRequired": {"b": ["a"]},
    }
    text = render_schema(schema, "thing.schema.json", "")
    assert "| `a` | `x`, `y` | always |" in text
    assert "| `b` | array of [count](#part-count), at least 1 |  |" in text
    assert "integer, at least 0, at most 9" in text
    assert "With `b` there is `a`." in text
    with pytest.raises(ValueError, match="patternProperties"):
        render_schema({**schema, "patternProperties": {}}, "thing.schema.json", "")


def test_links_of_made_pages_lead_somewhere(made: Path) -> None:
    """To each other, and to the docs."""
    for path in made.glob("*.md"):
        links = re.findall(
            r"\]\(([^)#:\s]+)(?:#[^)]*)?\)",
            re.sub(r"```.*?```|`[^`]*`", "", path.read_text(), flags=re.DOTALL),
        )
        gone = [
            link
            for link in links
            if not (made / link).exists() and not (DOCS / "reference" / link).resolve().exists()
        ]
        assert gone == [], path.name


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    """`make docs`: no link leads nowhere; a browser without a network shows a page, and finds one by its search."""
    if importlib.util.find_spec("furo") is None:
        pytest.skip("the extra docs is not installed (make docs)")
    site = tmp_path / "site"
    argv = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(tmp_path / "trees"),
        "docs",
        str(site),
    ]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in (
            "index.html",
            "reference/hostbuild-run.html",
            "reference/ledger-schema.html",
            "tutorial.html",
        ):
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, (
                f"{name} is wider than a phone"
            )
        page.goto(f"{(site / 'search.html').as_uri()}?q=softdep")
        page.get_by_role("link", name="modprobe.d: what the daemon honours").first.wait_for(timeout=60_000)
        browser.close()
    assert [url for url in asked if not url.startswith("file:")] == []
