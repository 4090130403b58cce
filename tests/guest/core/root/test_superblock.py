"""The reader of superblocks beside blkid: core/root/superblock.py, members.py, partitions.py."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.root.members import utf16_text
from modaliasd.core.root.partitions import partition_names
from modaliasd.core.root.superblock import Superblock, probe
from tests.support.programs import require_program

UUID = "11111111-2222-3333-4444-555555555555"
MIB = 1 << 20
# name -> (bytes, the command that makes it)
MAKERS = {
    "ext2": (8 * MIB, "mke2fs -q -t ext2 -L small FILE"),
    "ext3": (16 * MIB, "mke2fs -q -t ext3 FILE"),
    "ext4": (16 * MIB, f"mke2fs -q -t ext4 -U {UUID} -L 'my root' FILE"),
    "jbd": (8 * MIB, "mke2fs -q -t ext4 -O journal_dev FILE"),
    "xfs": (320 * MIB, "mkfs.xfs -q -L xroot FILE"),
    "btrfs": (128 * MIB, "mkfs.btrfs -q -L broot FILE"),
    "vfat32": (64 * MIB, "mkfs.vfat -F 32 -n EFI FILE"),
    "vfat16": (16 * MIB, "mkfs.vfat -F 16 FILE"),
    "vfat12": (2 * MIB, "mkfs.vfat -F 12 -n TINY FILE"),
    "f2fs": (128 * MIB, "mkfs.f2fs -q -l froot FILE"),
    "erofs": (0, f"mkfs.erofs -U {UUID} FILE SOURCE"),
    "squashfs": (0, "mksquashfs SOURCE FILE -quiet -noappend"),
    "swap": (8 * MIB, "mkswap -L sw FILE"),
    "luks1": (32 * MIB, "cryptsetup luksFormat --type luks1 --pbkdf-force-iterations 1000 -q FILE -"),
    "luks2": (
        32 * MIB,
        "cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --label lock -q FILE -",
    ),
}


def read_from(path: Path) -> Callable[[int, int], bytes]:
    """A reader of a file."""
    data = path.read_bytes()
    return lambda offset, length: data[offset : offset + length]


def blkid(path: Path) -> dict[str, str]:
    """What blkid says of a file."""
    argv = [require_program("blkid"), "-p", "-o", "export", str(path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return {k: v.replace("\\ ", " ") for k, _, v in (line.partition("=") for line in said.splitlines())}


def make(name: str, directory: Path) -> Path:
    """Make one of MAKERS."""
    size, command = MAKERS[name]
    path, source = directory / "file", directory / "source"
    source.mkdir()
    (source / "hello").write_text("hello")
    if size:
        with path.open("wb") as file:
            file.truncate(size)
        path.chmod(0o600)
    words = [{"FILE": str(path), "SOURCE": str(source)}.get(word, word) for word in shlex.split(command)]
    subprocess.run([require_program(words[0]), *words[1:]], input=b"secret", capture_output=True, check=True)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_blkid_says_the_same(name: str, tmp_path: Path) -> None:
    """Type, UUID and label of what the file systems' own programs make are blkid's."""
    path = make(name, tmp_path)
    said = blkid(path)
    found = probe(read_from(path), path.stat().st_size)
    assert found is not None
    assert said["TYPE"] == found.type
    assert said.get("UUID", "") == found.uuid
    assert said.get("LABEL", "") == found.label


@pytest.mark.parametrize("metadata", ["1.2", "1.1", "1.0", "0.90"])
def test_members_of_arrays(metadata: str) -> None:
    """All places of md's superblock are looked at; the bytes are those of md_p.h."""
    size = 64 * MIB
    magic = b"\xfc\x4e\x2b\xa9"
    places = {
        "1.2": 4096,
        "1.1": 0,
        "1.0": (((size >> 9) - 16) & ~7) << 9,
        "0.90": (size & ~0xFFFF) - 0x10000,
    }
    if metadata == "0.90":
        block = bytearray(magic + bytes(60))
        for word, number in ((5, 0x11111111), (13, 0x22223333), (14, 0x44445555), (15, 0x55555555)):
            block[4 * word : 4 * word + 4] = number.to_bytes(4, "little")
    else:
        block = bytearray(magic + b"\1\0\0\0" + bytes(8) + bytes.fromhex(UUID.replace("-", "")) + b"host:0")
        block += bytes(64 - len(block))

    def read(offset: int, length: int) -> bytes:
        data = bytearray(max(0, min(length, size - offset)))
        at = places[metadata] - offset
        if 0 <= at < len(data):
            data[at : at + 64] = block
        return bytes(data)

    found = probe(read, size)
    uuid = "11111111-2222-3333-4444-555555555555"
    assert found == Superblock("linux_raid_member", uuid, "" if metadata == "0.90" else "host:0")


def test_a_physical_volume() -> None:
    """LVM2's label in the second sector gives the volume's UUID with LVM's own dashes."""
    label = (
        b"LABELONE"
        + bytes(12)
        + (32).to_bytes(4, "little")
        + b"LVM2 001"
        + b"abcdefghijklmnopqrstuvwxyz012345"
    )
    data = bytes(512) + label + bytes(MIB)
    found = probe(lambda offset, length: data[offset : offset + length], MIB)
    assert found == Superblock("LVM2_member", "abcdef-ghij-klmn-opqr-stuv-wxyz-012345")


