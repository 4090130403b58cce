"""Block devices of a made-up /sys, with files for their nodes: linux/root/blockdev.py, shares.py."""

import os
import subprocess
from pathlib import Path

import pytest

from modaliasd.core.root.superblock import Superblock
from modaliasd.core.root.target import BlockDevice, find, needs_content, shown
from modaliasd.core.root.words import parse_root
from modaliasd.linux.root.blockdev import BlockDevices
from modaliasd.linux.root.shares import tags
from tests.support.programs import require_program

UUID = "11111111-2222-3333-4444-555555555555"
MIB = 1 << 20


def write(path: Path, text: str) -> None:
    """Write a file and what is above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A disk with two partitions (GPT), of which the second is ext4; an empty drive; a volume of LVM."""
    dev, sys = tmp_path / "dev", tmp_path / "sys"
    (dev / "mapper").mkdir(parents=True)
    with (dev / "vda").open("wb") as file:
        file.truncate(32 * MIB)
    lines = f'label: gpt\nstart=2048, size=2048\nstart=4096, size=32768, uuid={UUID}, name="my root"\n'
    argv = [require_program("sfdisk"), "-q", str(dev / "vda")]
    subprocess.run(argv, input=lines.encode(), check=True, capture_output=True)
    for name, size in (("vda1", MIB), ("vda2", 16 * MIB), ("dm-0", MIB)):
        with (dev / name).open("wb") as file:
            file.truncate(size)
    subprocess.run(
        [require_program("mke2fs"), "-q", "-t", "ext4", "-L", "here", str(dev / "vda2")], check=True
    )
    disk = sys / "devices/pci0000:00/virtio0/block/vda"
    facts = {
        "vda": ("253:0", 65536, ""),
        "vda1": ("253:1", 2048, "PARTN=1\n"),
        "vda2": ("253:2", 32768, "PARTN=2\n"),
    }
    (sys / "class/block").mkdir(parents=True)
    for name, (number, sectors, more) in facts.items():
        place = disk if name == "vda" else disk / name
        write(place / "dev", f"{number}\n")
        write(place / "size", f"{sectors}\n")
        write(place / "uevent", f"DEVNAME={name}\n{more}")
        (sys / "class/block" / name).symlink_to(os.path.relpath(place, sys / "class/block"))
    write(disk / "queue/logical_block_size", "512\n")
    for name, number, sectors in (("sr0", "11:0", 0), ("dm-0", "254:0", 2048)):
        place = sys / "class/block" / name
        write(place / "dev", f"{number}\n")
        write(place / "size", f"{sectors}\n")
        write(place / "uevent", f"DEVNAME={name}\n")
    write(sys / "class/block/dm-0/dm/name", "vg--0-my--root\n")
    write(sys / "class/block/dm-0/dm/uuid", "LVM-abc\n")
    return tmp_path


def test_devices_are_read(world: Path) -> None:
    """Node, number, disk, the table's names and what is on each, from /sys and the devices themselves."""
    devices = BlockDevices(str(world))
    assert devices.names() == ["dm-0", "sr0", "vda", "vda1", "vda2"]
    part = devices.look("vda2")
    assert part is not None
    assert (part.node, part.number, part.disk, part.part) == ("/dev/vda2", "253:2", "vda", 2)
    assert (part.partuuid, part.partlabel) == (UUID, "my root")
    assert part.holds is not None
    assert (part.holds.type, part.holds.label) == ("ext4", "here")
    drive = devices.look("sr0")
    assert drive is not None
    assert (drive.size, drive.holds) == (0, None)
    assert devices.look("sdz") is None
    volume = devices.look("dm-0")
    assert volume is not None
    assert volume.names == ("/dev/mapper/vg--0-my--root", "/dev/vg-0/my-root")


@pytest.mark.parametrize(
    "word",
    [
        f"PARTUUID={UUID.upper()}",
        'PARTLABEL="my root"',
        "LABEL=here",
        "/dev/vda2",
        "253:2",
    ],
)
def test_each_name_leads_to_it(world: Path, word: str) -> None:
    """Whatever root= names it by."""
    devices = BlockDevices(str(world))
    known = [device for name in devices.names() if (device := devices.look(name)) is not None]
    target = parse_root(f"root={word}").target
    assert target is not None
    assert [one.node for one in find(target, known)] == ["/dev/vda2"]


@pytest.mark.parametrize(
    ("word", "needed"),
    [
        ("vda", False),
        ("/dev/data/root", True),
        ("/dev/mapper/x", True),
        ("/dev/md0", True),
        ("LABEL=x", True),
    ],
)
def test_what_may_lie_on_members_has_them_read(word: str, needed: bool) -> None:
    """A plain node is there as soon as its uevent is; a volume's members have to be found by what is on them."""
    target = parse_root(f"root={word}").target
    assert target is not None
    assert needs_content(target) == needed


def test_partitions_are_counted_from_one() -> None:
    """PARTNROFF=1 is the next partition of the same disk."""
    one = BlockDevice("/dev/vda1", disk="vda", part=1, partuuid="aa")
    two = BlockDevice("/dev/vda2", disk="vda", part=2, partuuid="bb")
    target = parse_root("root=PARTUUID=aa/PARTNROFF=1").target
    assert target is not None
    assert find(target, [one, two]) == [two]


def test_a_node_that_cannot_be_opened(world: Path) -> None:
    """The reason is kept, and shown."""
    (world / "dev/vda1").unlink()
    device = BlockDevices(str(world)).look("vda1")
    assert device is not None
    assert "cannot be read: No such file" in shown(device)
    assert shown(BlockDevice("/dev/sr0")) == "/dev/sr0  no medium"
    assert shown(BlockDevice("/dev/sda", size=1, holds=Superblock("swap"))) == "/dev/sda  swap"


def test_tags(tmp_path: Path) -> None:
    """9p's tags stand in /sys; virtiofs' do since Linux 6.9, and before only that there is one."""
    write(tmp_path / "sys/bus/virtio/drivers/9pnet_virtio/virtio3/mount_tag", "home\0\n")
    (tmp_path / "sys/bus/virtio/drivers/virtiofs/virtio4").mkdir(parents=True)
    assert tags(str(tmp_path)) == [("9p", "home"), ("virtiofs", "")]
    write(tmp_path / "sys/fs/virtiofs/0/tag", "share\n")
    assert tags(str(tmp_path)) == [("9p", "home"), ("virtiofs", "share")]
