"""Programs that are run to their end while a root file system is put together: linux/root/programs.py."""

from pathlib import Path

import pytest

from modaliasd.linux.root import programs


def test_how_it_ended_and_what_it_said() -> None:
    """Status and both streams; the environment is the guest's own and what was added, nothing of the caller's."""
    ended = programs.run(
        "/bin/sh", "-c", 'echo "$A $LC_ALL ${HOME-none}"; echo bad >&2; exit 3', environment=(("A", "b c"),)
    )
    assert ended == (3, "b c C none\nbad\n")


def test_a_signal_is_a_negative_status() -> None:
    """As waitstatus_to_exitcode has it."""
    assert programs.run("/bin/sh", "-c", "kill -9 $$").status == -9


@pytest.mark.parametrize(("script", "told"), [("sleep 0.4", 1), (":", 0)])
def test_slowness_is_told_once(script: str, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes long is told of once, and waited for all the same; a quick one is not."""
    monkeypatch.setattr(programs, "_LONG_MS", 50 if told else 20_000)
    calls: list[str] = []
    assert programs.run("/bin/sh", "-c", script + "; exit 4", slow=lambda: calls.append("slow")).status == 4
    assert len(calls) == told


def test_what_cannot_be_started(tmp_path: Path) -> None:
    """An OSError, for the caller to tell."""
    with pytest.raises(FileNotFoundError):
        programs.run(str(tmp_path / "none"))


def test_programs_are_found_in_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first place that has it, executable; "" where none does."""
    for place in ("a", "b", "c"):
        (tmp_path / place).mkdir()
    monkeypatch.setattr(programs, "_PLACES", tuple(str(tmp_path / place) for place in ("a", "b", "c")))
    assert programs.find_program("fsck") == ""
    (tmp_path / "a" / "fsck").write_text("")
    (tmp_path / "a" / "fsck").chmod(0o644)
    for place in ("b", "c"):
        (tmp_path / place / "fsck").write_text("")
        (tmp_path / place / "fsck").chmod(0o755)
    assert programs.find_program("fsck") == str(tmp_path / "b" / "fsck")
