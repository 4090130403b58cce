"""The datagrams that libudev's clients listen to, on netlink group 2: what udevd sends once it has handled a uevent.

A header of 40 bytes, then the properties as NUL-terminated KEY=VALUE strings (systemd's
src/libsystemd/sd-device/device-monitor.c, monitor_netlink_header):

    char prefix[8]            "libudev\\0"
    u32  magic                0xfeedcafe, big endian
    u32  header_size          40, the host's byte order, as the next two
    u32  properties_off       where the properties begin: 40
    u32  properties_len       their length
    u32  subsystem_hash       MurmurHash2 of SUBSYSTEM, big endian, 0 where there is none
    u32  devtype_hash         the same of DEVTYPE
    u32  tag_bloom_hi, _lo    tags that rules attached: none here

The hashes are for filters that clients put into the kernel.
"""

from __future__ import annotations

from _struct import Struct

PREFIX = b"libudev\0"
MAGIC = b"\xfe\xed\xca\xfe"
NATIVE = Struct("=3I")
FILTERS = Struct(">4I")
HEADER_SIZE = 40
MURMUR_M = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, seed 0 (Austin Appleby; public domain)."""
    h = len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * MURMUR_M & MASK
        k ^= k >> 24
        h = (h * MURMUR_M & MASK) ^ (k * MURMUR_M & MASK)
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * MURMUR_M & MASK
    h = (h ^ h >> 13) * MURMUR_M & MASK
    return h ^ h >> 15


def monitor_message(uevent: bytes, subsystem: str, devtype: str) -> bytes:
    """Return the message for a datagram of the kernel, whose properties go on as they are."""
    properties = uevent[uevent.index(b"\0") + 1 :]
    hashes = [
        murmur2(text.encode("utf-8", "surrogateescape")) if text else 0 for text in (subsystem, devtype)
    ]
    lengths = NATIVE.pack(HEADER_SIZE, HEADER_SIZE, len(properties))
    return PREFIX + MAGIC + lengths + FILTERS.pack(*hashes, 0, 0) + properties
