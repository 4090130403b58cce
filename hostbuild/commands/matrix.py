"""hostbuild matrix: kernels by machines by images by tests, on this machine or on several."""

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hostbuild import log, ui
from hostbuild.commands import _options
from hostbuild.fs.files import read_input, write_file
from hostbuild.fs.path_types import InputPath, OutputPath
from hostbuild.matrix.asked.axes import Spec
from hostbuild.matrix.asked.cells import Cell, cells_of
from hostbuild.matrix.asked.job import Job
from hostbuild.matrix.asked.spec import parse_spec
from hostbuild.matrix.results.rows import Row, counts, summary_lines
from hostbuild.matrix.results.verdict import Verdict
from modaliasd import __version__

if TYPE_CHECKING:
    from distributed import Client

    from hostbuild.matrix.results.store import Store

_EPILOG = """\b
FILE names what is to be booted (docs/matrix.md):
  kernels = ["deb:linux-image-amd64", "deb:linux-image-amd64/trixie"]
  machines = ["virtio", "q35"]
  [images.small]
  modules = "virtio,e1000"
  [tests.boot]
  [tests.loads]
  command = "modprobe loop && test -d /sys/module/loop"
  [[expect]]
  machine = "q35"
  bound = ["e1000"]

Results are kept as they come, in a directory beside FILE: what is there is not run again, whatever ended the run
before. In it are index.html, with a report of each boot; junit.xml; run.json; and each cell's ledger, console and
output. `hostbuild diff DIR1 DIR2` compares two runs.

\b
The exit status:
  0         all cells are as expected
  1         a cell is not, or has no result
  100, 111  FILE or what it names, or this machine or the cluster, is at fault
  130, 143  ended by Ctrl-C, by SIGTERM: no guest is left, results are kept

\b
Examples:
  hostbuild matrix matrix.toml
  hostbuild matrix matrix.toml --list
  hostbuild matrix matrix.toml --workers 8 -o results --again-failed
  hostbuild matrix matrix.toml --scheduler tcp://10.0.0.1:8786 --junit j.xml
  hostbuild matrix matrix.toml --ssh big --ssh me@other
  hostbuild matrix matrix.toml --emit lava --url https://example.org/x -o jobs
  hostbuild diff results-6.1 results-6.12
"""


