"""A matrix made ready: which cells become jobs, with which keys; what costs a cell, and what the run. No guest."""

from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.errors import InputError
from hostbuild.image.build import ImageOptions
from hostbuild.kernels.kernel import KernelError
from hostbuild.matrix import prepare
from hostbuild.matrix.asked.axes import MatrixKernel
from hostbuild.matrix.asked.job import CellResult, Job, Lost, Parcel, Unable
from hostbuild.matrix.prepare import Plan
from hostbuild.matrix.workers import run_cell
from hostbuild.matrix.workers.parcels import cache_place, find_parcel, keep_parcel, make_parcel, read_content
from hostbuild.ui import Silent
from tests.support.fakecells import make_job

pytestmark = pytest.mark.net


def jobs_of(plan: Plan) -> dict[str, Job]:
    return {one.cell.name: one.job for one in plan.planned if isinstance(one.job, Job)}


def test_cells_become_jobs(plan_of: object) -> None:
    """Those of an image that cannot be made have none; those of a machine for another architecture are left out."""
    assert callable(plan_of)
    plan = plan_of('[kernels]\na = "a"\narm = "b"\nnone = "c"\n' + 'x = "d"\n[tests.boot]\n')
    assert [type(one.job).__name__ for one in plan.planned] == ["Job", "Job", "Lost", "Job"]
    plan = plan_of('machines = ["virtio", "q35"]\n[kernels]\na = "a"\narm = "b"\n')
    assert [one.cell.names[:3] for one in plan.planned] == [
        ("a", "amd64", "virtio"), ("a", "amd64", "q35"), ("arm", "arm64", "virtio")
    ]  # fmt: skip
    assert len(plan.notes) == 1
    assert "1 cells left out" in plan.notes[0]
    with pytest.raises(InputError, match="no cell is left"):
        plan_of('machines = "q35"\n[kernels]\narm = "b"\n')
    [only] = plan_of('[kernels]\na = "a"\narm = "b"\n[[exclude]]\narchitecture = "arm64"\n').planned
    assert only.cell.kernel.name == "a"


def test_keys_change_with_what_decides(plan_of: object, tmp_path: Path) -> None:
    """The machine, words for the kernel, the command, a script's content: another key each; not so an expectation."""
    assert callable(plan_of)
    (tmp_path / "s.sh").write_text("true\n")
    base = 'kernels = ["a"]\n'
    texts = [
        base,
        base + 'append = "quiet"',
        base + 'machines = ["q35"]',
        base + 'devices = ["e1000"]',
        base + 'memory = "700M"',
        base + "cpus = 2",
        base + "timeout = 50",
        base + '[tests.x]\ncommand = "true"',
        base + '[tests.x]\nscript = "s.sh"',
    ]
    keys = [job.key for text in texts for job in jobs_of(plan_of(text)).values()]
    (tmp_path / "s.sh").write_text("false\n")
    keys += [job.key for job in jobs_of(plan_of(texts[-1])).values()]
    assert len(set(keys)) == len(texts) + 1
    [same] = jobs_of(plan_of(base + "[[expect]]\nstatus = 4")).values()
    assert same.key == keys[0]
    assert same.memory > 256


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('machines = ["q36"]', "no machine 'q36'"),
        ('[tests.x]\nscript = "none.sh"', "cannot read the script"),
        ('[tests.x]\npytest = ["none.py"]', "no file"),
        ('[images.x]\nwith = ["netwrk"]', "did you mean network"),
        ('devices = ["e1000"]\n[tests.x]\npytest = ["."]', "devices are not for"),
    ],
)
def test_mistakes_of_the_file_end_the_run(plan_of: object, text: str, words: str) -> None:
    """Before anything is booted."""
    assert callable(plan_of)
    with pytest.raises(InputError, match=words):
        plan_of(f'kernels = ["a"]\n{text}')


