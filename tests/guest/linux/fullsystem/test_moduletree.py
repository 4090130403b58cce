"""moduletree.py: where a kernel's modules are found, and what is said where there are none."""

from pathlib import Path

import pytest

from modaliasd.core.errors import UsageError, WorldError
from modaliasd.linux.fullsystem import moduletree
from modaliasd.linux.fullsystem.moduletree import NoModulesError, check_tree, require_tree, takes_modules

RELEASE = "6.1.0-test"


def tree(place: Path, release: str = RELEASE) -> Path:
    """A kernel's directory with depmod's lists."""
    folder = place / release
    folder.mkdir(parents=True)
    for name in moduletree.LISTS:
        (folder / name).touch()
    return folder


@pytest.fixture(autouse=True)
def takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes modules, and this is no container."""
    monkeypatch.setattr(moduletree, "takes_modules", lambda: True)
    monkeypatch.setattr(moduletree, "_CONTAINERS", ())


def test_the_first_place_that_has_them(tmp_path: Path) -> None:
    """A place without depmod's lists is passed over for one that has them."""
    (tmp_path / "a" / RELEASE).mkdir(parents=True)
    folder = tree(tmp_path / "b")
    assert require_tree(RELEASE, (str(tmp_path / "a"), str(tmp_path / "b"))) == str(folder)


def test_why_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cause has its words, and what to do: depmod, the new kernel, a package, the container's start."""
    places = (str(tmp_path / "modules"),)
    with pytest.raises(
        WorldError, match=r"does not exist; install the kernel's package .* linux-image-6\.1\.0-test"
    ):
        require_tree(RELEASE, places)
    tree(tmp_path / "modules", "6.2.0")
    with pytest.raises(WorldError, match=r"has those of 6\.2\.0; was the kernel's package upgraded\?"):
        require_tree(RELEASE, places)
    (tmp_path / "modules" / RELEASE).mkdir()
    with pytest.raises(
        WorldError, match=r"has no modules\.dep and modules\.alias; create them: depmod 6\.1\.0-test"
    ):
        require_tree(RELEASE, places)
    (tmp_path / "modules" / RELEASE).rmdir()
    monkeypatch.setattr(moduletree, "_CONTAINERS", (str(tmp_path),))
    with pytest.raises(
        WorldError, match=r"This is a container, and the kernel is its host's: .*--modules-dir"
    ):
        require_tree(RELEASE, places)


def test_a_kernel_without_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no /proc/modules; a /proc that is not there says nothing."""
    (tmp_path / "version").touch()
    assert not takes_modules(str(tmp_path / "modules"))
    assert takes_modules(str(tmp_path / "none" / "modules"))
    monkeypatch.setattr(moduletree, "takes_modules", lambda: False)
    with pytest.raises(NoModulesError, match="CONFIG_MODULES is off"):
        require_tree(RELEASE, (str(tmp_path),))


def test_a_directory_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    """What --modules-dir names has to be a kernel's directory, not the one above."""
    folder = tree(tmp_path)
    assert check_tree(str(folder)) == str(folder)
    with pytest.raises(UsageError, match=r"no modules\.dep is there"):
        check_tree(str(tmp_path))
