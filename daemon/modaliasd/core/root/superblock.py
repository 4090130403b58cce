"""What a block device holds, told by the magic numbers of file systems and of what lies below them.

    probe(read, size) -> Superblock | None     read(offset, length) gives bytes, fewer at the end

The order is libblkid's: members of arrays and volume groups first, for a file system may show through them. Names of
types, UUIDs and labels are libblkid's, too, so that what `blkid` prints can be given as root=. Formats: the kernel's
own headers (fs/*/, include/uapi/linux/), named at each.
"""

from __future__ import annotations

from _struct import Struct

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.root.members import luks, lvm, md, swap, text_of, utf16_text, uuid_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]
    Found = tuple[str, str, str]  # type, UUID, label

HEAD = 0x10000 + 0x400  # bytes at the beginning that all but ISO 9660's and btrfs' ends are in
BOOTABLE = {  # type -> the module that mounts it
    "ext2": "ext4",
    "ext3": "ext4",
    "ext4": "ext4",
    "xfs": "xfs",
    "btrfs": "btrfs",
    "vfat": "vfat",
    "squashfs": "squashfs",
    "erofs": "erofs",
    "iso9660": "isofs",
    "f2fs": "f2fs",
    "ntfs": "ntfs3",
    "exfat": "exfat",
}
_U16, _U32, _U16_BIG = Struct("<H"), Struct("<I"), Struct(">H")


class Superblock(NamedTuple):
    """type: as blkid's TYPE. uuid, label: "" where it has none. parts: how many devices it lies on."""

    type: str
    uuid: str = ""
    label: str = ""
    parts: int = 1

    @property
    def mountable(self) -> bool:
        """Is it a file system?"""
        return self.type in BOOTABLE


def probe(read: Read, size: int) -> Superblock | None:
    """Return what is there; None where nothing is known. size: bytes of the device, 0 if unknown. OSError is read's."""
    head = read(0, HEAD)
    for reader in _READERS:
        found = reader(head, read, size)
        if found is not None:
            return Superblock(*found, parts=_parts(head) if found[0] == "btrfs" else 1)
    return None


def _ext(head: bytes, _read: Read, _size: int) -> Found | None:
    """fs/ext4/ext4.h, struct ext4_super_block, at 1024."""
    block = head[1024:2048]
    if len(block) < 264 or block[56:58] != b"\x53\xef":
        return None
    compat, incompat, ro_compat = (_U32.unpack_from(block, at)[0] for at in (92, 96, 100))
    if incompat & 0x8:
        return "jbd", uuid_text(block[104:120]), text_of(block[120:136])
    # what ext3 knows: filetype, recover, meta_bg; sparse_super, large_file, btree_dir
    new = incompat & ~0x16 or ro_compat & ~0x7
    kind = "ext4" if new else ("ext3" if compat & 0x4 else "ext2")
    return kind, uuid_text(block[104:120]), text_of(block[120:136])


def _xfs(head: bytes, _read: Read, _size: int) -> Found | None:
    """fs/xfs/libxfs/xfs_format.h, struct xfs_dsb."""
    return ("xfs", uuid_text(head[32:48]), text_of(head[108:120])) if head[:4] == b"XFSB" else None


def _btrfs(head: bytes, _read: Read, _size: int) -> Found | None:
    """include/uapi/linux/btrfs_tree.h, struct btrfs_super_block, at 64 KiB."""
    block = head[0x10000:]
    if block[64:72] != b"_BHRfS_M":
        return None
    return "btrfs", uuid_text(block[32:48]), text_of(block[299:555])


def _parts(head: bytes) -> int:
    """Return the number of a btrfs' devices."""
    return max(1, int.from_bytes(head[0x10000 + 136 : 0x10000 + 144], "little"))


def _squashfs(head: bytes, _read: Read, _size: int) -> Found | None:
    """fs/squashfs/squashfs_fs.h; version 4 is what the kernel mounts."""
    return ("squashfs", "", "") if head[:4] == b"hsqs" and head[28:30] == b"\x04\x00" else None


