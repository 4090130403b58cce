"""Opening the index of a module tree: good, missing, stale, damaged, changed under way."""

import os
import re
from pathlib import Path

import pytest

from modaliasd.core.errors import WorldError
from modaliasd.core.index.format import HEADER_SIZE, INDEX_NAME
from modaliasd.core.index.lookup import build
from modaliasd.linux.indexfile import IndexOrigin, IndexReason, open_index

TEXT = b"alias pci:v00008086d00001521sv*sd*bc*sc*i* igb\nalias usb:v1* usb-storage\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A module tree with an index, all files of one time, as in an image."""
    (tmp_path / "modules.alias").write_bytes(TEXT)
    (tmp_path / "modules.order").write_bytes(b"kernel/igb.ko\n")
    (tmp_path / "modules.builtin.modinfo").write_bytes(b"rtc.alias=platform:rtc\0")
    sources = [
        (tmp_path / name).read_bytes()
        for name in ("modules.alias", "modules.order", "modules.builtin.modinfo")
    ]
    (tmp_path / INDEX_NAME).write_bytes(build(*sources))
    for file in tmp_path.iterdir():
        os.utime(file, (1, 1))
    return tmp_path


def test_a_good_index_is_read(tree: Path) -> None:
    """In an image all files have one time: equal is not older."""
    index = open_index(str(tree))
    assert (index.origin, index.reason, index.message) == (IndexOrigin.READ, IndexReason.NONE, "")
    assert [m.module for m in index.lookup("usb:v1")] == ["usb_storage"]
    assert index.aliases == 2
    assert index.check()


@pytest.mark.parametrize("size", [0, HEADER_SIZE, 4096])
def test_an_index_truncated_under_its_reader(tree: Path, size: int) -> None:
    """Whatever becomes of the file once it is open, its answers stay: a mapped one would end the daemon by SIGBUS."""
    index = open_index(str(tree))
    os.truncate(tree / INDEX_NAME, size)
    assert [m.module for m in index.lookup("usb:v1")] == ["usb_storage"]
    assert index.check()


def test_without_an_index_it_is_built(tree: Path) -> None:
    """A missing index is not an error, and is told."""
    (tree / INDEX_NAME).unlink()
    index = open_index(str(tree))
    assert (index.origin, index.reason) == (IndexOrigin.BUILT, IndexReason.MISSING)
    assert index.lookup("platform:rtc")[0].builtin


@pytest.mark.parametrize("name", ["modules.alias", "modules.order", "modules.builtin.modinfo"])
def test_a_source_of_another_size_makes_it_stale(tree: Path, name: str) -> None:
    """The index says how long its sources were, whatever their times."""
    with (tree / name).open("ab") as stream:
        stream.write(b"#\n")
    os.utime(tree / name, (1, 1))
    assert open_index(str(tree)).reason is IndexReason.STALE


def test_a_younger_modules_alias_makes_it_stale(tree: Path) -> None:
    """depmod leaves a modules.alias that is younger than the index, even if it is as long."""
    os.utime(tree / "modules.alias", (2, 2))
    index = open_index(str(tree))
    assert (index.origin, index.reason) == (IndexOrigin.BUILT, IndexReason.STALE)
    assert "older" in index.message


@pytest.mark.parametrize("content", [b"", b"x", b"MODTRIE\n" + bytes(200)], ids=["empty", "short", "zeros"])
def test_a_damaged_index_is_refused_and_replaced(tree: Path, content: bytes) -> None:
    """What cannot be believed is told with its path, and the answers come from the text."""
    (tree / INDEX_NAME).write_bytes(content)
    index = open_index(str(tree))
    assert index.reason is IndexReason.DAMAGED
    assert INDEX_NAME in index.message
    assert [m.module for m in index.lookup("usb:v1")] == ["usb_storage"]


def test_check_finds_damage_that_opening_did_not(tree: Path) -> None:
    """One flipped bit in the body passes the opening, and not the check; then the text answers."""
    data = bytearray((tree / INDEX_NAME).read_bytes())
    data[HEADER_SIZE + 40] ^= 4
    (tree / INDEX_NAME).write_bytes(data)
    os.utime(tree / INDEX_NAME, (1, 1))
    index = open_index(str(tree))
    assert index.origin is IndexOrigin.READ
    assert not index.check()
    assert (index.origin, index.reason, index.generation) == (IndexOrigin.BUILT, IndexReason.DAMAGED, 2)
    assert [m.module for m in index.lookup("usb:v1")] == ["usb_storage"]


