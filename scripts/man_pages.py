"""The manual pages in docs/man, from what --help prints: hostbuild's commands, one page each, and modaliasd's on one.

    make man
    PYTHONPATH=. .venv/bin/python scripts/man_pages.py DIR     # written elsewhere

tests/test_man_pages.py holds the pages against the commands, and their form against groff's warnings.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from modaliasd import __version__
from scripts.command_pages import (
    Block,
    CommandPage,
    Heading,
    Item,
    Lines,
    See,
    Synopsis,
    Text,
    command_pages,
)

PLACE = Path(__file__).resolve().parents[1] / "docs/man"
# groff_char(7): what roff would read, or print as another character than the one that was typed
_ESCAPES = str.maketrans(
    {"\\": "\\e", "-": "\\-", "`": "\\(ga", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
)


def main(directory: Path) -> None:
    """Write all pages; remove those of commands that are gone."""
    written = dict(pages())
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.1"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (directory / name).write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Give each page: its file's name, and its roff text (man(7))."""
    for page in command_pages():
        yield f"{page.name}.1", _roff(page)


def _roff(page: CommandPage) -> str:
    short = page.short.rstrip(".")
    parts = [
        '.\\" Made by scripts/man_pages.py from what --help prints.\n',
        f'.TH {page.name.upper()} 1 "" "{page.program} {__version__}"\n.nh\n.ad l\n',
        f".SH NAME\n{_escaped(page.name)} \\- {_escaped(short[:1].lower() + short[1:])}\n",
    ]
    for title, blocks in page.sections:
        parts += [f".SH {title.upper()}\n"] if title else []
        parts += map(_block, blocks)
    return "".join(parts)


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return ".PP\n" + _line(text)
        case Lines(lines):
            return ".PP\n.nf\n.RS 4\n" + "".join(map(_line, lines)) + ".RE\n.fi\n"
        case Synopsis(command, pieces):
            return f".B {_escaped(command)}\n" + (_line(pieces) if pieces else "")
        case Item(term, meaning):
            return f".TP\n.B {_escaped(term)}\n" + _line(meaning)
        case Heading(title):
            return f".SS {_escaped(title)}\n"
        case See(names):
            return ", ".join(f"\\fB{_escaped(name)}\\fR(1)" for name in names) + "\n"


def _line(text: str) -> str:
    """One line of text: what would be a request of roff's is text all the same."""
    return f"{_escaped(text)}\n"


def _escaped(text: str) -> str:
    text = text.translate(_ESCAPES)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE)
