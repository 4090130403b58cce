"""What a run tells of each cell: a row, as it stands in run.json, in tables, pages and JUnit's XML. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hostbuild.matrix.asked.cells import cell_name
from hostbuild.matrix.results.verdict import Verdict

_MARKS = {Verdict.PASSED: "ok", Verdict.FAILED: "FAILED", Verdict.LOST: "lost"}


@dataclass(frozen=True, slots=True)
class Row:
    """A cell that is done. key: None where there was no job. settled_ms: from the daemon's start, None if it never was.

    complaints: what is wrong. fix: what may help. kept: its result was there from an earlier run.
    """

    kernel: str
    architecture: str
    machine: str
    image: str
    test: str
    verdict: Verdict
    key: str | None = None
    status: int | None = None
    seconds: float | None = None
    settled_ms: float | None = None
    complaints: tuple[str, ...] = ()
    fix: str = ""
    notes: tuple[str, ...] = ()
    kept: bool = False

    @property
    def name(self) -> str:
        """The cell's name."""
        return cell_name((self.kernel, self.architecture, self.machine, self.image, self.test))

    @property
    def mark(self) -> str:
        """Its verdict in a word, with the time that a good one took."""
        if self.verdict is Verdict.PASSED and self.seconds is not None:
            return f"ok {self.seconds:.1f} s"
        return _MARKS[self.verdict]

    def jsonable(self) -> dict[str, Any]:
        """Return it as run.json and --json have it."""
        return {"name": self.name, **asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows as a table: a line for each kernel (with image and test where there are several), a column a machine."""

    machines: tuple[str, ...]
    lines: tuple[tuple[str, Mapping[str, Row]], ...]


def grid_of(rows: Iterable[Row]) -> Grid:
    """Lay rows out, in their own order."""
    rows = list(rows)
    several_images = len({row.image for row in rows}) > 1
    several_tests = len({row.test for row in rows}) > 1
    lines: dict[str, dict[str, Row]] = {}
    for row in rows:
        words = [row.kernel, *([row.image] if several_images else []), *([row.test] if several_tests else [])]
        lines.setdefault(" | ".join(words), {})[row.machine] = row
    return Grid(tuple(dict.fromkeys(row.machine for row in rows)), tuple(lines.items()))


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Return how many cells there are of each verdict, and how many results were there already."""
    rows = list(rows)
    found = {verdict.value: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    return {"cells": len(rows), **found, "kept": sum(row.kept for row in rows)}


def summary_lines(rows: Sequence[Row], most: int = 40) -> list[str]:
    """Return a run's result as lines of text: the table, then what is wrong with each cell that is not as expected."""
    grid = grid_of(rows)
    lines = []
    if len(grid.lines) <= most:
        table = [["", *grid.machines]]
        for label, found in grid.lines:
            marks = [found[machine].mark if machine in found else "-" for machine in grid.machines]
            table.append([label, *marks])
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        lines += [
            "  ".join(f"{word:{width}}" for word, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
    bad = [row for row in rows if row.verdict is not Verdict.PASSED]
    for row in bad[:most]:
        lines.append(f"{row.verdict.value}: {row.name}")
        lines += [f"  {one}" for text in row.complaints for one in text.split("\n")]
        lines += [f"  hint: {row.fix}"] if row.fix else []
    lines += [f"and {len(bad) - most} more, which index.html has"] if len(bad) > most else []
    number = counts(rows)
    words = [f"{number['passed']} of {number['cells']} cells as expected"]
    words += [f"{number['failed']} failed"] if number["failed"] else []
    words += [f"{number['lost']} without a result"] if number["lost"] else []
    words += [f"{number['kept']} of the results were there already"] if number["kept"] else []
    return [*lines, ", ".join(words)]
