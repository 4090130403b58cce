"""What holds for all tests of the guest's part."""

import posix

import pytest


@pytest.fixture(autouse=True)
def not_started_by_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is taken for init's daemon, though pytest may be a child of process 1: in a container, behind setsid."""
    monkeypatch.setattr(posix, "getppid", lambda: 4711)
