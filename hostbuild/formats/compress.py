"""Compressors of images: those the kernel can unpack, with the settings that its decoders demand.

zstd   any frame (lib/decompress_unzstd.c). xz: the integrity check must be CRC32 or none
(lib/decompress_unxz.c). lz4    the legacy frame only (lib/decompress_unlz4.c): magic, then blocks of 8 MiB,
each after its packed size. gzip   no name and no time in the header, so that two runs give the same bytes.

Which of them a kernel knows stands in its configuration as CONFIG_RD_ZSTD and so on.
"""

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import zstandard

from hostbuild.errors import HostbuildError

_LZ4_BLOCK = 8 << 20
_LZ4_LEGACY = 0x184C2102
# Measured on an image of 44 MB, QEMU's instruction counter as the clock: unpacking adds to the boot 0.1 s for
# lz4 (16.4 MB), 0.5 s for zstd at any level (12.2 MB at 6), 0.7 s for gzip (13.6 MB), 3.7 s for xz (9.4 MB).
# zstd's level 6 packs in two thirds of the time of 9, for 3 % more bytes.
_LEVEL_ZSTD = 6
_LEVEL_GZIP = 6
_LEVEL_XZ = 6


class CompressionError(HostbuildError):
    """Compressed data is damaged or cut short."""


class Compressor(Enum):
    """How an image is packed; the value is its name on the command line and in the manifest."""

    ZSTD = "zstd"
    XZ = "xz"
    GZIP = "gzip"
    LZ4 = "lz4"
    BZIP2 = "bzip2"
    NONE = "none"


# those that make-image offers; bzip2 is only read
WRITABLE = (Compressor.ZSTD, Compressor.XZ, Compressor.GZIP, Compressor.LZ4, Compressor.NONE)

# what the kernel's configuration calls the decoder
KERNEL_OPTION = {
    Compressor.ZSTD: "CONFIG_RD_ZSTD",
    Compressor.XZ: "CONFIG_RD_XZ",
    Compressor.GZIP: "CONFIG_RD_GZIP",
    Compressor.LZ4: "CONFIG_RD_LZ4",
    Compressor.BZIP2: "CONFIG_RD_BZIP2",
}

_MAGICS = (
    (b"\x28\xb5\x2f\xfd", Compressor.ZSTD),
    (b"\xfd7zXZ\0", Compressor.XZ),
    (b"\x1f\x8b", Compressor.GZIP),
    (struct.pack("<I", _LZ4_LEGACY), Compressor.LZ4),
    (b"BZh", Compressor.BZIP2),
)


def detect(head: bytes) -> Compressor:
    """Tell by the first bytes how data is packed; NONE where no magic is known."""
    return next((compressor for magic, compressor in _MAGICS if head.startswith(magic)), Compressor.NONE)


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

    def __init__(self) -> None:
        self._head = struct.pack("<I", _LZ4_LEGACY)
        self._waiting = bytearray()

    def compress(self, data: bytes, /) -> bytes:
        self._waiting += data
        out = self._head
        self._head = b""
        while len(self._waiting) >= _LZ4_BLOCK:
            out += self._block(bytes(self._waiting[:_LZ4_BLOCK]))
            del self._waiting[:_LZ4_BLOCK]
        return out

    def flush(self) -> bytes:
        return self._head + (self._block(bytes(self._waiting)) if self._waiting else b"")

    @staticmethod
    def _block(data: bytes) -> bytes:
        import lz4.block

        packed: bytes = lz4.block.compress(data, mode="high_compression", compression=9, store_size=False)
        return struct.pack("<I", len(packed)) + packed


def sink(compressor: Compressor) -> Sink:
    """Open a compressor. The same data in the same pieces give the same bytes on any number of CPUs."""
    if compressor is Compressor.ZSTD:
        # the output depends on whether zstd works in threads at all, not on how many
        packer = zstandard.ZstdCompressor(level=_LEVEL_ZSTD, threads=max(os.cpu_count() or 1, 2))
        return packer.compressobj()
    if compressor is Compressor.XZ:
        return lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=_LEVEL_XZ)
    if compressor is Compressor.GZIP:
        return zlib.compressobj(
            _LEVEL_GZIP, zlib.DEFLATED, 31
        )  # 16 asks for a gzip header, + a 32 KiB window
    if compressor is Compressor.LZ4:
        return _Lz4Legacy()
    if compressor is Compressor.NONE:
        return _Plain()
    raise ValueError(f"cannot write {compressor}")


def decompress(compressor: Compressor, data: bytes) -> tuple[bytes, bytes]:
    """Unpack one stream at the start of `data`: what it holds, and what follows it."""
    if compressor is Compressor.NONE:
        return data, b""
    if compressor is Compressor.LZ4:
        return _decompress_lz4(data)
    decoder: _Decoder = _DECODERS[compressor]()
    try:
        plain = decoder.decompress(data)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, ValueError, EOFError) as e:
        raise CompressionError(f"{compressor.value} data is damaged: {e}") from e
    if not decoder.eof:
        raise CompressionError(f"{compressor.value} data is cut short after {len(data)} bytes")
    return plain, decoder.unused_data


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_DECODERS: dict[Compressor, Callable[[], _Decoder]] = {
    Compressor.ZSTD: lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(),
    Compressor.XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
    Compressor.GZIP: lambda: zlib.decompressobj(31),
    Compressor.BZIP2: bz2.BZ2Decompressor,
}


def _decompress_lz4(data: bytes) -> tuple[bytes, bytes]:
    """Unpack a legacy frame. It has no end mark: it ends with the data, or where no block can follow."""
    import lz4.block

    plain = []
    position = 4
    while position + 4 <= len(data):
        (packed,) = struct.unpack_from("<I", data, position)
        if packed == _LZ4_LEGACY:  # frames may follow one another
            position += 4
            continue
        if packed == 0 or packed > _LZ4_BLOCK * 2:
            break
        block = data[position + 4 : position + 4 + packed]
        if len(block) != packed:
            raise CompressionError(f"lz4 data is cut short after {len(data)} bytes")
        try:
            plain.append(lz4.block.decompress(block, uncompressed_size=_LZ4_BLOCK))
        except lz4.block.LZ4BlockError as e:
            raise CompressionError(f"lz4 data is damaged in the block at offset {position}: {e}") from e
        position += 4 + packed
    return b"".join(plain), data[position:]
