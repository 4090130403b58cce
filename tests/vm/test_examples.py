"""The examples, as a project runs them that has never seen ours: the built wheel in a fresh environment, far from here.

Each is copied to a directory of its own, where nothing of the checkout can be imported.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import PROJECT

pytestmark = [pytest.mark.vm, pytest.mark.net]

EXAMPLES = PROJECT / "examples"
_INSTALL_S = 600.0
_SUITE_S = 1800.0


def _run(words: list[str | Path], *, timeout: float, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without what would lead it to the checkout."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "COV"))}
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=timeout, cwd=cwd, env=env, check=False
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with what its extra `pytest` brings; skip where PyPI is out of reach."""
    place = tmp_path_factory.mktemp("fresh")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    built = _run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place / "dist", PROJECT],
        timeout=_INSTALL_S,
        cwd=place,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = (place / "dist").glob("*.whl")
    made = _run([sys.executable, "-m", "venv", place / "venv"], timeout=_INSTALL_S, cwd=place)
    assert made.returncode == 0, made.stderr
    pip[0] = str(place / "venv/bin/python")
    words: list[str | Path] = [
        *pip,
        "install",
        "-c",
        PROJECT / "constraints.txt",
        f"{wheel}[pytest]",
        "pytest-xdist",
    ]
    installed = _run(words, timeout=_INSTALL_S, cwd=place)
    if installed.returncode != 0 and "No matching distribution" in installed.stderr:
        pytest.skip(f"PyPI cannot be reached: {installed.stderr.strip().splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    return place


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_an_example_passes_with_the_wheel(example: str, fresh: Path, tmp_path: Path) -> None:
    """All its tests pass (those without a compiler skip), with no line of the checkout imported."""
    shutil.copytree(EXAMPLES / example, tmp_path / example)
    words: list[str | Path] = [
        fresh / "venv/bin/python",
        "-m",
        "pytest",
        "-q",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
    ]
    done = _run([*words, "--guest-accel", "tcg", example], timeout=_SUITE_S, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " passed" in done.stdout or " skipped" in done.stdout


def test_the_wheel_is_what_runs_there(fresh: Path, tmp_path: Path) -> None:
    """The fresh environment imports the installed files, and they hold what an image is made of."""
    script = (
        "import hostbuild, modaliasd; from hostbuild.image.sources import daemon, overlay; "
        "from hostbuild.qemu.machine import machine_names; "
        "print(hostbuild.__file__, modaliasd.__file__, overlay.find_own()); "
        "print(len(daemon.require_sources()), *machine_names())"
    )
    done = _run([fresh / "venv/bin/python", "-c", script], timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    paths, known = done.stdout.splitlines()
    assert all(path.startswith(str(fresh)) for path in paths.split())
    assert int(known.split()[0]) > 80
    assert {"empty", "q35", "virtio"} <= set(known.split())


def test_an_image_made_run_and_reported_there(fresh: Path, tmp_path: Path) -> None:
    """The commands of the README's first page, by the wheel alone, in a folder of nobody's."""
    hostbuild = fresh / "venv/bin/hostbuild"
    for words in (
        ["make-image", "-o", "micro.img", "--modules", "virtio"],
        ["run", "micro.img", "--accel", "tcg", "--exit-when-settled", "--ledger-out", "boot.jsonl"],
        ["report", "boot.jsonl", "-o", "report.html"],
    ):
        done = _run([hostbuild, *words], timeout=_SUITE_S, cwd=tmp_path)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    assert "virtio_net" in (tmp_path / "report.html").read_text(encoding="utf-8")
