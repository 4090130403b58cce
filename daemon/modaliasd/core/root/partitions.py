"""PARTUUID and PARTLABEL of a disk's partitions, from its table: kernels before 6.12 do not say them in /sys.

    partition_names(read, sector) -> {number: (PARTUUID, PARTLABEL)}

GPT (block/partitions/efi.h) and MBR (block/partitions/msdos.c), whose PARTUUID is the disk's signature and the
partition's number: `5df81a1c-02`. Logical partitions have the numbers that the kernel gives, so they need no reading.
"""

from __future__ import annotations

from _struct import Struct

from modaliasd.core.root.members import utf16_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = Struct(
    "<8s64xQIII"
)  # signature ... entries' first sector, their number, the size of each, checksum
_MOST_ENTRIES = 256  # the kernel takes as many (DISK_MAX_PARTS)


def partition_names(read: Callable[[int, int], bytes], sector: int) -> dict[int, tuple[str, str]]:
    """Return them by the partition's number; {} where there is no table that is known. sector: its bytes."""
    first = read(0, 512)
    if first[510:512] != b"\x55\xaa":
        return {}
    if any(first[at + 4] == 0xEE for at in range(446, 510, 16)):
        return _gpt(read, sector)
    signature = int.from_bytes(first[440:444], "little")
    if not signature:
        return {}
    return {number: (f"{signature:08x}-{number:02x}", "") for number in range(1, 64)}


def _gpt(read: Callable[[int, int], bytes], sector: int) -> dict[int, tuple[str, str]]:
    header = read(sector, 96)
    if len(header) < 96 or header[:8] != b"EFI PART":
        return {}
    _signature, start, count, size, _checksum = _HEADER.unpack_from(header)
    if size < 128 or size > 4096:
        return {}
    count = min(count, _MOST_ENTRIES)
    table = read(start * sector, count * size)
    found = {}
    for number in range(1, len(table) // size + 1):
        entry = table[(number - 1) * size : number * size]
        if any(entry[:16]):
            found[number] = guid_text(entry[16:32]), utf16_text(entry[56:128])
    return found


def guid_text(data: bytes) -> str:
    """Return a GUID's 16 bytes as text: the first three parts are little-endian numbers."""
    a, b, c = data[3::-1], data[5:3:-1], data[7:5:-1]
    return f"{a.hex()}-{b.hex()}-{c.hex()}-{data[8:10].hex()}-{data[10:16].hex()}"
