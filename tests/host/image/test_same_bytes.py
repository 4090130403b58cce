"""The same inputs give the same image, whoever builds it, where, when and how: held byte for byte."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.formats.initramfs.archive import read_image

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534

pytestmark = [pytest.mark.net, pytest.mark.slow]


def build(
    image: Path,
    *,
    checkout: Path = ROOT,
    prefix: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> bytes:
    """Build a small image with a checkout's code, in a process of its own, and give its bytes."""
    paths = os.pathsep.join(map(str, (checkout, checkout / "daemon")))
    argv = [
        *prefix,
        sys.executable,
        "-m",
        "hostbuild",
        "make-image",
        "-o",
        str(image),
        "--modules",
        "virtio_net",
    ]
    argv += ["--kernel", "deb:linux-image-amd64", "--with", "network", *options]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    environment |= {"PYTHONPATH": paths, **(env or {})}
    done = subprocess.run(
        argv, env=environment, cwd=checkout, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return image.read_bytes()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The image as it is built here."""
    return build(tmp_path_factory.mktemp("same") / "micro.img")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project somewhere else, checked out by somebody with another umask, at another time."""
    place = tmp_path / "some where" / "else"
    for name in ("hostbuild", "daemon", "rootfs-overlay"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in place.rglob("*"):
        executable = path.stat().st_mode & 0o100
        path.chmod(0o700 if executable or path.is_dir() else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return place


@pytest.mark.parametrize("umask", ["0000", "0077", "0027"])
def test_any_umask(umask: str, reference: bytes, tmp_path: Path) -> None:
    """Modes in the image do not come from the umask of who builds it."""
    shell = ("sh", "-c", f'umask {umask}; exec "$@"', "sh")
    assert build(tmp_path / "micro.img", prefix=shell) == reference


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "4711"},
        {"LC_ALL": "C", "LANG": "C"},
        {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu"},
        {"SOURCE_DATE_EPOCH": "0"},
        {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "2"},
    ],
    ids=" ".join,
)
def test_any_environment(env: dict[str, str], reference: bytes, tmp_path: Path) -> None:
    """Nor from the order of sets, the locale, the time zone, or what Python itself is told."""
    assert build(tmp_path / "another-name.img", env=env) == reference


def test_source_date_epoch(reference: bytes, tmp_path: Path) -> None:
    """It is the time of all files, the same each time; nothing else changes, and what is no time is refused."""
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    options = ("--compress", "none")
    first = build(tmp_path / "a.img", env=env, options=options)
    assert build(tmp_path / "b.img", env=env, options=options) == first
    [dated] = read_image(tmp_path / "a.img")
    assert {member.mtime for member in dated.members} == {1700000000}
    build(tmp_path / "c.img", options=options)
    [undated] = read_image(tmp_path / "c.img")
    assert [replace(one, mtime=0, offset=0) for one in dated.members] == [
        replace(one, offset=0) for one in undated.members
    ]
    with pytest.raises(AssertionError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        build(tmp_path / "d.img", env={"SOURCE_DATE_EPOCH": "yesterday"})


def test_another_checkout(reference: bytes, checkout: Path, tmp_path: Path) -> None:
    """Where the project lies, with which modes and times, does not show; the build is that checkout's own."""
    assert build(tmp_path / "micro.img", checkout=checkout) == reference
    overlaid = checkout / "rootfs-overlay/init"
    overlaid.write_text(overlaid.read_text() + "# changed\n")
    assert build(tmp_path / "changed.img", checkout=checkout) != reference


def test_another_user(reference: bytes, checkout: Path) -> None:
    """Somebody else, without privileges and with an empty cache of their own, builds the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can build as somebody else")
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    reach = subprocess.run([*prefix, sys.executable, "-c", "import click"], capture_output=True, check=False)
    if reach.returncode != 0:
        pytest.skip(f"another user cannot run {sys.executable}")
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are nobody else's to enter
        home = Path(directory)
        shutil.copytree(checkout, home / "project")
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        env = {"HOME": directory, "XDG_CACHE_HOME": f"{directory}/cache", "XDG_RUNTIME_DIR": directory}
        built = build(home / "micro.img", checkout=home / "project", prefix=prefix, env=env)
    assert built == reference
