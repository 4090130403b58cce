"""Cells handed to true dask workers, two processes of this machine, with fake guests: tests/support/fakecells.py."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostbuild.errors import UsageError, WorldError
from hostbuild.matrix.asked.job import CellResult, Job, Lost, Parcel
from hostbuild.matrix.workers.cluster import connected, own_cluster
from hostbuild.matrix.workers.engine import Engine
from hostbuild.matrix.workers.parcels import Content
from hostbuild.run import end_group, spawn
from tests.support.fakecells import make_job, run_fake
from tests.support.places import PROJECT
from tests.support.programs import require_program

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

pytest.importorskip("distributed", reason="the extra matrix is not installed")

Outcomes = dict[str, CellResult | Lost]


def no_content(_parcel: Parcel) -> Content:
    raise AssertionError("nobody lacks anything")


def run_all(engine: Engine, jobs: list[Job]) -> Outcomes:
    found: Outcomes = {}
    for job, outcome in engine.run(jobs):
        assert job.name not in found, "a cell has one outcome"
        found[job.name] = outcome
    return found


def result_of(outcomes: Outcomes, name: str) -> CellResult:
    found = outcomes[name]
    assert isinstance(found, CellResult), found
    return found


@pytest.fixture(scope="module")
def client() -> Iterator["Client"]:
    """A cluster of two worker processes, 2,000 MiB for the guests of each."""
    require_program("openssl")
    with own_cluster(2, 4000) as client:
        yield client


def test_each_cell_is_run_once_and_a_failure_is_a_result(client: "Client") -> None:
    """Twenty cells, one slow, some that fail: each has its own result, and none has two."""
    jobs = [make_job("slow", "sleep", "2")]
    jobs += [make_job(f"c{number}", "exit", str(number % 3)) for number in range(19)]
    found = run_all(Engine(client, run_fake, no_content), jobs)
    assert found.keys() == {job.name for job in jobs}
    assert [result_of(found, f"c{number}").status for number in range(19)] == [n % 3 for n in range(19)]
    assert list(found)[-1] == "slow" or len({result_of(found, name).output for name in found}) == 2


def test_a_cell_whose_worker_dies_is_run_again(client: "Client", tmp_path: Path) -> None:
    """The worker is killed in the middle of it: another takes the cell; the others lose nothing."""
    jobs = [make_job("victim", "die", str(tmp_path / "died"))]
    jobs += [make_job(f"c{number}", "sleep", "0.1") for number in range(8)]
    found = run_all(Engine(client, run_fake, no_content), jobs)
    assert (tmp_path / "died").exists()
    assert [result_of(found, job.name).status for job in jobs] == [0] * 9


def test_a_cell_that_kills_each_worker_is_given_up(client: "Client", tmp_path: Path) -> None:
    """After several of them, and some more where it was alone; those that were beside it have their results."""
    log = tmp_path / "log"
    jobs = [make_job("bad", "always-die", str(log))] + [make_job(f"good{n}", "exit", "0") for n in range(4)]
    found = run_all(Engine(client, run_fake, no_content), jobs)
    bad = found["bad"]
    assert isinstance(bad, Lost)
    assert "lost" in bad.cause or "never came to its end" in bad.cause
    assert 2 <= len(log.read_text()) <= 40
    assert [result_of(found, f"good{n}").status for n in range(4)] == [0] * 4


def test_what_no_worker_can_hold_is_said(client: "Client") -> None:
    """A guest of more memory than any worker has is no reason to wait for ever; a bug of the runner has its words."""
    jobs = [
        make_job("huge", "exit", "0", memory=3000),
        make_job("bug", "raise"),
        make_job("good", "exit", "0"),
    ]
    found = run_all(Engine(client, run_fake, no_content), jobs)
    huge, bug = found["huge"], found["bug"]
    assert isinstance(huge, Lost)
    assert huge.cause == "no worker takes a guest of 3000 MiB: the largest has 2000"
    assert isinstance(bug, Lost)
    assert "ValueError: a bug" in bug.cause
    assert result_of(found, "good").status == 0


def test_whoever_stops_listening_leaves_nothing_running(client: "Client") -> None:
    """The iteration is left with cells on their way: they are forgotten, and the workers take the next ones."""
    engine = Engine(client, run_fake, no_content)
    with contextlib.closing(engine.run([make_job(f"c{n}", "sleep", "0.2") for n in range(50)])) as results:
        next(results)
    found = run_all(Engine(client, run_fake, no_content), [make_job("next", "exit", "4")])
    assert result_of(found, "next").status == 4


def test_others_are_kept_out(client: "Client") -> None:
    """Who knows the scheduler's address, but not the run's key, is not heard: by no protocol."""
    _, _, place = client.scheduler.address.partition("://")
    for protocol in ("tcp", "tls"):
        with pytest.raises((WorldError, UsageError)), connected(f"{protocol}://{place}", patience_s=3):
            pass
    assert list(Engine(client, run_fake, no_content).run([make_job("after", "exit", "0")]))


@contextlib.contextmanager
def worker(address: str, directory: Path, **environment: str) -> Iterator[None]:
    """A worker as somebody starts it on another machine, with a cache of its own."""
    argv = [
        sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
        "--no-dashboard", "--host", "127.0.0.1", "--resources", "guest=1 memory=1000",
        "--local-directory", str(directory),
    ]  # fmt: skip
    paths = [str(PROJECT), str(PROJECT / "daemon"), *sys.path]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "XDG_CACHE_HOME": str(directory)}
    with (directory / "log").open("wb") as log:
        process = spawn(argv, stdout=log, stderr=log, env=env | environment, new_session=True)
    try:
        yield
    finally:
        end_group(process)


@pytest.fixture
def scheduler() -> Iterator["LocalCluster"]:
    """A scheduler without workers."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1", protocol="tcp://", silence_logs=50
    ) as cluster:
        yield cluster


