"""Versions of a source package, and what is done where an archive lacks one; the real apt, an archive on this disk."""

import hashlib
import os
from pathlib import Path
from typing import cast

import pytest

from hostbuild import apt, debs
from hostbuild.apt import Lists, Spec
from hostbuild.errors import CommandError, InputError, ToolMissingError
from hostbuild.formats.aptsources import Archive, Entry
from hostbuild.pybuild import build, toolchain
from hostbuild.pybuild import source as source_module
from hostbuild.pybuild.build import Built, require_built
from hostbuild.pybuild.packages import NotFetchedError, newest_first, parse_uris, parse_versions
from hostbuild.pybuild.source import BuildSpec, Source, parse_build, sources_of
from hostbuild.ui import Silent
from tests.support.programs import require_program

URIS = """\
Reading package lists...
NOTICE: 'python3.11' packaging is maintained in the 'Git' version control system at:
'http://deb.example.org/pool/python3.11_3.11.2-6%2bdeb12u8.dsc' python3.11_3.11.2-6+deb12u8.dsc 3805 SHA256:197fa1
'http://deb.example.org/pool/python3.11_3.11.2.orig.tar.gz' python3.11_3.11.2.orig.tar.gz 26437858 SHA256:2411c7
"""
SHOWN = "Package: python3.11\nVersion: 3.11.2-6+deb12u8\n\nPackage: python3.11\nVersion: 3.11.2-6+deb12u9\n"
NAME = "python3.11"
ANY = BuildSpec(Spec(NAME, release="next"))


class SourceArchive:
    """An archive with source packages, on this disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, *versions: str) -> None:
        """Put versions of the source package into its only suite."""
        pool = self.root / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        stanzas = []
        for version in versions:
            upstream = version.partition("-")[0]
            orig = pool / f"{NAME}_{upstream}.orig.tar.gz"
            orig.write_bytes(b"upstream's")
            debian = pool / f"{NAME}_{version}.debian.tar.xz"
            debian.write_text(f"changes of {version}")
            dsc = pool / f"{NAME}_{version}.dsc"
            head = f"Format: 3.0 (quilt)\nVersion: {version}\nBinary: {NAME}\nArchitecture: any\n"
            dsc.write_text(f"Source: {NAME}\n{head}Checksums-Sha256:\n{_sums(orig, debian)}")
            place = f"Directory: pool\nChecksums-Sha256:\n{_sums(dsc, orig, debian)}"
            stanzas.append(f"Package: {NAME}\n{head}{place}")
        text = "\n".join(stanzas)
        listing = self.root / "dists/next/main/source/Sources"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        head = "Origin: Debian\nSuite: next\nCodename: next\nComponents: main\nArchitectures: amd64\n"
        date = "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
        sums = f"SHA256:\n {digest} {len(text)} main/source/Sources\n"
        (self.root / "dists/next/Release").write_text(head + date + sums)

    def lose(self, version: str) -> None:
        """Remove a version's own files, as a mirror does that has no sources of the security archive."""
        for path in (self.root / "pool").glob(f"*_{version}.*"):
            path.unlink()

    def sources(self) -> tuple[list[Archive], list[Entry]]:
        """What apt.py would find in /etc/apt."""
        uri = f"file:{self.root}/"
        return [Archive("", uri, "own", "own")], [Entry((uri,), ("own",), {"Trusted": "yes"})]


