"""hostbuild.image.sources.libraries, and modfile: which packages an image's libraries come from."""

from pathlib import Path

import pytest

from hostbuild.debs import Package
from hostbuild.errors import InputError, WorldError
from hostbuild.formats.modules.modfile import unpackers_in
from hostbuild.image.sources.libraries import Libraries, library_directory, package_of


@pytest.mark.parametrize(
    ("soname", "package"),
    [
        ("libexpat.so.1", "libexpat1"),
        ("libbz2.so.1.0", "libbz2-1.0"),
        ("libcrypto.so.3", "libssl3"),
        ("libm.so.6", "libc6"),
        ("libreadline.so.8", "libreadline8"),
        ("libsystemd-shared-257.so", "libsystemd-shared"),
    ],
)
def test_the_package_of_a_soname(soname: str, package: str) -> None:
    """Names follow Policy 8.1, but for the few that the table has."""
    assert package_of(soname) == package


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("/c/p/root/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu"),
        ("/c/p/root/usr/lib/x86_64-linux-gnu/libexpat.so.1", "usr/lib/x86_64-linux-gnu"),
        ("/home/lib/c/usr/lib/x86_64-linux-gnu/systemd/libx-257.so", "usr/lib/x86_64-linux-gnu/systemd"),
        ("/c/p/root/lib64/ld-linux-x86-64.so.2", "usr/lib/lib64"),
    ],
)
def test_where_a_library_goes(path: str, directory: str) -> None:
    """It stays in the directory where its package has it, also one below the usual, which programs name themselves."""
    assert library_directory(Path(path)) == directory


@pytest.mark.parametrize("there", ["libssl3", "libssl3t64"])
def test_a_package_may_have_been_renamed_for_its_time(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian 13 has libssl3 under the name libssl3t64; whichever is there is taken, and else libssl3 is asked for."""
    (tmp_path / "libcrypto.so.3").touch()

    def describe(names: list[str], _release: str = "", **_how: object) -> list[Package]:
        if names != [there]:
            raise InputError(f"apt does not know the package {names[0]}")
        return [Package.__new__(Package)]

    monkeypatch.setattr("hostbuild.debs.describe", describe)
    monkeypatch.setattr("hostbuild.debs.require_unpacked", lambda _package: tmp_path)
    assert Libraries().find("libcrypto.so.3") == tmp_path / "libcrypto.so.3"
    with pytest.raises(InputError, match=r"know the package libexpat1$"):
        Libraries().find("libexpat.so.1")


def test_what_kmod_opens_by_itself_counts() -> None:
    """A soname that stands in the program counts, whether its header needs it or dlopen(3) takes it."""
    program = b"\x7fELF\0liblzma.so.5\0ZSTD_decompress\0libzstd.so.1\0libz.so.10\0"
    assert unpackers_in(program) == ["liblzma.so.5", "libzstd.so.1"]


def test_a_package_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is only looked for there is none; where it is needed, the package is named."""
    package = Package.__new__(Package)
    object.__setattr__(package, "name", "libzstd1")
    monkeypatch.setattr("hostbuild.debs.describe", lambda _names, _release="", **_how: [package])
    monkeypatch.setattr("hostbuild.debs.require_unpacked", lambda _package: tmp_path)
    monkeypatch.setattr(Package, "__str__", lambda one: one.name)
    assert Libraries().find("libzstd.so.1") is None
    with pytest.raises(WorldError, match=r"the package libzstd1 does not hold libzstd\.so\.1"):
        Libraries().require("libzstd.so.1")
