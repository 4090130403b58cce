"""The live table: what of a run is done, while it runs. On a terminal only."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hostbuild.matrix.asked.cells import Cell
from hostbuild.matrix.results.rows import Row
from hostbuild.matrix.results.verdict import Verdict
from modaliasd.core.printable import printable

if TYPE_CHECKING:
    from rich.console import Group

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.LOST: "yellow"}


class Progress:
    """What is done of each kernel on each machine."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._total = len(cells)
        self._machines = tuple(dict.fromkeys(cell.names[2] for cell in cells))
        self._of: dict[tuple[str, str], int] = {}
        self._done: dict[tuple[str, str], list[Verdict]] = {}
        self._kernels = tuple(dict.fromkeys(cell.kernel.name for cell in cells))
        for cell in cells:
            place = (cell.kernel.name, cell.names[2])
            self._of[place] = self._of.get(place, 0) + 1

    def take(self, row: Row) -> None:
        """Hear of a cell that is done."""
        self._done.setdefault((row.kernel, row.machine), []).append(row.verdict)

    def counts(self) -> str:
        """Return the line above the table."""
        done = [one for verdicts in self._done.values() for one in verdicts]
        bad = sum(one is not Verdict.PASSED for one in done)
        return f"{len(done)} of {self._total} cells done" + (f", {bad} not as expected" if bad else "")

    def shown(self, kernel: str, machine: str) -> tuple[str, str]:
        """Return what stands at a place of the table, and its style."""
        total, done = self._of.get((kernel, machine), 0), self._done.get((kernel, machine), [])
        if not total:
            return "", ""
        bad = [one for one in done if one is not Verdict.PASSED]
        if total == 1:
            return (done[0].value, _STYLES[done[0]]) if done else ("...", "dim")
        words = f"{len(done)}/{total}" + (f", {len(bad)} bad" if bad else "")
        style = _STYLES[bad[0]] if bad else _STYLES[Verdict.PASSED] if len(done) == total else ""
        return words, style

    def render(self, height: int) -> "Group":
        """Draw; kernels that are done give way where the terminal is too low for all."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for head in ("", *self._machines):
            table.add_column(printable(head))
        kernels = list(self._kernels)
        room = max(height - 4, 1)
        if len(kernels) > room:
            kernels.sort(key=self._is_done)
            kernels = kernels[:room]
        for kernel in kernels:
            cells = [Text(*self.shown(kernel, machine)) for machine in self._machines]
            table.add_row(Text(printable(kernel)), *cells)
        return Group(Text(self.counts()), table)

    def _is_done(self, kernel: str) -> bool:
        return all(
            len(self._done.get(place, ())) == total for place, total in self._of.items() if place[0] == kernel
        )


@contextlib.contextmanager
def live_table(cells: Sequence[Cell], *, shown: bool) -> Iterator[Callable[[Row], None]]:
    """Show the table on stderr while the block runs; give what is to be told of each row.

    What is said on stderr meanwhile stands above the table, and stays.
    """
    progress = Progress(cells)
    if not shown:
        yield progress.take
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(
        console=console,
        transient=True,
        refresh_per_second=4,
        get_renderable=lambda: progress.render(console.height),
    ):
        yield progress.take
