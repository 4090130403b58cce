"""The documentation speaks of files that are there."""

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


@pytest.mark.parametrize(("word", "values"), [("outcome", Outcome), ("phase", Phase), ("action", Action)])
def test_the_glossary_names_every_value(word: str, values: type[Enum]) -> None:
    """A closed choice is told in full: a value that is new in the code has its place in the row."""
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    row = next(row for row in page.splitlines() if re.match(rf"\| {word}\*? \|", row))
    assert {value.value for value in values} - set(re.findall(r"\w+", row)) == set()
