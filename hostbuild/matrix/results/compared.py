"""The ledgers of two runs, read in pairs and compared."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hostbuild.ledger.diff import LedgerDiff, compare
from hostbuild.ledger.file import read_history
from hostbuild.matrix.results.store import LEDGER, Store

Run = tuple[Path, Mapping[str, Any]]  # a directory, and what its run.json says


def verdicts_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Return each cell's verdict."""
    return {row["name"]: row["verdict"] for row in run["cells"]}


def diffs_of(before: Run, after: Run) -> Iterator[tuple[str, LedgerDiff]]:
    """Yield what changed in each cell that has a ledger in both runs. Raises InputError for a damaged one."""
    old, new = _ledgers(*before), _ledgers(*after)
    for name, path in old.items():
        if name in new:
            yield name, compare(read_history(path), read_history(new[name]))


def _ledgers(directory: Path, run: Mapping[str, Any]) -> dict[str, Path]:
    """Return the cells' ledgers. A result may have been removed since."""
    store = Store(directory)
    found = {row["name"]: store.place(row["key"]) / LEDGER for row in run["cells"] if row["key"] is not None}
    return {name: path for name, path in found.items() if path.is_file()}
