"""Which source an interpreter is built of."""

import tarfile
from pathlib import Path

import pytest

from hostbuild.apt import Apt, Lists, Spec
from hostbuild.errors import InputError, ToolMissingError, UsageError
from hostbuild.formats.aptsources import Archive, sources_for
from hostbuild.pybuild import toolchain
from hostbuild.pybuild.build import key_of
from hostbuild.pybuild.source import (
    BuildSpec,
    Source,
    parse_build,
    read_version,
    sources_of,
    tarballs_of,
)
from hostbuild.ui import Silent


def next_source(wanted: BuildSpec) -> Source:
    """The source that is tried first."""
    return next(sources_of(wanted, Lists(), Silent()))


def _tree(directory: Path, version: str) -> Path:
    (directory / "Include").mkdir(parents=True)
    (directory / "Include/patchlevel.h").write_text(f'#define PY_VERSION      \t"{version}"\n')
    (directory / "configure").write_text("#!/bin/sh\n")
    return directory


def test_words_of_the_command_line() -> None:
    """build alone is the release's own Python; a package may be named, or a file."""
    assert parse_build("build") == BuildSpec(Spec("python3"))
    assert parse_build("build:deb:python3.13/trixie") == BuildSpec(Spec("python3.13", "", "trixie"))
    assert parse_build("build:deb:python3.11=3.11.2-6") == BuildSpec(Spec("python3.11", "3.11.2-6"))
    assert parse_build("build:x.tar.xz") == BuildSpec(None, Path("x.tar.xz").absolute())
    assert tarballs_of("build:x.tar.xz") == [Path("x.tar.xz")]
    assert tarballs_of("build:deb:python3") == tarballs_of("build") == tarballs_of("json") == []


@pytest.mark.parametrize("word", ["build:", "build:deb:perl", "build:deb:python2.7", "build:deb:"])
def test_words_that_name_no_source(word: str) -> None:
    """Other packages, and nothing at all, are refused with an example."""
    with pytest.raises(InputError) as caught:
        parse_build(word)
    assert caught.value.hint or "Debian package" in str(caught.value)


@pytest.mark.parametrize("word", ["build:deb:python3.9", "build:deb:python3.10/bullseye"])
def test_pythons_that_are_too_old(word: str) -> None:
    """They are refused before anything is fetched, with those that can be built."""
    with pytest.raises(InputError, match=r"it is CPython 3\.(9|10); .* of 3\.11 and later") as caught:
        parse_build(word)
    assert "build:deb:python3.13/trixie" in caught.value.hint


def test_source_packages_have_lists_of_their_own(tmp_path: Path) -> None:
    """Their apt is a private one beside the release's, with deb-src in its sources and nothing else."""
    assert Apt(Lists("trixie", sources=True), tmp_path).directory == tmp_path / "trixie_sources"
    assert Apt(Lists("trixie"), tmp_path).directory == tmp_path / "trixie"
    archive = Archive("", "http://deb.example.org/debian", "bookworm", "bookworm")
    text = sources_for("trixie", [archive], [], types="deb-src")
    assert "Types: deb-src\n" in text
    assert "Types: deb\n" not in text


def test_a_tarball(tmp_path: Path) -> None:
    """A tarball is known by its digest, and unpacked without its top directory."""
    _tree(tmp_path / "Python-3.12.1", "3.12.1")
    tarball = tmp_path / "Python-3.12.1.tar.xz"
    with tarfile.open(tarball, "w:xz") as archive:
        archive.add(tmp_path / "Python-3.12.1", "Python-3.12.1")
    source = next_source(BuildSpec(None, tarball))
    assert (source.name, source.version, len(source.sha256)) == ("cpython", "Python-3.12.1", 64)
    source.unpack(tmp_path / "tree", Silent())
    assert read_version(tmp_path / "tree") == "3.12.1"


def test_files_that_are_no_tarball(tmp_path: Path) -> None:
    """What is not there, and what is something else, is said before anything is built."""
    with pytest.raises(InputError, match="there is no source of CPython"):
        next_source(BuildSpec(None, tmp_path / "none.tar.xz"))
    (tmp_path / "nonsense").write_bytes(b"\0 no format\n")
    with pytest.raises(InputError, match="is not a tarball"):
        next_source(BuildSpec(None, tmp_path / "nonsense"))
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(InputError, match="of CPython's source"):
        next_source(BuildSpec(None, program))


def test_trees_that_cannot_be_built(tmp_path: Path) -> None:
    """Another program's source, and a CPython before 3.11; a release candidate's version has a letter."""
    with pytest.raises(InputError, match="not CPython's source"):
        read_version(tmp_path)
    with pytest.raises(InputError, match=r"it is CPython 3\.9\.2"):
        read_version(_tree(tmp_path / "old", "3.9.2"))
    assert read_version(_tree(tmp_path / "new", "3.14.0rc1+")) == "3.14.0rc1"


def test_the_key() -> None:
    """Same source and compiler, same key; another of either, another key. It names what it is."""
    source = Source("python3.11", "1:3.11.2-6+deb12u8", "ab" * 32, lambda _tree, _report: None)
    other = Source("python3.11", "1:3.11.2-6+deb12u8", "cd" * 32, lambda _tree, _report: None)
    keys = {key_of(one, text) for one in (source, other) for text in ("gcc 12", "gcc 14")}
    assert len(keys) == 4
    assert key_of(source, "gcc 12") == key_of(source, "gcc 12")
    assert key_of(source, "gcc 12").startswith("python3.11-13.11.2-6+deb12u8-")


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is fetched, all that is missing is named, with the command that installs it."""
    monkeypatch.setattr(
        toolchain, "find_program", lambda name: None if name in ("make", "gcc", "dpkg-source") else name
    )
    with pytest.raises(ToolMissingError) as caught:
        toolchain.require_toolchain(from_package=True)
    assert "gcc, make, dpkg-dev are missing" in str(caught.value)
    assert "apt-get install --no-install-recommends gcc make dpkg-dev;" in caught.value.hint
    with pytest.raises(ToolMissingError, match="gcc, make are missing"):
        toolchain.require_toolchain(from_package=False)


def test_the_list_of_packages_is_that_of_the_checks() -> None:
    """debian-packages-python.txt names what the checks ask for; tar every Debian has."""
    text = Path(__file__).resolve().parents[3].joinpath("debian-packages-python.txt").read_text()
    listed = {line.split()[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert listed == set(toolchain.PACKAGES) - {"tar"}


def test_other_architectures() -> None:
    """An interpreter is built for this machine, and for no other."""
    toolchain.check_architecture("")
    with pytest.raises(UsageError, match="not for arm64"):
        toolchain.check_architecture("arm64")
