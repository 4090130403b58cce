"""Draws parts of a ledger's tree as a picture of a terminal, for the README.

Usage: picture.py LEDGER OUT.svg WORD...; of the tree's roots those are shown whose text holds one of the words,
and of these the branches that hold one.
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hostbuild.errors import HostbuildError, UsageError
from hostbuild.fs.files import write_file
from hostbuild.fs.path_types import is_same
from hostbuild.ledger.file import read_history
from modaliasd.core.ledger.text_tree import render_tree

WIDTH = 112
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
BRANCH = re.compile(r"[│ ]*[├└]─ ")

# rich's own, without the fonts that it would fetch from the network
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def roots(tree: str) -> list[list[str]]:
    """Return the tree's lines, a list for each root and what hangs on it."""
    blocks: list[list[str]] = []
    for line in tree.splitlines():
        if not ESCAPE.sub("", line).startswith((" ", "│", "├", "└")) or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    return blocks


def depth(line: str) -> int:
    """How far a device's line is indented; -1 if the line tells more of the device above it."""
    found = BRANCH.match(ESCAPE.sub("", line))
    return found.end() if found else -1


def pruned(block: list[str], words: list[str]) -> list[str]:
    """Return the root with those branches that hold a word, and the devices on the way to them."""
    devices: list[list[str]] = [[]]
    for line in block:
        if depth(line) >= 0:
            devices.append([])
        devices[-1].append(line)
    kept: list[list[str]] = []
    needed = sys.maxsize
    for device in reversed(devices):
        level = max(depth(device[0]), 0)
        if (level < needed and needed != sys.maxsize) or any(
            word in ESCAPE.sub("", "".join(device)) for word in words
        ):
            kept.append(device)
            needed = level
    return [line for device in reversed(kept) for line in device]


def main(ledger: str, out: str, *words: str) -> None:
    """Write the picture."""
    history = read_history(Path(ledger))
    blocks = roots(render_tree(history, color=True, width=WIDTH))
    shown = [pruned(block, list(words)) for block in blocks[:-1]]
    lines = [line for block in shown for line in block] + blocks[-1][-1:]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)))
    if is_same(Path(ledger), Path(out)):
        raise UsageError(f"{out} is the ledger itself: give the picture another name")
    text = console.export_svg(title="make demo", code_format=FORMAT, unique_id="demo")
    write_file(Path(out), text.encode(), "the picture")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except HostbuildError as e:
        print(f"picture.py: {e}", file=sys.stderr)
        sys.exit(e.exit_status)