def test_a_kernel_that_is_not_there_costs_its_cells() -> None:
    """Its image cannot be made; what make-image says of it is the reason."""
    lost = prepare._parcel(MatrixKernel("x", "/nowhere/vmlinuz"), ImageOptions(modules="none"), Silent())
    assert isinstance(lost, Lost)
    assert lost.cause.startswith("its image cannot be made: ")
    assert issubclass(KernelError, InputError)


def test_an_image_is_known_by_its_content(parcel: Parcel, tmp_path: Path) -> None:
    """It is found where it was made, else in the cache; where neither has it, or something else lies there, not."""
    assert find_parcel(parcel) == Path(parcel.path)
    moved = replace(parcel, path="/nowhere/guest.img")
    assert find_parcel(moved) is None
    assert find_parcel(replace(parcel, digest="0" * 32)) is None
    assert find_parcel(replace(parcel, path=f"/{'x' * 300}/guest.img")) is None  # the system refuses to look
    content = read_content(Path(parcel.path))
    with pytest.raises(InputError, match="damaged on its way"):
        keep_parcel(moved, (content[0][:-1], *content[1:]))
    keep_parcel(moved, content)
    keep_parcel(moved, content)
    found = find_parcel(moved)
    assert found is not None
    assert found.is_relative_to(tmp_path / "cache")
    assert make_parcel(found).digest == parcel.digest


def test_who_shares_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the same directory, by whatever name; not machines of one name, or another user's cache."""
    shared, other, link = (tmp_path / name for name in ("shared", "other", "link"))
    for directory in (shared, other):
        directory.mkdir(mode=0o700)
    link.symlink_to(shared)
    places = []
    for directory in (shared, link, other):
        monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
        places.append(cache_place())
    assert places[0] == places[1] != places[2]


@pytest.mark.parametrize("pytest_too", [False, True])
def test_a_worker_without_qemu(pytest_too: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hands any cell back, before it is sent the image, and before pytest would call that a failure."""
    monkeypatch.setattr("hostbuild.run.find_program", lambda _name: None)
    job = replace(make_job("x"), pytest=("t",) if pytest_too else ())
    outcome = run_cell.run_cell(job)
    assert isinstance(outcome, Unable)
    assert outcome.whole
    assert outcome.cause == "the program qemu-system-x86_64 is not installed"


SUITE = """
import pathlib, time
def test_it(request):
    assert request.config.getoption("--guest-image") == "IMAGE"
    assert request.config.getoption("--guest-machine") == "virtio"
    assert (pathlib.Path(__file__).parent / "data.txt").read_text() == "data"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        (SUITE, 0, "1 passed"),
        ("def test_it():\n    assert 1 == 2\n", 1, "1 failed"),
        ("def not_one():\n    pass\n", 5, "no tests ran"),
        ("import os, signal\ndef test_it():\n    os.kill(os.getpid(), signal.SIGKILL)\n", 137, ""),
    ],
)
def test_suites_of_pytest(tmp_path: Path, source: str, status: int, words: str) -> None:
    """They are run by pytest with the files that came along; its status, or signal, is the cell's."""
    files = (("t/test_it.py", source.replace("IMAGE", str(tmp_path)).encode()), ("t/data.txt", b"data"))
    job = replace(
        make_job("x"), machine=replace(make_job("x").machine, name="virtio"), pytest=("t",), files=files
    )
    result = run_cell._run_pytest(job, tmp_path)
    assert isinstance(result, CellResult)
    assert (result.status, words in result.output) == (status, True), result.output
    assert bool(result.cause) == bool(status)


@pytest.mark.slow
def test_a_suite_that_hangs_is_ended(tmp_path: Path) -> None:
    """At its time limit, with status 124; and at once where the run has been stopped."""
    files = (("test_it.py", b"import time\ndef test_it():\n    time.sleep(1000)\n"),)
    job = replace(make_job("x"), pytest=("test_it.py",), files=files, limit_s=1.0)
    assert run_cell._run_pytest(job, tmp_path).status == 124
    run_cell.stop("stopped")
    assert run_cell._run_pytest(replace(job, run="stopped", limit_s=900.0), tmp_path).status == 137
