"""What changed between two runs of a matrix, over all cells: devices that lost their driver, modules, times. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hostbuild.ledger.diff import Change, LedgerDiff


@dataclass(frozen=True, slots=True)
class Spread:
    """A change, and the cells that have it."""

    what: str
    cells: tuple[str, ...]


@dataclass(slots=True)
class RunDiff:
    """What changed. Of `unbound` each is a regression, as is each of `verdicts` that has become worse (`worse`)."""

    cells: int = 0
    gone: tuple[str, ...] = ()
    come: tuple[str, ...] = ()
    worse: list[Spread] = field(default_factory=list)
    better: list[Spread] = field(default_factory=list)
    unbound: list[Spread] = field(default_factory=list)
    bound: list[Spread] = field(default_factory=list)
    drivers: list[Spread] = field(default_factory=list)
    outcomes: list[Spread] = field(default_factory=list)
    modules_gone: list[Spread] = field(default_factory=list)
    modules_come: list[Spread] = field(default_factory=list)
    slower: list[Spread] = field(default_factory=list)
    quicker: list[Spread] = field(default_factory=list)

    @property
    def regression(self) -> bool:
        """Has a device lost its driver, or a cell its good verdict?"""
        return bool(self.unbound or self.worse)


def compare_runs(
    before: Mapping[str, str], after: Mapping[str, str], diffs: Iterable[tuple[str, LedgerDiff]]
) -> RunDiff:
    """Put the changes of all cells together; the ones that most cells have come first.

    before, after: cell -> verdict. diffs: of the cells that have a ledger in both.
    """
    both = [name for name in before if name in after]
    found = RunDiff(len(both))
    found.gone = tuple(name for name in before if name not in after)
    found.come = tuple(name for name in after if name not in before)
    spread: dict[str, dict[str, list[str]]] = {}

    def put(kind: str, what: str, cell: str) -> None:
        spread.setdefault(kind, {}).setdefault(what, []).append(cell)

    for name in both:
        was, now = before[name], after[name]
        if was != now:
            put("better" if now == "passed" else "worse" if was == "passed" else "", f"{was} -> {now}", name)
    for name, diff in diffs:
        for kind in ("unbound", "bound", "drivers", "outcomes"):
            for change in getattr(diff, kind):
                put(kind, f"{change.what}: {change.before or 'none'} -> {change.after or 'none'}", name)
        for kind in ("modules_gone", "modules_come"):
            for module in getattr(diff, kind):
                put(kind, module, name)
        for change in diff.times:
            slower = float(change.after) > float(change.before)
            put("slower" if slower else "quicker", change.what, f"{name} ({_times(change)})")
    for kind, rows in spread.items():
        if kind:
            ordered = sorted(rows.items(), key=lambda row: (-len(row[1]), row[0]))
            setattr(found, kind, [Spread(what, tuple(cells)) for what, cells in ordered])
    return found


_TITLES = {
    "worse": "cells that have become worse",
    "unbound": "devices that lost their driver",
    "outcomes": "loads that ended differently",
    "drivers": "devices with another driver",
    "modules_gone": "modules no longer loaded",
    "modules_come": "modules newly loaded",
    "slower": "loads that became slower",
    "better": "cells that have become better",
    "bound": "devices that got a driver",
    "quicker": "loads that became quicker",
}


def diff_lines(diff: RunDiff, most: int = 20) -> list[str]:
    """Return the changes as lines of text, the regressions first."""
    lines = []
    for kind, title in _TITLES.items():
        rows: list[Spread] = getattr(diff, kind)
        if not rows:
            continue
        lines.append(f"{title} ({len(rows)}):")
        lines += [f"  {row.what}  in {_cells(row.cells)}" for row in rows[:most]]
        lines += [f"  and {len(rows) - most} more"] if len(rows) > most else []
    for names, words in ((diff.gone, "in the first run only"), (diff.come, "in the second run only")):
        lines += [f"{len(names)} cells {words}: {_cells(names)}"] if names else []
    return [*(lines or ["nothing changed but small differences in time"]), f"{diff.cells} cells compared"]


def _cells(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more cells" if len(names) > 3 else "")


def _times(change: Change) -> str:
    return f"{change.before} -> {change.after} ms"