def test_no_damaged_word_goes_unnoticed(tree: Path) -> None:
    """Each word of the body in turn: the answer is right, or the damage is told, by the check at the latest."""
    data = (tree / INDEX_NAME).read_bytes()
    noticed_by_lookup = 0
    for place in range(HEADER_SIZE, len(data), 4):
        (tree / INDEX_NAME).write_bytes(data[:place] + b"\xf0\xff\xff\x7f" + data[place + 4 :])
        os.utime(tree / INDEX_NAME, (1, 1))
        index = open_index(str(tree))
        right = [m.module for m in index.lookup("usb:v1")] == ["usb_storage"]
        noticed_by_lookup += index.reason is IndexReason.DAMAGED
        assert right or index.reason is IndexReason.DAMAGED or not index.check()
        index.check()
        assert index.reason is IndexReason.DAMAGED
        assert [m.module for m in index.lookup("usb:v1")] == ["usb_storage"]
    assert noticed_by_lookup > 3


def test_answers_before_damage_was_noticed_are_doubtful(tree: Path) -> None:
    """If a lookup stumbles over the damage, the check says once that answers before may have been wrong."""
    data = (tree / INDEX_NAME).read_bytes()
    noticed = 0
    for place in range(HEADER_SIZE, len(data), 4):
        (tree / INDEX_NAME).write_bytes(data[:place] + b"\xf0\xff\xff\x7f" + data[place + 4 :])
        os.utime(tree / INDEX_NAME, (1, 1))
        index = open_index(str(tree))
        if index.generation > 1 or index.reason is IndexReason.DAMAGED:
            continue
        index.lookup("usb:v1")
        noticed += index.generation > 1
        assert not index.check()
        assert index.check()
    assert noticed > 3


def test_a_changed_modules_alias_is_noticed_before_a_miss_is_final(tree: Path) -> None:
    """A module package installed while running counts for the next lookup that finds nothing."""
    index = open_index(str(tree))
    assert index.lookup("hid:b0003") == []
    replacement = tree / "new"
    replacement.write_bytes(TEXT + b"alias hid:b0003* usbhid\n")
    replacement.rename(tree / "modules.alias")
    assert [m.module for m in index.lookup("hid:b0003")] == ["usbhid"]
    assert (index.generation, index.origin, index.reason) == (2, IndexOrigin.BUILT, IndexReason.STALE)


def test_a_modules_alias_that_vanishes_takes_nothing_away(tree: Path) -> None:
    """While depmod replaces it, what was known stays."""
    index = open_index(str(tree))
    (tree / "modules.alias").unlink()
    assert index.lookup("nothing:1") == []
    assert index.lookup("usb:v1")


def test_without_modules_alias_there_is_nothing_to_open(tmp_path: Path) -> None:
    """The error names the file, and what would make it."""
    with pytest.raises(WorldError, match=r"modules\.alias.*depmod"):
        open_index(str(tmp_path))


@pytest.mark.parametrize("name", ["modules.alias", "modules.order", "modules.builtin.modinfo"])
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """One that is there and cannot be read (a directory: root, too, cannot) is named, with what would make it.

    The daemon makes do, and says it.
    """
    (tmp_path / "modules.alias").write_bytes(TEXT)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(WorldError, match=rf"cannot read \S*/{re.escape(name)}: Is a directory; .*depmod"):
        open_index(str(tmp_path))
    index = open_index(str(tmp_path), tolerant=True)
    assert f"cannot read {name}: Is a directory" in index.message
    assert bool(index.lookup("usb:v1")) == (name != "modules.alias")


def test_an_index_that_cannot_be_read_is_replaced(tree: Path) -> None:
    """A good modules.alias is enough; the message has the reason in words, without an error's number."""
    (tree / INDEX_NAME).unlink()
    (tree / INDEX_NAME).mkdir()
    index = open_index(str(tree))
    assert (index.origin, index.reason) == (IndexOrigin.BUILT, IndexReason.DAMAGED)
    assert index.message == f"{tree / INDEX_NAME} cannot be used: Is a directory"
    assert index.lookup("usb:v1")


@pytest.mark.parametrize("damage", ["missing", "a directory"])
def test_the_daemon_makes_do_without_an_index(tmp_path: Path, damage: str) -> None:
    """A tolerant opening gives an index that finds nothing and says why; when modules.alias comes it is opened."""
    source = tmp_path / "modules.alias"
    if damage == "a directory":
        source.mkdir()
    index = open_index(str(tmp_path), tolerant=True)
    assert index.lookup("pci:v1d2") == []
    assert "modules.alias" in index.message
    if damage == "missing":
        source.write_text("alias pci:v1d2* nic\n", encoding="ascii")
        assert [match[0] for match in index.lookup("pci:v1d2")] == ["nic"]
