"""hostbuild.image.modules.firmware: what modules name is found in the first directory that has it, and unpacked."""

import lzma
from pathlib import Path

import pytest
import zstandard

from hostbuild.errors import InputError
from hostbuild.image.filetree import FileTree
from hostbuild.image.modules.firmware import Firmware, put_firmware
from hostbuild.image.modules.selection import Module


def put(tree: FileTree, directories: list[Path], *names: str) -> Firmware:
    """Put the firmware of a module that names these files."""
    return put_firmware(tree, [Module("m", "kernel/m.ko", b"", 0, names)], directories)


def test_packed_firmware_is_unpacked(tmp_path: Path) -> None:
    """Names ending in .xz or .zst lose that; any kernel can read what is there then. A wildcard takes all."""
    (tmp_path / "no-such").mkdir()
    (tmp_path / "no-such/a.bin.xz").write_bytes(lzma.compress(b"A"))
    (tmp_path / "no-such/b.bin.zst").write_bytes(zstandard.compress(b"B"))
    (tmp_path / "no-such/c.bin").write_bytes(b"C")
    tree = FileTree()
    found = put(tree, [tmp_path], "no-such/a.bin", "no-such/b.bin", "no-such/c*", "no-such/d.bin")
    assert found == Firmware(["no-such/a.bin", "no-such/b.bin", "no-such/c*"], ["no-such/d.bin"])
    for name, data in (("a", b"A"), ("b", b"B"), ("c", b"C")):
        assert tree[f"usr/lib/firmware/no-such/{name}.bin"].read() == data


def test_the_first_directory_wins(tmp_path: Path) -> None:
    """A file of the caller's is taken before the same one of a later directory."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "no-such.bin").write_bytes(name.encode())
    tree = FileTree()
    put(tree, [tmp_path / "one", tmp_path / "two"], "no-such.bin")
    assert tree["usr/lib/firmware/no-such.bin"].read() == b"one"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Damaged firmware, and a directory that is none, are errors with the path."""
    (tmp_path / "no-such.bin.xz").write_bytes(lzma.compress(bytes(1000))[:40])
    with pytest.raises(InputError, match=r"cannot read the firmware .*no-such\.bin\.xz"):
        put(FileTree(), [tmp_path], "no-such.bin")
    with pytest.raises(InputError, match="absent is not a directory"):
        put(FileTree(), [tmp_path / "absent"])
