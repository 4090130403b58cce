"""What is released: the source archive has all that the wheel needs, and git is not asked for any of it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from modaliasd import __version__
from tests.support.places import PROJECT

pytestmark = pytest.mark.slow

_LIMIT_S = 300.0


def _run(words: list[str | Path], cwd: Path) -> None:
    env = {**os.environ, "GIT_DIR": "/nonexistent"}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr


def _wheel_of(sources: Path, place: Path) -> dict[str, bytes]:
    """What is in the wheel of a source tree, by name."""
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-deps"]
    _run([*words, "--no-build-isolation", "-w", place, sources], place)
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The wheel of the checkout."""
    return _wheel_of(PROJECT, tmp_path_factory.mktemp("wheel"))


def test_the_source_archive_makes_the_same_wheel(wheel: dict[str, bytes], tmp_path: Path) -> None:
    """Unpacked somewhere else, without git: the same files with the same bytes."""
    _run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path / "dist"], PROJECT)
    [archive] = (tmp_path / "dist").glob("*.tar.gz")
    assert archive.name == f"modaliasd-{__version__}.tar.gz"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "sources", filter="data")
    [sources] = (tmp_path / "sources").iterdir()
    (tmp_path / "wheel").mkdir()
    assert _wheel_of(sources, tmp_path / "wheel") == wheel


def test_what_the_wheel_brings(wheel: dict[str, bytes]) -> None:
    """Both halves, the overlay, types, services, manual pages; and nothing of the tests."""
    names = {name.partition(".data/data/")[2] or name for name in wheel}
    assert {
        "hostbuild/__main__.py",
        "hostbuild/py.typed",
        "hostbuild/rootfs-overlay/init",
        "hostbuild/report/page.html",
        "modaliasd/cli.py",
        "modaliasd/py.typed",
        "microagent/agent.py",
        "micronetd/helper.py",
        "share/man/man1/hostbuild-run.1",
        "share/man/man1/modaliasd.1",
        "share/modaliasd/services/systemd/modaliasd.service",
    } <= names
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {
        "hostbuild",
        "modaliasd",
        "microagent",
        "micronetd",
        "share",
    }
    assert not [name for name in names if name.endswith(".pyc")]
