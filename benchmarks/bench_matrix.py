"""Figures for docs/matrix.md: what the engine costs a cell, and where it stops scaling, with guests that only wait.

    bench_matrix.py overhead [--cells 500]            two worker processes, guests that take no time
    bench_matrix.py scale [--cells 10000] [--guest-s 2] [--workers 10,50,100,200]
    bench_matrix.py real FILE.toml                    a matrix by two workers, and by one

`scale` has all its workers in one process, beside the scheduler: their event loops share one core, where true ones have
a machine each. So it shows what scheduler and engine cost at the least that the workers' own work leaves them; a true
cluster is quicker. The figure is cells a second against workers / guest-s, which nobody can exceed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "daemon")]

from hostbuild.matrix.asked.job import CellResult, Job  # noqa: E402
from hostbuild.matrix.workers.cluster import own_cluster  # noqa: E402
from hostbuild.matrix.workers.engine import Engine  # noqa: E402
from tests.support.fakecells import make_job, run_fake  # noqa: E402


def overhead(cells: int) -> None:
    """Print milliseconds a cell beside the guest, with two worker processes, and the time until they are there."""
    begin = time.monotonic()
    with own_cluster(2, 4000) as client:
        up = time.monotonic()
        took, cpu = _run(client, [make_job(str(n), "exit", "0") for n in range(cells)])
        print(
            f"cluster up after {up - begin:.2f} s; {cells} cells in {took:.2f} s: {1000 * took / cells:.2f} ms a cell,"
        )
        print(
            f"  of them {1000 * cpu / cells:.2f} ms of processor time in the process of scheduler and engine"
        )


def scale(cells: int, guest_s: float, workers: list[int]) -> None:
    """Print for each number of workers how many cells a second it ran, and how many it could have."""
    from distributed import Client, LocalCluster

    print(f"{cells} cells of {guest_s:g} s")
    print(f"{'workers':>8} {'cells/s':>8} {'at most':>8} {'busy':>6} {'cpu ms a cell':>14}")
    for count in workers:
        resources = {"guest": 1, "memory": 1000}
        with (
            LocalCluster(
                n_workers=count, threads_per_worker=1, processes=False, memory_limit=None, resources=resources,
                dashboard_address="127.0.0.1:0", silence_logs=50,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):  # fmt: skip
            client.wait_for_workers(count)
            took, cpu = _run(client, [make_job(str(n), "sleep", str(guest_s)) for n in range(cells)])
        most = count / guest_s
        print(
            f"{count:8} {cells / took:8.1f} {most:8.1f} {cells / took / most:6.0%} {1000 * cpu / cells:14.2f}",
            flush=True,
        )


def real(file: Path) -> None:
    """Print how long a matrix takes with two workers, and with one. Its images are made before."""
    subprocess.run(
        [sys.executable, "-m", "hostbuild", "matrix", str(file), "--list"], check=True, cwd=PROJECT
    )
    for workers in (2, 1):
        with tempfile.TemporaryDirectory() as scratch:
            argv = [
                sys.executable,
                "-m",
                "hostbuild",
                "matrix",
                str(file),
                "--workers",
                str(workers),
                "--again",
                "--json",
            ]
            begin = time.monotonic()
            done = subprocess.run(
                [*argv, "-o", f"{scratch}/r"], stdout=subprocess.PIPE, check=False, cwd=PROJECT
            )
            print(f"{workers} workers: {time.monotonic() - begin:.1f} s, {json.loads(done.stdout)['counts']}")


def _run(client: "object", jobs: list[Job]) -> tuple[float, float]:
    engine = Engine(client, run_fake, lambda _parcel: (b"", b"", b""))  # type: ignore[arg-type]
    begin, cpu = time.monotonic(), time.process_time()
    done = sum(isinstance(outcome, CellResult) for _, outcome in engine.run(jobs))
    assert done == len(jobs)
    return time.monotonic() - begin, time.process_time() - cpu


def main() -> None:
    """Take the command line apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("overhead")
    one.add_argument("--cells", type=int, default=500)
    two = kinds.add_parser("scale")
    two.add_argument("--cells", type=int, default=10_000)
    two.add_argument("--guest-s", type=float, default=2.0)
    two.add_argument("--workers", default="10,50,100,200")
    three = kinds.add_parser("real")
    three.add_argument("file", type=Path)
    asked = parser.parse_args()
    if asked.kind == "overhead":
        overhead(asked.cells)
    elif asked.kind == "scale":
        scale(asked.cells, asked.guest_s, [int(word) for word in asked.workers.split(",")])
    else:
        real(asked.file)


if __name__ == "__main__":
    main()
