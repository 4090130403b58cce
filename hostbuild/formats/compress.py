"""Compressors of images: those the kernel can unpack, with the settings that its decoders demand.

zstd   any frame whose window is at most 128 MiB (lib/decompress_unzstd.c).
xz     the integrity check must be CRC32 or none (lib/decompress_unxz.c); x86's branch filter works where the kernel has
       CONFIG_XZ_DEC_X86.
lz4    the legacy frame only (lib/decompress_unlz4.c): magic, then blocks of 8 MiB, each after its packed size.
gzip   no name and no time in the header, so that two runs give the same bytes.
lzma   the format before xz, and bzip2: only read (unpack.py). lzo: known by name.

Which of them a kernel knows stands in its configuration as CONFIG_RD_ZSTD and so on.
"""

import lzma
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import zstandard

LZ4_BLOCK = 8 << 20
LZ4_LEGACY = 0x184C2102
# What unpacking adds to a boot, and what the sizes are, stands in docs/compression.md. zstd's level 6 packs in two
# thirds of the time of 9, for 3 % more bytes.
_LEVEL_ZSTD = 6
_LEVEL_GZIP = 6
_LEVEL_LZ4 = 9
_SMALLEST_ZSTD = 19
_SMALLEST_GZIP = 9
_SMALLEST_LZ4 = 12
_LARGEST_WINDOW = 64 << 20  # bytes; as xz -9 has it. The guest needs as much memory while it unpacks
_LEAST_WINDOW = 1 << 20


class Compressor(Enum):
    """How an image is packed; the value is its name on the command line and in the manifest."""

    ZSTD = "zstd"
    XZ = "xz"
    GZIP = "gzip"
    LZ4 = "lz4"
    BZIP2 = "bzip2"
    LZMA = "lzma"
    LZO = "lzo"
    NONE = "none"


# those that make-image offers; bzip2 and lzma are only read
WRITABLE = (Compressor.ZSTD, Compressor.XZ, Compressor.GZIP, Compressor.LZ4, Compressor.NONE)

# what the kernel's configuration calls the decoder
KERNEL_OPTION = {
    Compressor.ZSTD: "CONFIG_RD_ZSTD",
    Compressor.XZ: "CONFIG_RD_XZ",
    Compressor.GZIP: "CONFIG_RD_GZIP",
    Compressor.LZ4: "CONFIG_RD_LZ4",
    Compressor.BZIP2: "CONFIG_RD_BZIP2",
    Compressor.LZMA: "CONFIG_RD_LZMA",
    Compressor.LZO: "CONFIG_RD_LZO",
}

_MAGICS = (
    (b"\x28\xb5\x2f\xfd", Compressor.ZSTD),
    (b"\xfd7zXZ\0", Compressor.XZ),
    (b"\x1f\x8b", Compressor.GZIP),
    (struct.pack("<I", LZ4_LEGACY), Compressor.LZ4),
    (b"BZh", Compressor.BZIP2),
)


def detect(head: bytes) -> Compressor:
    """Tell by the first bytes how data is packed; NONE where no magic is known."""
    return next((compressor for magic, compressor in _MAGICS if head.startswith(magic)), Compressor.NONE)


@dataclass(frozen=True, slots=True)
class Packing:
    """How an image is to be packed.

    smallest: take as long as it takes for fewer bytes. x86_filter: for xz, the kernel can undo x86's branch filter.
    """

    compressor: Compressor
    smallest: bool = False
    x86_filter: bool = False

    def window(self, size: int) -> int:
        """Return the bytes that unpacking `size` bytes keeps in the guest's memory beside its output."""
        large = self.compressor is Compressor.XZ or (self.smallest and self.compressor is Compressor.ZSTD)
        if not large:
            return 0
        return min(max(1 << max(size - 1, 0).bit_length(), _LEAST_WINDOW), _LARGEST_WINDOW)


class Sink(Protocol):
    """A compressor at work: takes data, gives what is ready."""

    def compress(self, data: bytes, /) -> bytes:
        """Take data; give packed bytes, possibly none yet."""

    def flush(self) -> bytes:
        """End the stream and give the rest."""


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Lz4Legacy:
    """The legacy frame: one block for every 8 MiB."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._head = struct.pack("<I", LZ4_LEGACY)
        self._waiting = bytearray()

    def compress(self, data: bytes, /) -> bytes:
        self._waiting += data
        out = self._head
        self._head = b""
        while len(self._waiting) >= LZ4_BLOCK:
            out += self._block(bytes(self._waiting[:LZ4_BLOCK]))
            del self._waiting[:LZ4_BLOCK]
        return out

    def flush(self) -> bytes:
        return self._head + (self._block(bytes(self._waiting)) if self._waiting else b"")

    def _block(self, data: bytes) -> bytes:
        import lz4.block

        packed: bytes = lz4.block.compress(
            data, mode="high_compression", compression=self._level, store_size=False
        )
        return struct.pack("<I", len(packed)) + packed


def sink(packing: Packing, size: int) -> Sink:
    """Open a compressor for about `size` bytes.

    The same data in the same pieces give the same bytes on any number of CPUs.
    """
    return _OPENERS[packing.compressor](packing, size)


def _open_zstd(packing: Packing, size: int) -> Sink:
    if packing.smallest:
        window_log = packing.window(size).bit_length() - 1
        settings = zstandard.ZstdCompressionParameters.from_level(
            _SMALLEST_ZSTD, window_log=window_log, enable_ldm=True
        )
        return zstandard.ZstdCompressor(compression_params=settings).compressobj()
    # the output depends on whether zstd works in threads at all, not on how many
    packer = zstandard.ZstdCompressor(level=_LEVEL_ZSTD, threads=max(os.cpu_count() or 1, 2))
    return packer.compressobj()


def _open_xz(packing: Packing, size: int) -> Sink:
    lzma2 = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": packing.window(size),
    }
    filters = [{"id": lzma.FILTER_X86}, lzma2] if packing.x86_filter else [lzma2]
    return lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)


def _open_gzip(packing: Packing, _size: int) -> Sink:
    level = _SMALLEST_GZIP if packing.smallest else _LEVEL_GZIP
    return zlib.compressobj(level, zlib.DEFLATED, 31)  # 16 asks for a gzip header, + a 32 KiB window


_OPENERS: dict[Compressor, Callable[[Packing, int], Sink]] = {
    Compressor.ZSTD: _open_zstd,
    Compressor.XZ: _open_xz,
    Compressor.GZIP: _open_gzip,
    Compressor.LZ4: lambda packing, _size: _Lz4Legacy(_SMALLEST_LZ4 if packing.smallest else _LEVEL_LZ4),
    Compressor.NONE: lambda _packing, _size: _Plain(),
}