@click.command("matrix", epilog=_EPILOG)
@click.argument("file", type=InputPath(), metavar="FILE")
@click.option(
    "-o",
    "--output",
    type=OutputPath("the results", directory=True, parents=True),
    metavar="DIR",
    help="Where the results are kept, or a lab's files are written. Default: FILE's name with -results (-lava, "
    "-labgrid) in the place of .toml.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 512),
    metavar="N",
    help="How many guests run on this machine at a time. Default: one a CPU, if the memory is enough.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on the workers of this dask scheduler instead: tcp://HOST:8786.",
)
@click.option(
    "--ssh",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Run on this computer instead, by ssh, as many guests at a time as it has CPUs; may be repeated.",
)
@click.option(
    "--ssh-python",
    default="python3",
    show_default=True,
    metavar="PYTHON",
    help="The interpreter on these that has hostbuild and dask: /opt/venv/bin/python.",
)
@click.option("--again", is_flag=True, help="Run all cells, also those whose results are there.")
@click.option("--again-failed", is_flag=True, help="Run those again that were not as expected.")
@click.option(
    "--junit", type=OutputPath("the JUnit file"), metavar="FILE", help="Write JUnit's XML to FILE, too."
)
@click.option("--list", "list_only", is_flag=True, help="List the cells, and run nothing.")
@click.option(
    "--emit",
    type=click.Choice(["lava", "labgrid"]),
    help="Run nothing here: write job files for LAVA, or environments for labgrid, with kernels and images, into DIR.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Where LAVA will find DIR. Default: where it is, for a dispatcher on this machine.",
)
@_options.as_json("the cells with what became of them")
def command(
    file: Path,
    output: Path | None,
    workers: int | None,
    scheduler: str | None,
    hosts: tuple[str, ...],
    ssh_python: str,
    again: bool,
    again_failed: bool,
    junit: Path | None,
    list_only: bool,
    emit: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Boot each kernel of FILE on each machine, with each image, for each test; say which did as expected."""
    if (workers is not None) + (scheduler is not None) + bool(hosts) > 1:
        raise click.UsageError(
            "--workers is for this machine, --scheduler and --ssh are for others: they are mutually exclusive"
        )
    from hostbuild.matrix.workers.ssh import check_host

    for host in hosts:
        check_host(host)
    if url is not None and emit != "lava":
        raise click.UsageError("--url is for --emit lava: nobody else fetches anything")
    text = read_input(file, "the matrix").decode("utf-8", "replace")
    spec = parse_spec(text, file.absolute())
    cells = cells_of(spec)
    if list_only:
        _list(cells, as_json=as_json)
        return 0
    if emit is not None:
        place = output if output is not None else _beside(file, emit)
        return _emit(spec, cells, emit, place, url, as_json=as_json)
    from hostbuild.matrix.results.store import opened
    from hostbuild.matrix.workers.cluster import require_dask

    require_dask()
    with opened(output if output is not None else _beside(file)) as store:
        rows = _run(
            spec,
            cells,
            store,
            _cluster(workers, scheduler, hosts, ssh_python),
            _again(again, again_failed),
            as_json=as_json,
        )
        _write(spec, store, rows, junit)
    if as_json:
        ui.print_json(_jsonable(spec, rows))
    else:
        ui.lines("\n".join(summary_lines(rows)))
        ui.line(f"{store.directory / 'index.html'}")
    return int(any(row.verdict is not Verdict.PASSED for row in rows))


def _run(
    spec: Spec,
    cells: Sequence[Cell],
    store: "Store",
    cluster: Callable[[Sequence[Job]], AbstractContextManager["Client"]],
    again: Callable[[Row], bool],
    *,
    as_json: bool,
) -> list[Row]:
    from hostbuild.matrix.conduct import conduct
    from hostbuild.matrix.prepare import make_plan
    from hostbuild.matrix.results.table import live_table
    from hostbuild.matrix.workers.run_cell import run_cell

    reporter = ui.reporter(as_json=as_json)
    plan = make_plan(spec, cells, secrets.token_hex(8), reporter)
    for text in plan.notes:
        ui.note(text)
    planned = [one.cell for one in plan.planned]
    shown = not isinstance(reporter, ui.Silent) and not log.is_on()
    with (
        live_table(planned, shown=shown) as hear,
        closing(
            conduct(spec, plan, store, cluster=cluster, runner=run_cell, again=again, hear=hear, note=ui.note)
        ) as rows,
    ):
        done = []
        try:
            for row in rows:
                done.append(row)  # noqa: PERF402 - what is done counts where the rest is not
        except (KeyboardInterrupt, SystemExit):
            ui.note(f"{len(done)} of {len(planned)} cells are done, and kept in {store.directory}")
            raise
    places = {cell.name: number for number, cell in enumerate(planned)}
    return sorted(done, key=lambda row: places[row.name])


def _emit(
    spec: Spec, cells: Sequence[Cell], emit: str, directory: Path, url: str | None, *, as_json: bool
) -> int:
    from hostbuild.matrix.emit.laid import Lab, check_url, lay, require_empty
    from hostbuild.matrix.prepare import make_plan

    require_empty(directory)
    if url is not None:
        check_url(url)
    plan = make_plan(spec, cells, "", ui.reporter(as_json=as_json))
    laid = lay(Lab(emit), spec, plan, directory, url)
    for text in (*plan.notes, *laid.notes):
        ui.note(text)
    if as_json:
        ui.print_json({"directory": str(directory), "files": [str(path) for path in laid.files]})
    else:
        ui.lines("\n".join(map(str, laid.files)))
    return 0


def _cluster(
    workers: int | None, scheduler: str | None, hosts: Sequence[str], python: str
) -> Callable[[Sequence[Job]], AbstractContextManager["Client"]]:
    from hostbuild.matrix.workers.cluster import connected, free_memory, own_cluster, workers_for
    from hostbuild.matrix.workers.ssh import ssh_cluster

    def opened(jobs: Sequence[Job]) -> AbstractContextManager["Client"]:
        if scheduler is not None:
            return connected(scheduler)
        if hosts:
            return ssh_cluster(hosts, python, ui.note)
        largest = max(job.memory for job in jobs)
        count = min(workers, len(jobs)) if workers is not None else workers_for(largest, len(jobs))
        return own_cluster(count, free_memory())

    return opened


def _again(everything: bool, failed: bool) -> Callable[[Row], bool]:
    return lambda row: everything or (failed and row.verdict is not Verdict.PASSED)


def _write(spec: Spec, store: "Store", rows: Sequence[Row], junit: Path | None) -> None:
    from hostbuild.matrix.conduct import files_of
    from hostbuild.matrix.results.junit import render_junit
    from hostbuild.matrix.results.page import render_page
    from hostbuild.matrix.results.store import write_run

    write_run(store.directory, _jsonable(spec, rows))
    xml = render_junit(rows, spec.path.stem)
    write_file(store.directory / "junit.xml", xml, "the JUnit file")
    if junit is not None:
        write_file(junit, xml, "the JUnit file")
    files = {row.key: files_of(store, row.key) for row in rows if row.key is not None}
    about = f"{time.strftime('%Y-%m-%d %H:%M')}, hostbuild {__version__}"
    page = render_page(rows, spec.path.stem, about, files)
    write_file(store.directory / "index.html", page.encode("utf-8", "backslashreplace"), "the page")


def _jsonable(spec: Spec, rows: Sequence[Row]) -> dict[str, Any]:
    from hostbuild.matrix.results.store import FORMAT

    return {
        "format": FORMAT,
        "matrix": spec.path.name,
        "version": __version__,
        "counts": counts(rows),
        "cells": [row.jsonable() for row in rows],
    }


def _list(cells: Sequence[Cell], *, as_json: bool) -> None:
    if as_json:
        keys = ("kernel", "architecture", "machine", "image", "test")
        ui.print_json([{"name": cell.name} | dict(zip(keys, cell.names, strict=True)) for cell in cells])
        return
    for cell in cells:
        ui.line(cell.name)
    if sys.stdout.isatty():
        ui.line(f"{len(cells)} cells")


def _beside(file: Path, what: str = "results") -> Path:
    return file.with_name(f"{file.name.removesuffix('.toml')}-{what}")