def test_workers_elsewhere(
    scheduler: "LocalCluster", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers with caches of their own, one without QEMU.

    What needs QEMU is run on the other, and the lack is told once. An image goes to each worker that lacks it, once,
    and is then in its own cache; damaged on its way it is not taken. Without any worker left, the run is an error.
    """
    from hostbuild.matrix.workers.parcels import _digest

    content = (b"image", b"manifest", b"kernel")
    sent = []

    def content_of(parcel: Parcel) -> Content:
        sent.append(parcel.digest)
        return content if parcel is not damaged else (b"other", b"", b"")

    there = Parcel(_digest(content), "/nowhere", 19)
    damaged = Parcel("1" * 32, "/nowhere", 19)
    caches = [tmp_path / "one", tmp_path / "two"]
    for cache in caches:
        cache.mkdir()
    address = scheduler.scheduler_address
    with connected(address) as client, contextlib.ExitStack() as stack:
        stack.enter_context(worker(address, caches[0], FAKE_NO_QEMU="1"))
        stack.enter_context(worker(address, caches[1]))
        client.wait_for_workers(2, timeout=300)
        jobs = [make_job(f"q{n}", "qemu") for n in range(6)]
        jobs += [make_job(f"i{n}", "image", parcel=there) for n in range(12)]
        jobs += [make_job(f"s{n}", "sleep", "0.2") for n in range(4)]
        engine = Engine(client, run_fake, content_of, patience_s=3)
        found = run_all(engine, jobs)
        assert {result_of(found, job.name).status for job in jobs} == {0}
        assert len({result_of(found, f"q{n}").output for n in range(6)}) == 1
        assert len([note for note in engine.notes if "boots no amd64 guests" in note]) <= 1
        for number in range(12):
            home, path = result_of(found, f"i{number}").output.split(" ")
            assert Path(path).is_relative_to(home)
            assert Path(path).read_bytes() == b"image"
        assert 1 <= len(sent) <= 2
        [(_, lost)] = Engine(client, run_fake, content_of).run([make_job("d", "image", parcel=damaged)])
        assert isinstance(lost, Lost)
        assert "damaged on its way" in lost.cause
        stack.close()
        with pytest.raises(WorldError, match="no worker is there: 1 cells were not run"):
            run_all(engine, [make_job("x", "exit", "0")])


def test_nobody_listens_there() -> None:
    """An address where no scheduler is, and one that is none, are errors in words."""
    with pytest.raises(UsageError, match="--scheduler"), connected("htp://x:1"):
        pass