def _sums(*paths: Path) -> str:
    rows = [(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, path.name) for path in paths]
    return "".join(f" {digest} {size} {name}\n" for digest, size, name in rows)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceArchive:
    """A machine whose archive has three versions of the source package."""
    for program in ("apt-get", "apt-cache", "dpkg"):
        require_program(program)
    found = SourceArchive(tmp_path / "archive")
    found.publish("3.11.2-6", "3.11.2-6+deb12u10", "3.11.2-6+deb12u9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(apt, "_own_archives", found.sources)
    monkeypatch.setattr(toolchain, "require_toolchain", lambda **_words: None)
    return found


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that are built; in place of the building, their files are fetched."""
    versions: list[str] = []

    def fetch(source: Source, report: Silent) -> Built:
        place = debs.cache_directory() / f"place-{source.version}"
        place.mkdir()
        # which finds no tarball in what lies here, or is not installed
        with pytest.raises((CommandError, ToolMissingError), match="dpkg-source"):
            source.unpack(place / "tree", report)
        assert (place / f"{NAME}_{source.version}.debian.tar.xz").is_file()
        versions.append(source.version)
        return cast("Built", None)

    monkeypatch.setattr(build, "_require", fetch)
    return versions


def age() -> None:
    """Make the lists an hour older."""
    updated = debs.cache_directory() / "apt/next_sources/updated"
    seconds = updated.stat().st_mtime - 3600
    os.utime(updated, (seconds, seconds))


def test_what_apt_says() -> None:
    """Files with their sizes and digests among apt's remarks; versions, each once."""
    assert parse_uris(URIS) == [
        ("python3.11_3.11.2-6+deb12u8.dsc", 3805, "SHA256:197fa1"),
        ("python3.11_3.11.2.orig.tar.gz", 26437858, "SHA256:2411c7"),
    ]
    assert parse_versions(SHOWN + SHOWN) == ["3.11.2-6+deb12u8", "3.11.2-6+deb12u9"]


def test_the_order_of_versions() -> None:
    """It is Debian's, in which ten comes after nine, and a tilde before nothing."""
    require_program("dpkg")
    assert newest_first(["1-2+u9", "1-2+u10", "2~rc1-1", "1-2", "2-1"]) == [
        *("2-1", "2~rc1-1", "1-2+u10", "1-2+u9", "1-2"),
    ]


def test_the_newest_is_taken(
    archive: SourceArchive, taken: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where its files are there, nothing else is asked for and nothing is said."""
    assert archive.root.is_dir()
    require_built(ANY, Lists(), Silent())
    assert taken == ["3.11.2-6+deb12u10"]
    assert capsys.readouterr().err == ""


def test_the_next_version_is_taken(
    archive: SourceArchive, taken: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the archive lacks the newest version's files, the next one is, and that is said."""
    archive.lose("3.11.2-6+deb12u10")
    require_built(ANY, Lists(), Silent())
    assert taken == ["3.11.2-6+deb12u9"]
    told = capsys.readouterr().err
    assert "python3.11 3.11.2-6+deb12u10 cannot be fetched" in told
    assert "python3.11 3.11.2-6+deb12u9 is built in its place" in told


def test_lists_that_are_old_are_renewed_first(archive: SourceArchive, taken: list[str]) -> None:
    """An archive that has replaced a version has a newer one, which goes before the older ones of the old lists."""
    list(sources_of(ANY, Lists(), Silent()))
    archive.publish("3.11.2-6", "3.11.2-6+deb12u11")
    archive.lose("3.11.2-6+deb12u10")
    age()
    require_built(ANY, Lists(), Silent())
    assert taken == ["3.11.2-6+deb12u11"]


def test_a_version_that_was_named_is_not_replaced(archive: SourceArchive, taken: list[str]) -> None:
    """The error names the versions that there are, as they are written after --python."""
    archive.lose("3.11.2-6+deb12u10")
    wanted = parse_build(f"build:deb:{NAME}=3.11.2-6+deb12u10/next")
    with pytest.raises(NotFetchedError, match=r"3\.11\.2-6\+deb12u10 cannot be fetched: ") as caught:
        require_built(wanted, Lists(), Silent())
    assert taken == []
    assert f"--python build:deb:{NAME}=3.11.2-6+deb12u9 takes another" in caught.value.hint
    assert "(there is 3.11.2-6+deb12u9, 3.11.2-6)" in caught.value.hint
    assert "apt-get -c" not in str(caught.value)
    with pytest.raises(
        InputError, match=r"does not know .*=1 \(there is 3\.11\.2-6\+deb12u10, .*u9, 3.11.2-6\)"
    ):
        require_built(parse_build(f"build:deb:{NAME}=1/next"), Lists(), Silent())


def test_none_can_be_fetched(archive: SourceArchive, taken: list[str]) -> None:
    """The newest one's error is told."""
    for version in ("3.11.2-6", "3.11.2-6+deb12u10", "3.11.2-6+deb12u9"):
        archive.lose(version)
    with pytest.raises(NotFetchedError, match=r"3\.11\.2-6\+deb12u10 cannot be fetched"):
        require_built(ANY, Lists(), Silent())
    assert taken == []


def test_the_release_that_is_named_with_the_package(archive: SourceArchive) -> None:
    """It goes before the release of the image's packages."""
    assert archive.root.is_dir()
    source = next(sources_of(ANY, Lists("another"), Silent()))
    assert source.version == "3.11.2-6+deb12u10"


def test_a_release_with_an_old_python(archive: SourceArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is fetched."""
    assert archive.root.is_dir()
    monkeypatch.setattr(source_module, "_preferred", lambda _lists: "python3.9")
    with pytest.raises(InputError, match=r"it is CPython 3\.9; .* of 3\.11 and later"):
        next(sources_of(parse_build("build"), Lists("next"), Silent()))
    assert not (debs.cache_directory() / "apt").exists()
