"""The network helper's end: one line and a wait, never a traceback on the console."""

from pathlib import Path

import pytest

from micronetd import helper


def test_a_helper_that_fails_says_it_once_and_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same failure again and again: one line in the log, a traceback in a file, half a minute each time."""
    said: list[str] = []
    slept: list[float] = []

    async def serve() -> None:
        raise KeyError("IFLA_IFNAME")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(helper, "STATE", tmp_path / "network")
    monkeypatch.setattr(helper, "say", said.append)
    monkeypatch.setattr(helper, "_serve", serve)
    monkeypatch.setattr("time.sleep", slept.append)
    assert [helper.main([]) for _ in range(3)] == [111] * 3
    [line] = said
    assert "KeyError: 'IFLA_IFNAME'" in line
    assert "Traceback" in (tmp_path / "network" / "crash").read_text()
    assert slept == [30, 30, 30]
