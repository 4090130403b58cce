"""The pictures of a terminal in docs/images: of commands that are ours, whole, and shown somewhere."""

import html
import importlib.util
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.text import Text

from hostbuild.errors import UsageError
from scripts.terminal_shots import COLUMNS, IMAGES, SHOTS, Shot, draw, main, take
from tests.support.doccommands import OURS, complaint
from tests.support.places import DOCS, PROJECT

PAGES = [*DOCS.glob("*.md"), PROJECT / "README.md"]


def text_of(svg: str) -> list[str]:
    """The lines of a picture, by their place."""
    rows: dict[float, str] = {}
    for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if one.get("clip-path"):
            place = float(one.get("y", "0"))
            rows[place] = rows.get(place, "") + (one.text or "")
    return (
        "\n".join(rows[place].replace("\xa0", " ").rstrip() for place in sorted(rows)).rstrip().splitlines()
    )


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_a_picture_is_of_commands_that_exist(shot: Shot) -> None:
    """Our command lines take what is typed in it, and it shows that; `make terminal-shots` draws it anew."""
    for command in (*shot.before, *shot.commands):
        words = shlex.split(command)
        assert words[0] in OURS
        assert complaint(words, whole=True) is None
    lines = text_of(shot.path.read_text(encoding="utf-8"))
    for command in shot.commands:
        assert any(re.fullmatch(rf"(\$|micro:/root#) {re.escape(command)}", line) for line in lines), lines


@pytest.mark.parametrize("path", sorted(IMAGES.glob("terminal-*.svg")), ids=lambda path: path.stem)
def test_a_picture_is_shown_and_needs_nothing_else(path: Path) -> None:
    """A page has it; no address is in it but XML's own names, and no path but the guest's."""
    assert path in {shot.path for shot in SHOTS}
    assert any(f"images/{path.name})" in page.read_text(encoding="utf-8") for page in PAGES)
    text = html.unescape(path.read_text(encoding="utf-8"))
    assert set(re.findall(r"\w+://[^\s\"<]+", text)) == {"http://www.w3.org/2000/svg"}
    found = re.findall(
        r"(?<![\w./])/(?:root|home|tmp|work|usr/local|opt)\b", text.replace("micro:/root#", "")
    )
    assert found == []


def test_letters_and_colours_are_drawn() -> None:
    """As text, in their places; a line is not wider than the terminal."""
    svg = draw([Text("$ x & <y>"), Text.assemble(("no", "bold red"), "w"), Text("z" * COLUMNS)], "t")
    assert text_of(svg) == ["$ x & <y>", "now", "z" * COLUMNS]
    assert "font-weight: bold" in svg


@pytest.mark.slow
def test_what_stands_on_the_screen(tmp_path: Path) -> None:
    """What was overwritten is not there, nor the prompt that waits."""
    if importlib.util.find_spec("pyte") is None:
        pytest.skip("the extra docs is not installed (make docs)")
    shot = Shot("x", ((r"^\$ $", "printf 'old\\r\\033[31mnew\\033[0m\\n\\033[6n'; read -rs -d R x"),))
    [typed, new] = take(shot, tmp_path)
    assert typed.plain.startswith("$ printf")
    assert new.plain == "new"
    assert "red" in str(new.spans)


def test_a_name_that_is_none() -> None:
    """It is refused with those there are, before anything is made."""
    with pytest.raises(UsageError, match="no such picture: nope"):
        main(["nope"])
