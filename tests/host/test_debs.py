"""Packages from apt: its answers parsed, its files checked, the cache's behaviour; apt is a stub on PATH."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.errors import CommandError, ToolMissingError, WorldError

STANZAS = """\
Package: meta
Version: 1:2.0-1
Architecture: amd64
Pre-Depends: dpkg (>= 1.13)
Depends: real-2.0 (= 1:2.0-1), other | alternative, any:any
Description: a metapackage
 with: a line that looks like a field
Size: 1480
SHA256: aa

Package: virtual
State: not a real package (virtual)
"""


def test_parse_stanzas() -> None:
    """Names, versions and dependencies come out; alternatives and versions of dependencies do not."""
    [package] = debs.parse_stanzas(STANZAS)
    assert package == debs.Package(
        "meta", "1:2.0-1", "amd64", "aa", 1480, ("dpkg", "real-2.0", "other", "any")
    )
    assert str(package) == "meta 1:2.0-1"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A cache of its own, and a package `hello` that a stub of apt knows; gives the log of apt's calls."""
    root = tmp_path / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    (root / "usr").mkdir()
    (root / "usr/hello").write_text("hello\n")
    deb = tmp_path / "hello_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", root, deb], check=True, capture_output=True, timeout=20)
    log = tmp_path / "log"
    log.touch()
    stubs = tmp_path / "bin"
    stubs.mkdir()
    monkeypatch.setenv("PATH", f"{stubs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def install(sha256: str = "") -> Path:
        digest = sha256 or hashlib.sha256(deb.read_bytes()).hexdigest()
        show = f"Package: hello\nVersion: 1\nArchitecture: all\nSize: 1\nSHA256: {digest}\n"
        scripts = {
            "apt-cache": f"case $* in *hello*) cat <<'E'\n{show}\nE\n;; *) exit 100;; esac",
            "apt-get": f"cp {deb} .",
        }
        for name, body in scripts.items():
            (stubs / name).write_text(f"#!/bin/sh\necho {name} >> {log}\n{body}\n")
            (stubs / name).chmod(0o755)
        return log

    return install


def test_second_call_asks_nobody(apt: Callable[[str], Path]) -> None:
    """A package is described, fetched and unpacked once; then neither apt-cache nor apt-get is started."""
    log = apt("")
    for _ in range(2):
        [package] = debs.describe(["hello"])
        root = debs.require_unpacked(package)
        assert (root / "usr/hello").read_text() == "hello\n"
    assert log.read_text().split() == ["apt-cache", "apt-get"]


def test_wrong_checksum_is_refused(apt: Callable[[str], Path], tmp_path: Path) -> None:
    """A file that is not the one in apt's lists is not used, and nothing of it stays in the cache."""
    apt("0" * 64)
    [package] = debs.describe(["hello"])
    with pytest.raises(WorldError, match="not used"):
        debs.require_unpacked(package)
    assert list((tmp_path / "cache/hostbuild/packages").iterdir()) == []


def test_unknown_package_says_what_mends_it(apt: Callable[[str], Path]) -> None:
    """Where apt's lists do not know the package, the hint is apt-get update."""
    apt("")
    with pytest.raises(WorldError, match="apt does not know the package nobody") as caught:
        debs.describe(["hello", "nobody"])
    assert caught.value.hint == "sudo apt-get update"


def test_processes_at_the_same_time_agree(apt: Callable[[str], Path]) -> None:
    """Several at once end with the same complete directory."""
    apt("")
    [package] = debs.describe(["hello"])
    with ThreadPoolExecutor(6) as pool:
        roots = set(pool.map(debs.require_unpacked, [package] * 6))
    assert len(roots) == 1
    [root] = roots
    assert (root / "usr/hello").read_text() == "hello\n"
    assert list(root.parents[1].iterdir()) == [root.parent]


def test_failed_download_shows_what_apt_said(apt: Callable[[str], Path], tmp_path: Path) -> None:
    """apt's own words come through, and the cache stays clean."""
    apt("")
    [package] = debs.describe(["hello"])
    (tmp_path / "bin/apt-get").write_text("#!/bin/sh\necho 'E: no route to host' >&2\nexit 100\n")
    with pytest.raises(CommandError, match=r"status 100:\nE: no route to host"):
        debs.require_unpacked(package)
    assert list((tmp_path / "cache/hostbuild/packages").iterdir()) == []


def test_no_apt(apt: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without apt the message names the program that is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="apt-cache is not installed"):
        debs.describe(["hello"])


def test_a_package_changed_in_the_cache_is_fetched_again(
    apt: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that somebody has changed after it was unpacked is not used: the manifest names the package's SHA-256."""
    log = apt("")
    [package] = debs.describe(["hello"])
    (debs.require_unpacked(package) / "usr/hello").write_text("jello\n")
    assert (debs.require_unpacked(package) / "usr/hello").read_text() == "hello\n"
    assert "usr/hello has been changed in the cache" in capsys.readouterr().err
    assert log.read_text().split().count("apt-get") == 2
