"""hostbuild.live.names: guests by name: one of each, noticed when they end, and nothing of theirs left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.errors import GuestError, InputError, UsageError
from hostbuild.live import names
from hostbuild.main import status_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a" * 33, "a b", "ä", "a\n"])
def test_what_is_no_name(name: str) -> None:
    """Names are plain: none leads out of the directory, or is an option."""
    with pytest.raises(UsageError, match="is not a guest's name"):
        names.place_of(name)


def test_one_guest_a_name() -> None:
    """A second one of the same name is refused while the first lives, and not after it."""
    with names.claim("box") as place:
        assert place.alive()
        with pytest.raises(UsageError, match="a guest named box is running already"):
            names.require_free("box")
        with pytest.raises(UsageError, match="a guest named box is running already"), names.claim("box"):
            pass
    assert not place.alive()
    with names.claim("box"):
        pass


def test_an_ended_guest_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for it hears how it ended; list says so once, and forgets it."""
    with names.claim("box") as place:
        place.write("ended", {"status": 112, "message": "the guest's kernel panicked"})
    with pytest.raises(GuestError, match="box has ended: the guest's kernel panicked"):
        names.require_alive("box")
    assert status_of(["list"]) == 0
    assert "the guest's kernel panicked" in capsys.readouterr().out
    assert status_of(["list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert not place.directory.exists()


def test_a_keeper_that_was_killed(home: Path) -> None:
    """The kernel frees its lock: the guest counts as ended, whatever its files say."""
    code = (
        "import time\nfrom hostbuild.live import names\n"
        "with names.claim('box') as place:\n    print(flush=True)\n    time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    env = os.environ | {"PYTHONPATH": f"{root}:{root / 'daemon'}"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env)
    assert process.stdout is not None
    process.stdout.readline()
    assert names.require_alive("box").name == "box"
    process.kill()
    process.wait()
    process.stdout.close()
    with pytest.raises(GuestError, match="its keeper was killed"):
        names.require_alive("box")


def test_a_name_that_nobody_has() -> None:
    """The near ones are proposed, or those that are running."""
    with names.claim("box"):
        with pytest.raises(InputError, match="no guest named bxo; did you mean box"):
            names.require_alive("bxo")
        with pytest.raises(InputError, match="no guest named zzz; running: box"):
            names.require_alive("zzz")


def test_damaged_files() -> None:
    """A file that is cut short says nothing, and stops nothing."""
    with names.claim("box") as place:
        (place.directory / "guest.json").write_text('{"pid": ')
        assert place.read("guest") == {}
        (place.directory / "guest.json").write_text("[]")
        assert place.read("guest") == {}


def test_a_shell_in_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It may have been meant as a guest or as an image; those called alike are named."""
    with names.claim("box"):
        assert status_of(["shell", "bxo"]) == 100
    assert "neither an image nor a running guest bxo; did you mean box?" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["exec b", "plug b", "unplug b", "why b", "stop x b", "stop b"])
def test_the_shell_completes_names(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of guests that run; one that has ended is nobody's to ask."""
    monkeypatch.setenv("_HOSTBUILD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"hostbuild {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(line.split())))
    with names.claim("bygone"):
        pass
    with names.claim("box"), pytest.raises(SystemExit):
        status_of([])
    assert capsys.readouterr().out == "plain,box\n"
