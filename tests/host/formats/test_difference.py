"""hostbuild inspect A B: what two images differ in, held against what was changed."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild import main
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.initramfs.difference import difference
from tests.support.breakage import Part, Parts, write_parts


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """Two images: one file new, one gone, two of other content, one of another mode, link and device."""
    parts = Parts()
    for name in ("same", "gone", "longer", "other", "mode", "kind"):
        parts.put(f"usr/lib/{name}", b"12345")
    parts["link"] = Part(stat.S_IFLNK | 0o777, b"a")
    parts["node"] = Part(stat.S_IFCHR | 0o600, device=(1, 3))
    first = write_parts(tmp_path / "a.img", parts)
    del parts["usr/lib/gone"]
    parts.put("usr/bin/new", b"123", 0o755)
    parts.put("usr/lib/longer", b"1234567")
    parts.put("usr/lib/other", b"54321")
    parts["usr/lib/mode"] = replace(parts["usr/lib/mode"], mode=stat.S_IFREG | 0o600)
    parts["usr/lib/kind"] = Part(stat.S_IFDIR | 0o755)
    parts["link"] = Part(stat.S_IFLNK | 0o777, b"bc")
    parts["node"] = replace(parts["node"], device=(1, 5))
    return first, write_parts(tmp_path / "b.img", parts)


def test_each_change_is_told(images: tuple[Path, Path]) -> None:
    """What is the same is not; an image does not differ from itself."""
    first, second = map(open_image, images)
    told = {one.path: (one.kind.value, one.growth, one.what) for one in difference(first, second)}
    assert told == {
        "link": ("~", 1, "target"),
        "node": ("~", 0, "device"),
        "usr/bin": ("+", 0, ""),
        "usr/bin/new": ("+", 3, ""),
        "usr/lib/gone": ("-", -5, ""),
        "usr/lib/kind": ("~", -5, "type"),
        "usr/lib/longer": ("~", 2, "content"),
        "usr/lib/mode": ("~", 0, "mode"),
        "usr/lib/other": ("~", 0, "content"),
    }
    assert difference(first, first) == []


def test_the_command(images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """It lists them by group with sizes, for people and for programs."""
    words = ["inspect", *map(str, images)]
    assert main.status_of(words) == 0
    out = capsys.readouterr().out
    assert "  +          +3 usr/bin/new" in out
    assert "9 files differ, -4 bytes unpacked" in out
    assert main.status_of([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["growth"] == -4
    assert {one["path"] for one in told["changes"] if one["kind"] == "added"} == {"usr/bin", "usr/bin/new"}