def _erofs(head: bytes, _read: Read, _size: int) -> Found | None:
    """fs/erofs/erofs_fs.h, struct erofs_super_block, at 1024."""
    if head[1024:1028] != b"\xe2\xe1\xf5\xe0":
        return None
    return "erofs", uuid_text(head[1072:1088]), text_of(head[1088:1104])


def _f2fs(head: bytes, _read: Read, _size: int) -> Found | None:
    """include/linux/f2fs_fs.h, struct f2fs_super_block, at 1024."""
    if head[1024:1028] != b"\x10\x20\xf5\xf2":
        return None
    return "f2fs", uuid_text(head[1132:1148]), utf16_text(head[1148 : 1148 + 1024])


def _iso9660(_head: bytes, read: Read, _size: int) -> Found | None:
    """include/uapi/linux/iso_fs.h, struct iso_primary_descriptor, at 32 KiB."""
    block = read(0x8000, 0x400)
    if block[1:6] != b"CD001" or block[:1] != b"\x01":
        return None
    stamp = next((s for s in (block[830:846], block[813:829]) if s.isdigit() and s.strip(b"0")), b"")
    date = stamp.decode()
    parts = (date[:4], *(date[at : at + 2] for at in range(4, 16, 2)))
    return "iso9660", "-".join(parts) if date else "", text_of(block[40:72]).rstrip()


def _fat(head: bytes, read: Read, _size: int) -> Found | None:
    """include/uapi/linux/msdos_fs.h, struct fat_boot_sector; NTFS and exFAT begin alike."""
    if head[510:512] != b"\x55\xaa":
        return None
    if head[3:11] == b"NTFS    ":
        return "ntfs", f"{int.from_bytes(head[72:80], 'little'):016X}", ""
    if head[3:11] == b"EXFAT   ":
        return "exfat", _serial(head[100:104]), ""
    sector, cluster, fats = _U16.unpack_from(head, 11)[0], head[13], head[16]
    if sector not in (512, 1024, 2048, 4096) or not cluster or cluster & (cluster - 1):
        return None
    if fats not in (1, 2) or head[21] < 0xF0:
        return None
    is_32 = not _U16.unpack_from(head, 22)[0]
    at = 67 if is_32 else 39
    if head[at + 15 : at + 18] != b"FAT":
        return None
    label = _fat_label(read, _root_directory(head, sector, cluster, fats, is_32=is_32))
    return "vfat", _serial(head[at : at + 4]), label or _fat_name(head[at + 4 : at + 15])


def _root_directory(head: bytes, sector: int, cluster: int, fats: int, *, is_32: bool) -> tuple[int, int]:
    """Return where the root directory begins, and how many bytes of it are looked at (FAT32: its first cluster)."""
    reserved, entries = _U16.unpack_from(head, 14)[0], _U16.unpack_from(head, 17)[0]
    length = _U32.unpack_from(head, 36)[0] if is_32 else _U16.unpack_from(head, 22)[0]
    start = (reserved + fats * length) * sector
    if not is_32:
        return start, min(entries * 32, 1 << 16)
    first = _U32.unpack_from(head, 44)[0]
    return start + max(0, first - 2) * cluster * sector, min(cluster * sector, 1 << 16)


def _fat_label(read: Read, place: tuple[int, int]) -> str:
    """Return the name of the volume's entry (attribute 8) in the root directory; "" if it has none."""
    directory = read(*place)
    for at in range(0, len(directory) - 31, 32):
        entry = directory[at : at + 32]
        if entry[0] == 0:
            break
        if entry[0] != 0xE5 and entry[11] & 0x18 == 0x08 and entry[11] != 0x0F:
            return _fat_name(entry[:11])
    return ""


def _fat_name(name: bytes) -> str:
    text = text_of(name).rstrip()
    return "" if text == "NO NAME" else text


def _serial(four: bytes) -> str:
    number = int.from_bytes(four, "little")
    return f"{number >> 16:04X}-{number & 0xFFFF:04X}"


_READERS = (md, lvm, luks, swap, _xfs, _ext, _btrfs, _squashfs, _erofs, _f2fs, _iso9660, _fat)
