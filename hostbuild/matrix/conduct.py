"""A run from its plan to its rows: what is kept is taken as it is, the rest is run, and each result is kept at once."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from hostbuild.fs.files import write_file
from hostbuild.log import debug
from hostbuild.matrix.asked.axes import Spec
from hostbuild.matrix.asked.cells import Cell, Expected, expected_of
from hostbuild.matrix.asked.job import CellResult, Job, Lost, Runner
from hostbuild.matrix.prepare import Plan
from hostbuild.matrix.results.rows import Row
from hostbuild.matrix.results.store import CONSOLE, LEDGER, OUTPUT, REPORT, Store
from hostbuild.matrix.results.verdict import Verdict, judge
from hostbuild.matrix.workers.engine import Engine
from hostbuild.matrix.workers.parcels import read_parcel
from hostbuild.report.html import render_html
from hostbuild.report.model import make_model
from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.history import History, history_of
from modaliasd.core.ledger.read import LedgerReader

if TYPE_CHECKING:
    from distributed import Client

Hear = Callable[[Row], None]
Cluster = Callable[[Sequence[Job]], AbstractContextManager["Client"]]


def conduct(
    spec: Spec,
    plan: Plan,
    store: Store,
    *,
    cluster: Cluster,
    runner: Runner,
    again: Callable[[Row], bool],
    hear: Hear,
    note: Callable[[str], None],
) -> Generator[Row, None, None]:
    """Yield the row of each cell, as they are done: first those whose results are there.

    cluster: opens what the jobs run on; not called where there are none. again: whether a cell whose result is there
    is run nevertheless. hear: is told of each row. Cells of one key (the same guest twice) are run once.
    """
    open_jobs: dict[str, list[tuple[Cell, Job]]] = {}
    for one in plan.planned:
        if isinstance(one.job, Lost):
            row = row_of(one.cell, None, one.job, expected_of(spec, one.cell), None)
        else:
            found = store.find(one.job.key)
            kept = _finished(spec, one.cell, one.job, found, store, kept=True) if found is not None else None
            if kept is None or again(kept):
                open_jobs.setdefault(one.job.key, []).append((one.cell, one.job))
                continue
            row = kept
        hear(row)
        yield row
    if not open_jobs:
        return
    jobs = [pairs[0][1] for pairs in open_jobs.values()]
    with cluster(jobs) as client:
        engine = Engine(client, runner, read_parcel)
        told = 0
        with contextlib.closing(engine.run(jobs)) as results:
            for job, outcome in results:
                for text in engine.notes[told:]:
                    note(text)
                told = len(engine.notes)
                if isinstance(outcome, CellResult):
                    store.keep(job.key, job.name, outcome)
                for cell, own in open_jobs[job.key]:
                    row = _finished(spec, cell, own, outcome, store)
                    hear(row)
                    yield row


def row_of(
    cell: Cell, key: str | None, outcome: CellResult | Lost, expected: Expected, history: History | None
) -> Row:
    """Return a cell's row."""
    found = judge(outcome, expected, history)
    fix = outcome.hint if found.verdict is not Verdict.PASSED else ""
    if isinstance(outcome, Lost):
        return Row(*cell.names, found.verdict, complaints=found.complaints, fix=fix)
    settled = (
        history.settled_us - history.started_us if history is not None and history.settled_us >= 0 else -1
    )
    return Row(
        *cell.names,
        found.verdict,
        key=key,
        status=outcome.status,
        seconds=outcome.seconds,
        settled_ms=settled / 1000 if settled >= 0 else None,
        complaints=found.complaints,
        fix=fix,
        notes=outcome.notes,
    )


def files_of(store: Store, key: str) -> tuple[str, ...]:
    """Return what of a cell's there is to look at, the best first."""
    return tuple(name for name in (REPORT, LEDGER, OUTPUT, CONSOLE) if (store.place(key) / name).is_file())


def history_in(ledger: bytes) -> History | None:
    """Return what a ledger tells; None where there is none that can be read."""
    try:
        records = LedgerReader().feed(ledger)
    except FormatError as e:
        debug("matrix", f"a ledger cannot be read: {e}")
        return None
    return history_of(records) if records else None


def _finished(
    spec: Spec, cell: Cell, job: Job, outcome: CellResult | Lost, store: Store, *, kept: bool = False
) -> Row:
    """Judge an outcome, and draw the report of a result that has none yet."""
    history = history_in(outcome.ledger) if isinstance(outcome, CellResult) and outcome.ledger else None
    row = row_of(cell, job.key, outcome, expected_of(spec, cell), history)
    report = store.place(job.key) / REPORT
    if history is not None and not report.exists():
        page = render_html(make_model(history, title=cell.name))
        write_file(report, page.encode("utf-8", "backslashreplace"), "a cell's report")
    return replace(row, kept=kept)
