"""What lies below file systems: members of arrays (md) and volume groups (LVM2), LUKS, swap. See superblock.py."""

from __future__ import annotations

from _struct import Struct

from modaliasd.core.fasttypes import Enum, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]
    Found = tuple[str, str, str]  # type, UUID, label


class Kind(NamedTuple):
    """What it takes to get at what is inside. words: what it is. extra: of `hostbuild make-image --with`."""

    words: str
    program: str
    module: str
    extra: str


LUKS = "crypto_LUKS"
MEMBERS = {
    "linux_raid_member": Kind("a member of an md array", "mdadm", "md_mod", "md"),
    "LVM2_member": Kind("a physical volume of LVM", "lvm", "dm_mod", "lvm"),
    LUKS: Kind("encrypted (LUKS)", "cryptsetup", "dm_crypt", "luks"),
}


class Outcome(Enum):
    """What has become of a member that nothing was made of."""

    NO_TOOL = "no tool"
    NO_MODULE = "no module"
    FAILED = "failed"  # its tool said so, or the array or the group is not whole
    NOT_WANTED = "not wanted"  # rd.luks.* names others
    NO_KEY = "no key"  # nobody gave one
    WRONG_KEY = "wrong key"


class Fate(NamedTuple):
    """The outcome for a device. said: by the tool, or of the key."""

    node: str
    outcome: Outcome
    said: str = ""


_MD_MAGIC = b"\xfc\x4e\x2b\xa9"
_U32 = Struct("<I")
_SWAP = (b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001")


def md(head: bytes, read: Read, size: int) -> Found | None:
    """include/uapi/linux/raid/md_p.h: mdp_superblock_1, and mdp_super_t of version 0.90."""
    ends = (((size >> 9) - 16) & ~7) << 9 if size > 1 << 16 else -1
    for at in (0, 4096, ends):
        block = head[at : at + 64] if 0 <= at < 8192 else (read(at, 64) if at > 0 else b"")
        if block[:4] == _MD_MAGIC and block[4:8] == b"\x01\0\0\0":
            return "linux_raid_member", uuid_text(block[16:32]), text_of(block[32:64])
    if size < 1 << 17:
        return None
    block = read((size & ~0xFFFF) - 0x10000, 64)
    if block[:4] != _MD_MAGIC or block[4:8] != b"\0\0\0\0":
        return None
    # set_uuid0 is word 5, the other three are words 13 to 15; blkid prints them as numbers
    words = [_U32.unpack_from(block, 4 * word)[0] for word in (5, 13, 14, 15)]
    return "linux_raid_member", uuid_text(b"".join(word.to_bytes(4, "big") for word in words)), ""


def lvm(head: bytes, _read: Read, _size: int) -> Found | None:
    """lib/format_text/layout.h of LVM2: a label in one of the first four sectors."""
    for at in range(0, 2048, 512):
        if head[at : at + 8] == b"LABELONE" and head[at + 24 : at + 32] == b"LVM2 001":
            start = at + _U32.unpack_from(head, at + 20)[0]
            raw = head[start : start + 32].decode("ascii", "replace")
            cuts = (0, 6, 10, 14, 18, 22, 26, 32)
            return "LVM2_member", "-".join(raw[cuts[n] : cuts[n + 1]] for n in range(7)), ""
    return None


def luks(head: bytes, _read: Read, _size: int) -> Found | None:
    """on-disk formats LUKS1 and LUKS2 of cryptsetup."""
    if head[:6] != b"LUKS\xba\xbe":
        return None
    label = text_of(head[24:72]) if head[6:8] == b"\0\x02" else ""
    return "crypto_LUKS", text_of(head[168:208]), label


def swap(head: bytes, _read: Read, _size: int) -> Found | None:
    """include/linux/swap.h, union swap_header: the magic stands at the end of the first page, whatever its size."""
    for page in (4096, 8192, 16384, 65536):
        magic = head[page - 10 : page]
        if magic in _SWAP:
            kind = "swap" if magic[:4] == b"SWAP" else "swsuspend"
            return kind, uuid_text(head[1036:1052]), text_of(head[1052:1068])
    return None


def uuid_text(data: bytes) -> str:
    """Return 16 bytes as a UUID is written; "" where all are zero, or some are missing."""
    text = data.hex()
    if len(data) < 16 or not any(data):
        return ""
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def utf16_text(data: bytes) -> str:
    """Return little-endian UTF-16 up to its first zero; a guest's library has no codec for it."""
    text, high = "", 0
    for at in range(0, len(data) - 1, 2):
        unit = data[at] | data[at + 1] << 8
        if not unit:
            break
        if 0xD800 <= unit < 0xDC00:
            high = unit
            continue
        if 0xDC00 <= unit < 0xE000:
            unit = 0x10000 + ((high - 0xD800) << 10 | unit - 0xDC00) if high else 0xFFFD
        high = 0
        text += chr(unit)
    return text


def text_of(data: bytes) -> str:
    """Return a name that ends at the first zero byte."""
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