def test_iso9660() -> None:
    """A descriptor at 32 KiB, as blkid reads it: the name without its blanks, the date as UUID."""
    block = (
        b"\1CD001\1\0" + bytes(32) + b"LIVE".ljust(32) + bytes(813 - 72) + b"2024010203040506" + b"\0" * 300
    )
    data = bytes(0x8000) + block
    found = probe(lambda offset, length: data[offset : offset + length], len(data))
    assert found == Superblock("iso9660", "2024-01-02-03-04-05-06", "LIVE")


@given(st.binary(max_size=4096), st.sampled_from([0, 512, 1024, 4096, 32768, 65536]))
def test_any_bytes_are_read(data: bytes, place: int) -> None:
    """Whatever lies on a disk, there is an answer."""
    whole = bytes(place) + data
    probe(lambda offset, length: whole[offset : offset + length], len(whole))
    partition_names(lambda offset, length: whole[offset : offset + length], 512)


@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_partitions_are_named_as_sfdisk_names_them(table: str, tmp_path: Path) -> None:
    """PARTUUID and PARTLABEL of each partition are those that sfdisk wrote, in both tables, logical ones included."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    name = ', name="my root"' if table == "gpt" else ""
    lines = [f"label: {table}", "size=8M, type=L", f"size=8M, type=L{name}"]
    lines += ["size=20M, type=5", "size=8M, type=L"] if table == "dos" else []
    sfdisk = require_program("sfdisk")
    subprocess.run(
        [sfdisk, "-q", str(path)],
        input="\n".join(lines).encode(),
        check=True,
        capture_output=True,
    )
    found = partition_names(read_from(path), 512)
    numbers = (1, 2, 5) if table == "dos" else (1, 2)
    for number in numbers:
        if table == "dos":
            argv = [sfdisk, "--disk-id", str(path)]
            said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
            assert found[number][0] == f"{int(said, 16):08x}-{number:02x}"
            continue
        argv = [sfdisk, "--part-uuid", str(path), str(number)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
        assert found[number][0] == said.lower()
    if table == "gpt":
        assert [found[1][1], found[2][1]] == ["", "my root"]
        assert set(found) == {1, 2}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_utf16(text: str) -> None:
    """Names of GPT and f2fs come out as Python's codec has them, which a guest lacks."""
    assert utf16_text(text.encode("utf-16-le") + b"\0\0rest") == text


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    """A device shorter than any superblock holds nothing that is known."""
    path = tmp_path / "short"
    path.write_bytes(b"\0" * 100)
    assert probe(read_from(path), os.path.getsize(path)) is None


@pytest.mark.parametrize(
    ("name", "offset", "mark", "found"),
    [
        ("ntfs", 72, bytes(range(1, 9)), Superblock("ntfs", "0807060504030201")),
        ("exfat", 100, b"\x78\x56\x34\x12", Superblock("exfat", "1234-5678")),
    ],
)
def test_what_begins_like_fat(name: str, offset: int, mark: bytes, found: Superblock) -> None:
    """NTFS and exFAT by their names in the boot sector, with the serial number as blkid writes it."""
    sector = bytearray(512)
    sector[3:11] = name.upper().encode().ljust(8)
    sector[offset : offset + len(mark)] = mark
    sector[510:512] = b"\x55\xaa"
    data = bytes(sector) + bytes(MIB)
    probed = probe(lambda at, length: data[at : at + length], len(data))
    assert probed == found
    assert probed.mountable


@pytest.mark.parametrize(("at", "value"), [(16, 0), (21, 0x10), (13, 3)])
def test_a_boot_sector_that_is_no_fat(at: int, value: int, tmp_path: Path) -> None:
    """Others end with the same two bytes: no FAT at all, no kind of medium, three sectors a cluster; blkid agrees."""
    path = make("vfat16", tmp_path)
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)
    assert probe(read_from(path), len(data)) is None
    assert blkid(path).get("TYPE") is None


@pytest.mark.parametrize(
    ("at", "data"),
    [(440, bytes(4)), (510, b"\0\0"), (512, b"EFI PARX"), (512 + 84, (64).to_bytes(4, "little"))],
    ids=["no signature", "no table", "no header", "short entries"],
)
def test_a_table_that_cannot_be_read_names_no_partition(at: int, data: bytes) -> None:
    """A DOS table without a signature, no table, and a GPT whose header is none, or of a size that none has."""
    gpt = at >= 512
    disk = bytearray(34 * 512)
    disk[440:444] = b"\1\2\3\4"
    disk[446 + 4] = 0xEE if gpt else 0x83
    disk[510:512] = b"\x55\xaa"
    disk[512:520] = b"EFI PART"
    disk[512 + 72 : 512 + 80] = (2).to_bytes(8, "little")
    disk[512 + 80 : 512 + 88] = (4).to_bytes(4, "little") + (128).to_bytes(4, "little")
    disk[1024:1040] = disk[1040:1056] = bytes(range(16))
    assert partition_names(lambda offset, length: bytes(disk[offset : offset + length]), 512)
    disk[at : at + len(data)] = data
    assert partition_names(lambda offset, length: bytes(disk[offset : offset + length]), 512) == {}
