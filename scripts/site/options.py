"""The pages of the commands: what --help prints, as Markdown."""

import re
from collections.abc import Iterable, Iterator

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

# Commands that are not ours have no page here.
_FOREIGN = ("modprobe", "udevadm")
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")


def render_commands() -> Iterator[tuple[str, str]]:
    """Give each page: its file's name, and its text (MyST Markdown); the first lists them all."""
    pages = list(command_pages())
    yield "commands.md", _overview(pages)
    for page in pages:
        yield f"{page.name}.md", _page(page)


def _overview(pages: Iterable[CommandPage]) -> str:
    rows = [f"- [{_typed(page.name)}]({page.name}.md): {escaped(_short(page))}\n" for page in pages]
    names = "".join(f"{page.name}\n" for page in pages)
    return (
        "# Commands and their options\n\nWhat `--help` prints, a page for each command of hostbuild's and one for the "
        "guest's, modaliasd; `man hostbuild-run` has the same.\n\n"
        f"{''.join(rows)}\n```{{toctree}}\n:hidden:\n:titlesonly:\n\n{names}```\n"
    )


def _page(page: CommandPage) -> str:
    parts = [f"# {_typed(page.name)}\n\n"]
    if page.sections[1][1][:1] != (Text(page.short),):
        parts.append(f"{escaped(_short(page))}.\n\n")
    for title, blocks in page.sections:
        if title not in ("", "synopsis", "description"):
            parts.append(f"## {escaped(title[:1].upper() + title[1:])}\n\n")
        parts += map(_block, blocks)
    return "".join(parts)


def _typed(name: str) -> str:
    """Return the command as it is typed: of our commands' names only make-image has a hyphen."""
    return name.replace("-", " ").replace("make image", "make-image")


def _short(page: CommandPage) -> str:
    return page.short[:1].upper() + page.short[1:].rstrip(".")


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"{escaped(text)}\n\n"
        case Lines(lines):
            return _fence(lines)
        case Synopsis(command, pieces):
            return _fence([f"{command} {pieces}".rstrip()])
        case Item(term, meaning):
            return (
                f"{_term(term)}\n: {escaped(meaning)}\n\n" if meaning else ""
            )  # operands stand in the synopsis
        case Heading(title):
            return f"### {escaped(title)}\n\n"
        case See(names):
            listed = (
                f"`{name}`(1)" if name in _FOREIGN else f"[{_typed(name)}]({name}.md)" for name in names
            )
            return ", ".join(listed) + "\n\n"


def _term(term: str) -> str:
    """Return an option as code; another command of ours, `hostbuild-run(1)`, as a link to its page."""
    name = term.removesuffix("(1)")
    return f"[{_typed(name)}]({name}.md)" if name != term else f"`{term}`"


def _fence(lines: Iterable[str]) -> str:
    return "```text\n" + "".join(f"{line}\n" for line in lines) + "```\n\n"


def escaped(text: str) -> str:
    """Return the text as Markdown that shows it; what stands in backticks stays code."""
    pieces = _CODE.split(text)
    return "".join(piece if at % 2 else _MARKUP.sub(r"\\\1", piece) for at, piece in enumerate(pieces))
