"""fs/answers.py: what follows from contents is made once, and again when these, or the code that makes it, change."""

from pathlib import Path

import pytest

from hostbuild.fs import answers, sealed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hostbuild" / answers.KIND


def test_values_come_back_as_they_were_made(cache: Path) -> None:
    """Texts that are no UTF-8, nested tuples, sets and dicts; they are made once for one question and one code."""
    value = ({"a\udcff": (1, None, b"\0")}, frozenset({"x", "y"}), [2.5, True])
    made: list[str] = []

    def make() -> tuple[object, ...]:
        made.append("now")
        return value

    for code in ("one", "one", "two"):
        assert answers.values(code, ["asked", 7], make) == value
    assert len(made) == 2
    assert len([path for path in cache.iterdir() if not path.name.startswith(".")]) == 2


def test_the_code_counts_by_its_text(tmp_path: Path) -> None:
    """A file that says something else is other code, and so is a directory with one more."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.py").write_text("a = 1")
    seen = set()
    for text in ("a = 1", "a = 2", "a = 1"):
        (tmp_path / "d/a.py").write_text(text)
        answers.code_of.cache_clear()
        seen.add(answers.code_of(str(tmp_path / "d")))
    (tmp_path / "d/b.py").write_text("")
    answers.code_of.cache_clear()
    assert len(seen) == 2
    assert answers.code_of(str(tmp_path / "d")) not in seen


def test_a_sealed_files_digest_is_read_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found to be as its listing says is not read; what has been changed since is, and so is all else."""
    complete = tmp_path / "complete"
    sealed.root_of(complete).mkdir(parents=True)
    (sealed.root_of(complete) / "a").write_bytes(b"a")
    (tmp_path / "free").write_bytes(b"a")
    sealed.publish(complete, tmp_path / "kept")
    found = sealed.find(tmp_path / "kept")
    assert found is not None
    with monkeypatch.context() as patched:
        patched.setattr(sealed, "read_regular", lambda _path: pytest.fail("it was read"))
        assert sealed.digest_of(found / "a") == answers.digest(b"a")
    assert sealed.digest_of(tmp_path / "free") == answers.digest(b"a")
    (found / "a").write_bytes(b"b")
    assert sealed.digest_of(found / "a") == answers.digest(b"b")
