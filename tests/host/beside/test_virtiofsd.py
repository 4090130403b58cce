"""hostbuild.beside.virtiofsd: a folder served while the context lasts, and why it cannot be, in words."""

import os
import socket
from pathlib import Path

import pytest

from hostbuild.beside.virtiofsd import Folder, Virtiofsd, find_virtiofsd, serving, virtiofsd_argv, why_not
from hostbuild.errors import ToolMissingError
from hostbuild.fs.scratch import scratch_directory

C = Virtiofsd("/usr/lib/qemu/virtiofsd", rust=False, read_only=False)
RUST = Virtiofsd("/usr/libexec/virtiofsd", rust=True, read_only=True)


@pytest.fixture
def installed() -> Virtiofsd:
    """This machine's, if it can be used here."""
    found = find_virtiofsd()
    if found is None:
        pytest.skip("virtiofsd is not installed (apt-get install virtiofsd)")
    if why := why_not(found, Path("/usr")):
        pytest.skip(f"it does not run here: {why}")
    return found


def test_it_listens_and_ends(installed: Virtiofsd, tmp_path: Path) -> None:
    """Whoever connects inside the context is served, also from a folder with a comma; nobody listens after it."""
    shared = tmp_path / "a,b\\c"
    shared.mkdir()
    assert why_not(installed, shared) == ""
    with scratch_directory() as directory:  # a short path, as sockets need one
        folder = Folder(shared, directory / "x.sock")
        with serving(installed, [folder]) as [one], socket.socket(socket.AF_UNIX) as line:
            line.connect(str(folder.socket))
            assert not one.ended
        assert one.ended
        with socket.socket(socket.AF_UNIX) as line, pytest.raises(OSError, match="refused"):
            line.connect(str(folder.socket))


def test_a_folder_that_it_cannot_serve(installed: Virtiofsd, tmp_path: Path) -> None:
    """What it says itself is the reason."""
    assert "does not run here" in why_not(installed, tmp_path / "missing")


def test_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named, and no name of a socket stays that nobody listens on."""
    monkeypatch.setattr("hostbuild.beside.virtiofsd._PLACES", ("virtiofsd",))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hostbuild.run._ALSO_IN", ())
    assert find_virtiofsd() is None
    with (
        pytest.raises(ToolMissingError) as caught,
        serving(None, [Folder(tmp_path, Path(f"/tmp/v{os.getpid()}"))]),
    ):
        pass
    assert "install --no-install-recommends virtiofsd" in caught.value.hint


def test_each_has_its_own_words() -> None:
    """The one in C takes libfuse's -o, in which a comma is escaped; only the newer one can refuse to write."""
    folder = Folder(Path("/a,b"), Path("/s"), read_only=True)
    assert virtiofsd_argv(C, folder, 3)[1:] == ["--fd=3", "-o", "source=/a\\,b", "-o", "sandbox=chroot"]
    assert virtiofsd_argv(RUST, folder, 3)[1:] == [
        *("--fd=3", "--shared-dir=/a,b", "--sandbox=chroot", "--readonly")
    ]


def test_what_it_can_is_read_from_its_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is found is asked; one that does not run counts as none."""
    program = tmp_path / "virtiofsd"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for text, found in (
        ("echo --shared-dir --readonly", Virtiofsd(str(program), rust=True, read_only=True)),
        ("echo --socket-path", Virtiofsd(str(program), rust=False, read_only=False)),
        ("exit 1", None),
    ):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        assert find_virtiofsd() == found
