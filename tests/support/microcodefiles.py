"""CPU microcode as the vendors' files have it, with nothing that a CPU would take."""

import struct


def intel_update(revision: int = 1, size: int = 2000, *, extended: int = 0) -> bytes:
    """An update: its header, `size` bytes of data, `extended` more behind them; its words add up to 0."""
    data = bytes(number * 7 & 0xFF for number in range(size))
    header = [1, revision, 0x01012024, 0x611, 0, 1, 1, size, 48 + size + extended, 0, 0, 0]
    if size == 2000 and not extended:
        header[7:9] = 0, 0  # as old ones have it
    total = sum(header) + sum(struct.unpack(f"<{size // 4}I", data))
    header[4] = -total & 0xFFFFFFFF
    return struct.pack("<12I", *header) + data + bytes(extended)


def amd_container(*patches: bytes) -> bytes:
    """A container: a table of CPUs, and patches."""
    table = struct.pack("<II", 0, 32) + bytes(32)
    return b"DMA\0" + table + b"".join(struct.pack("<II", 1, len(one)) + one for one in patches)
