"""A run from plan to rows: what is kept is not run again, whatever ended the run before. With fakes for the engine."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hostbuild.matrix import conduct as conducting
from hostbuild.matrix.asked.cells import cells_of
from hostbuild.matrix.asked.job import CellResult, Job, Lost
from hostbuild.matrix.asked.spec import parse_spec
from hostbuild.matrix.conduct import conduct, files_of
from hostbuild.matrix.prepare import Plan, Planned
from hostbuild.matrix.results.rows import Row
from hostbuild.matrix.results.store import Store, opened
from hostbuild.matrix.results.verdict import Verdict
from tests.support.fakecells import make_job, run_fake
from tests.support.ledgers import small_boot

SPEC = parse_spec(
    'kernels = ["a", "b", "c", "same", "none"]\n[[expect]]\nkernel = "a"\nmodules = ["nic"]\n',
    Path("/m.toml"),
)
_STATUS = {"a": 0, "b": 1, "c": 0}


class Engine:
    """Runs jobs here and now; `ran`: their names. A job of the name b fails, one of c is lost the first time."""

    ran: ClassVar[list[str]] = []
    lost: ClassVar[set[str]] = set()
    notes = ("a note",)

    def __init__(self, *_given: object) -> None:
        pass

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, CellResult | Lost], None, None]:
        """As the engine's."""
        for job in jobs:
            self.ran.append(job.name)
            if job.name in self.lost:
                yield job, Lost("no worker can boot it")
            else:
                yield job, CellResult(_STATUS[job.name], 0.5, ledger=small_boot().text().encode())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(conducting, "Engine", Engine)
    monkeypatch.setattr(Engine, "ran", [])
    monkeypatch.setattr(Engine, "lost", set())
    with opened(tmp_path / "r") as store:
        yield store


def plan() -> Plan:
    """Four cells with jobs, two of which are one, and one without."""
    jobs: dict[str, Job | Lost] = {name: make_job(name) for name in ("a", "b", "c")}
    jobs |= {"same": jobs["a"], "none": Lost("its image cannot be made: no")}
    return Plan(tuple(Planned(cell, jobs[cell.kernel.name]) for cell in cells_of(SPEC)), ())


def run(store: Store, again: Any = lambda _row: False) -> Generator[Row, None, None]:
    heard: list[Row] = []
    notes: list[str] = []
    cluster: Any = lambda _jobs: contextlib.nullcontext()  # noqa: E731
    yield from conduct(
        SPEC,
        plan(),
        store,
        cluster=cluster,
        runner=run_fake,
        again=again,
        hear=heard.append,
        note=notes.append,
    )
    assert notes in ([], ["a note"])


def test_results_are_kept_and_not_run_again(store: Store) -> None:
    """Each key is run once, for all cells that have it; the next run has only what was lost to run."""
    Engine.lost = {"c"}
    rows = {row.kernel: row for row in run(store)}
    assert Engine.ran == ["a", "b", "c"]
    assert {name: row.verdict for name, row in rows.items()} == {
        "a": Verdict.PASSED, "same": Verdict.PASSED, "b": Verdict.FAILED, "c": Verdict.LOST, "none": Verdict.LOST
    }  # fmt: skip
    assert rows["a"].settled_ms is not None
    assert files_of(store, str(rows["a"].key)) == ("report.html", "ledger.jsonl")
    Engine.ran, Engine.lost = [], set()
    again = {row.kernel: row for row in run(store)}
    assert Engine.ran == ["c"]
    assert [name for name, row in again.items() if row.kept] == ["a", "b", "same"]
    Engine.ran = []
    assert [row.kernel for row in run(store, lambda row: row.verdict is not Verdict.PASSED)].count("b") == 1
    assert Engine.ran == ["b"]


def test_a_run_that_ends_early_keeps_what_it_has(store: Store) -> None:
    """Whoever leaves after the first result has that; the next run goes on behind it."""
    with contextlib.closing(run(store)) as rows:
        assert [next(rows).kernel for _ in range(2)] == ["none", "a"]
    assert Engine.ran == ["a"]
    Engine.ran = []
    assert len(list(run(store))) == 5
    assert Engine.ran == ["b", "c"]
