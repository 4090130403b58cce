"""hostbuild diff: what changed between two boots, or between two runs of a matrix."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from hostbuild import ui
from hostbuild.commands import _options
from hostbuild.errors import InputError
from hostbuild.fs.path_types import InputPath
from hostbuild.ledger.diff import Change, LedgerDiff, compare
from hostbuild.ledger.file import read_history

_SHOWN = 10  # rows of a section of little weight; --json has all
_EPILOG = """Exit status 1 if a device that had a driver in LEDGER_A has none in LEDGER_B: a regression.
Where both are directories that `hostbuild matrix` wrote, all cells that both
have are compared; one that was as expected and is not any more is a
regression, too.

\b
Examples:
  hostbuild diff kernel-6.1.jsonl kernel-6.12.jsonl
  hostbuild diff results-monday results-tuesday
"""


@click.command("diff", epilog=_EPILOG)
@click.argument("ledger_a", type=InputPath())
@click.argument("ledger_b", type=InputPath())
@_options.as_json("the differences")
def command(ledger_a: Path, ledger_b: Path, as_json: bool) -> int:
    """Say what changed from the boot LEDGER_A to the boot LEDGER_B: devices, drivers, modules, times."""
    if ledger_a.is_dir() and ledger_b.is_dir():
        return _of_runs(ledger_a, ledger_b, as_json=as_json)
    diff = compare(read_history(ledger_a), read_history(ledger_b))
    if as_json:
        ui.print_json({"regression": diff.regression} | asdict(diff))
    else:
        for line in _lines(diff):
            ui.line(line)
    return int(diff.regression)


def _of_runs(before: Path, after: Path, *, as_json: bool) -> int:
    from hostbuild.matrix.results.compare import compare_runs, diff_lines
    from hostbuild.matrix.results.compared import diffs_of, verdicts_of
    from hostbuild.matrix.results.store import read_run

    old, new = read_run(before), read_run(after)
    diff = compare_runs(verdicts_of(old), verdicts_of(new), diffs_of((before, old), (after, new)))
    if not diff.cells:
        raise InputError(
            f"the runs in {before} and {after} have no cell in common: each has kernels, machines, images or tests of "
            "other names",
            hint='give kernels the same names in both: [kernels] stable = "deb:..."',
        )
    if as_json:
        ui.print_json({"regression": diff.regression} | asdict(diff))
    else:
        for line in diff_lines(diff):
            ui.line(line)
    return int(diff.regression)


def _lines(diff: LedgerDiff) -> list[str]:
    lines = _changes("devices that lost their driver", diff.unbound, 0)
    lines += _changes("devices that got a driver", diff.bound, 0)
    lines += _changes("devices with another driver", diff.drivers, 0)
    lines += _changes("loads that ended differently", diff.outcomes, 0)
    lines += _names("modules no longer loaded", diff.modules_gone, 0)
    lines += _names("modules newly loaded", diff.modules_come, 0)
    lines += _names("devices without a driver that are gone", diff.gone, _SHOWN)
    lines += _names("devices without a driver that are new", diff.come, _SHOWN)
    lines += _changes("loading times", diff.times, _SHOWN, " ms")
    if not lines:
        lines.append("nothing changed but small differences in time")
    settle = diff.settle
    lines.append(f"settled after {settle.before or '?'} ms, now after {settle.after or '?'} ms")
    return lines


def _changes(title: str, changes: Sequence[Change], limit: int, unit: str = "") -> list[str]:
    rows = [f"{c.what}: {_or_none(c.before)}{unit} -> {_or_none(c.after)}{unit}" for c in changes]
    return _names(title, rows, limit)


def _or_none(value: str) -> str:
    return value or "none"


def _names(title: str, names: Sequence[str], limit: int) -> list[str]:
    if not names:
        return []
    shown = names[:limit] if limit else names
    more = [f"  and {len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return [f"{title} ({len(names)}):", *(f"  {name}" for name in shown), *more]
