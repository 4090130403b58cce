"""fs/usage.py and hostbuild cache: what is kept, how large it is, and what goes."""

import json
import os
import time
from pathlib import Path

import pytest

from hostbuild.fs import sealed
from hostbuild.fs.usage import KINDS, entries_of, remove
from tests.support.commandline import invoke

DAY_S = 86400.0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "hostbuild"
    cache.mkdir(mode=0o700)
    return cache


def put(cache: Path, kind: str, name: str, *, days: float = 0.0, size: int = 100_000) -> Path:
    """Lay an entry down as sealed.publish does, used last some days ago."""
    final = cache / kind / name
    final.parent.mkdir(parents=True, exist_ok=True)
    half = cache / kind / f".half-{name}"
    sealed.root_of(half).mkdir(parents=True)
    (sealed.root_of(half) / "data").write_bytes(b"x" * size)
    sealed.publish(half, final)
    past = time.time() - days * DAY_S
    os.utime(final, (past, past))
    return final


def test_every_kind_is_told(cache: Path) -> None:
    """Each kind with its entries, also one that this version does not know; apt's state and running guests are none."""
    for kind in (*KINDS, "of-tomorrow", "apt", "guests"):
        put(cache, kind, "one")
    (cache / "images/one.lock").touch()
    found = entries_of(cache)
    assert {entry.kind for entry in found} == {*KINDS, "of-tomorrow"}
    assert all(100_000 <= entry.size < 300_000 for entry in found)


def test_what_was_not_used_goes(cache: Path) -> None:
    """By age, with its lock; what was taken from the cache since stays, though it is as old."""
    old, used, new = (
        put(cache, "images", name, days=days) for name, days in (("a", 40), ("b", 40), ("c", 1))
    )
    lock = cache / "images/a.lock"
    lock.touch()
    assert sealed.find(used) is not None
    result = invoke("cache", "--trim", "30d", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert [(row["kind"], row["entries"]) for row in told["removed"]] == [("images", 1)]
    assert [path.exists() for path in (old, lock, used, new)] == [False, False, True, True]


def test_zero_removes_everything(cache: Path) -> None:
    """What nobody may look into goes as well; the directories of the kinds, guests and lists of packages stay."""
    locked = put(cache, "packages", "p") / "root/private"
    locked.mkdir(mode=0)
    lists = put(cache, "apt", "trixie")
    result = invoke("cache", "--trim", "0")
    assert result.exit_code == 0, result.output
    assert "removed 1" in result.output
    assert not entries_of(cache)
    assert lists.exists()


def test_a_link_is_removed_and_not_followed(cache: Path, tmp_path: Path) -> None:
    """Something in the cache that leads out of it: what it leads to stays."""
    outside = tmp_path / "mine"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (cache / "images").mkdir()
    (cache / "images/link").symlink_to(outside)
    assert len(remove(entries_of(cache))) == 1
    assert (outside / "file").read_text() == "mine"


def test_two_months_are_enough(cache: Path) -> None:
    """When something new is kept, its neighbours that nobody has used for two months go; no other kind is looked at."""
    old, fresh, other = put(cache, "stores", "a"), put(cache, "stores", "b"), put(cache, "packages", "c")
    for path, days in ((old, 61), (fresh, 59), (other, 61)):
        past = time.time() - days * DAY_S
        os.utime(path, (past, past))
    put(cache, "stores", "new")
    assert [path.exists() for path in (old, fresh, other)] == [False, True, True]


@pytest.mark.parametrize("age", ["", "x", "30x", "-1", "1.5d", "1d2h", "9999999d"])
def test_an_age_is_checked(cache: Path, age: str) -> None:
    """What is no age is refused, and nothing is removed."""
    kept = put(cache, "images", "a", days=1000)
    result = invoke("cache", "--trim", age)
    assert result.exit_code != 0
    assert kept.exists()
