"""The documentation speaks of files, and links to headings, that are there."""

import re
from pathlib import Path

import pytest

from modaliasd.core.device import Phase
from modaliasd.core.fasttypes import Enum
from modaliasd.core.loading.outcome import Outcome
from modaliasd.core.uevent.parse import Action
from tests.support.places import DOCS, PROJECT

PAGES = [*sorted(DOCS.glob("*.md")), *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md"))]
# Where a path may start: at the project, or where people know to look.
OTHERS = ("pyroute2/",)  # other people's files
STARTS = ("", "daemon/", "daemon/modaliasd/", "hostbuild/", "tests/")
_PATH = re.compile(r"(?<![\w./~-])(?:\.\./)?((?:[\w-]+/)*[\w-]+/[\w-]+\.(?:py|toml|sh|fragment))\b")
_HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """Paths of the project's files, and links to other pages: what was moved is spoken of where it is now."""
    text = page.read_text(encoding="utf-8")
    gone = [
        path
        for path in dict.fromkeys(_PATH.findall(text))
        if not path.startswith(OTHERS) and not any((PROJECT / start / path).exists() for start in STARTS)
    ]
    folder = page.parent
    gone += [link for link in dict.fromkeys(_LINK.findall(text)) if not (folder / link).exists()]
    assert gone == []


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in _HEADING.findall(text)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_that_a_link_names_is_there(page: Path) -> None:
    """Links into pages: `ledger.md#...`, and `#...` in the page itself."""
    links = re.findall(r"\]\(([^)#:\s]*\.md|)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    gone = [link for link in links if link[1] not in anchors_of(page.parent / link[0] if link[0] else page)]
    assert gone == []


@pytest.mark.parametrize(("word", "values"), [("outcome", Outcome), ("phase", Phase), ("action", Action)])
def test_the_glossary_names_every_value(word: str, values: type[Enum]) -> None:
    """A closed choice is told in full: a value that is new in the code has its place in the row."""
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    row = next(row for row in page.splitlines() if re.match(rf"\| {word}\*? \|", row))
    assert {value.value for value in values} - set(re.findall(r"\w+", row)) == set()
