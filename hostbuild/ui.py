"""What hostbuild shows: results on stdout, progress on stderr.

Progress appears on a terminal only; piped, or with --json, there is none. rich is imported only when there is
something to draw.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from hostbuild import log
from modaliasd.core.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]


def ignore(_amount: int) -> None:
    """Hear of progress and do nothing."""


class Reporter(Protocol):
    """Who hears of the work's progress: `step` opens a piece of work and gives what advances it."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Open a step; `total` counts what the function is called with, None where it cannot be known."""


class Silent:
    """Nobody listens."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:  # noqa: ARG002
        """Do nothing."""
        yield ignore


class Terminal:
    """Progress bars on stderr, gone again when their step ends; a step inside another has a bar below its."""

    def __init__(self) -> None:
        self._bars: Progress | None = None

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Draw one bar until the step ends, with a percentage where the total is known."""
        if self._bars is not None:
            yield from self._task(self._bars, title, total)
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            self._bars = bars
            try:
                yield from self._task(bars, title, total)
            finally:
                self._bars = None

    @staticmethod
    def _task(bars: "Progress", title: str, total: int | None) -> Iterator[Advance]:
        task = bars.add_task(printable(title), total=total)
        try:
            yield lambda amount: bars.advance(task, amount)
        finally:
            bars.remove_task(task)


class _Mood:
    """How much is shown. quiet: results and errors only."""

    quiet = False


def be_quiet() -> None:
    """Show no progress and no remarks from now on."""
    _Mood.quiet = True


def wants_color() -> bool:
    """Return whether standard output is a terminal that shows colours, and nobody has asked for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def reporter(*, as_json: bool = False) -> Reporter:
    """Return the reporter that fits: bars if stderr is a terminal and the output is for people, else silence."""
    return (
        Terminal()
        if sys.stderr.isatty() and not as_json and not _Mood.quiet and not log.is_on()
        else Silent()
    )


def print_json(value: object) -> None:
    """Print `value` on stdout as indented JSON, keys in their own order."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not (text.replace("\n", "").isprintable() and _can_show(text)):
        text = json.dumps(value, indent=2)
    sys.stdout.write(text + "\n")


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def document(text: str) -> None:
    """Write a file's text on stdout, in UTF-8 whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())


def size(count: int) -> str:
    """Render a number of bytes for people, in the units of ls -h: 1023 B, 1.5 KiB, 12.3 MiB."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024 or unit == "GiB":
            break
    return f"{amount:.1f} {unit}"


def line(text: str) -> None:
    """Print one line of a result on stdout; whatever in it would do more to a terminal than to be shown is escaped."""
    sys.stdout.write(printable(text) + "\n")


def lines(text: str) -> None:
    """Print the lines of a result on stdout, as `line` does each."""
    for one in text.split("\n"):
        line(one)


def note(text: str) -> None:
    """Print a remark for people on stderr, in one line; the work goes on. Not where they want quiet."""
    if not _Mood.quiet:
        complain(f"hostbuild: {text}")


def complain(text: str) -> None:
    """Print one line on stderr, escaped as `line` does."""
    sys.stderr.write(printable(text) + "\n")


def sizes_table(groups: Mapping[str, Mapping[str, int]]) -> None:
    """Print a table of groups of files on stdout: how many, how large; the largest first, then the total."""
    rows = sorted(groups.items(), key=lambda item: -item[1]["size"])
    total = {"files": sum(row["files"] for _, row in rows), "size": sum(row["size"] for _, row in rows)}
    width = max(len(name) for name in [*groups, "total"])
    line(f"  {'':<{width}}  {'files':>6}  {'size':>10}")
    for name, row in [*rows, ("total", total)]:
        line(f"  {name:<{width}}  {row['files']:>6}  {size(row['size']):>10}")
