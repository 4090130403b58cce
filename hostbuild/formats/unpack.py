"""Unpacks what the kernel can unpack, stream by stream, in a bounded amount of memory: it goes in pieces.

The formats are those of compress.py, and lzma and bzip2, which are only read. lzo is known by its name: no kept library
unpacks it.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from hostbuild.errors import HostbuildError
from hostbuild.formats.compress import LZ4_BLOCK, LZ4_LEGACY, Compressor

_LZ4_BOUND = LZ4_BLOCK + LZ4_BLOCK // 255 + 16  # LZ4_compressBound: a packed block is never larger
_PIECE = 1 << 20
_DICTIONARY = 1 << 29  # what a stream may ask for; xz -9e wants 64 MiB, zstd --long=27 128
LIMIT = 1 << 30  # bytes of what is unpacked into memory: a module, a kernel, a firmware


class CompressionError(HostbuildError):
    """Compressed data is damaged or cut short."""


class Source(Protocol):
    """What is unpacked: a file, or the beginning of one."""

    def read(self, count: int, /) -> bytes:
        """Take so many bytes; fewer at the end."""

    def tell(self) -> int:
        """Give the offset of the next byte."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to an offset, as a file does."""


def decompress(compressor: Compressor, data: bytes, limit: int = LIMIT) -> tuple[bytes, bytes]:
    """Unpack one stream at the start of `data`: what it holds, and what follows it.

    Raises CompressionError where it is damaged, or holds more than `limit` bytes.
    """
    if compressor is Compressor.NONE:
        return data, b""
    stream = io.BytesIO(data)
    plain = bytearray()
    for piece in unpacked(compressor, stream):
        plain += piece
        if len(plain) > limit:
            raise CompressionError(f"{compressor.value} data unpacks to more than {limit >> 20} MiB")
    return bytes(plain), data[stream.tell() :]


def unpacked(compressor: Compressor, stream: Source) -> Iterator[bytes]:
    """Unpack one stream from where `stream` stands, in pieces of at most 8 MiB; then `stream` stands behind it.

    Raises CompressionError where the data is damaged, cut short, or asks for too much memory.
    """
    if compressor is Compressor.LZ4:
        yield from _unpacked_lz4(stream)
        return
    if compressor is Compressor.LZO:
        raise CompressionError("lzo data is not read here", hint="lzop -dc unpacks it")
    try:
        if compressor is Compressor.ZSTD:
            yield from _unpacked_zstd(stream)
        else:
            yield from _unpacked_by(_DECODERS[compressor](), compressor.value, stream)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, ValueError, EOFError) as e:
        raise CompressionError(f"{compressor.value} data is damaged: {e}") from e


class _Decoder(Protocol):
    """What bz2 and lzma offer: output in pieces, input kept back."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decoder in the same form."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(31)  # a gzip header, a 32 KiB window

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


_DECODERS: dict[Compressor, Callable[[], _Decoder]] = {
    Compressor.XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY),
    Compressor.LZMA: lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_DICTIONARY),
    Compressor.GZIP: _Gzip,
    Compressor.BZIP2: bz2.BZ2Decompressor,
}


def _unpacked_by(decoder: _Decoder, name: str, stream: Source) -> Iterator[bytes]:
    start = stream.tell()
    while not decoder.eof:
        data = stream.read(_PIECE) if decoder.needs_input else b""
        ended = decoder.needs_input and not data
        plain = decoder.decompress(data, _PIECE)
        if plain:
            yield plain
        elif ended and not decoder.eof:
            raise CompressionError(f"{name} data is cut short after {stream.tell() - start} bytes")
    stream.seek(stream.tell() - len(decoder.unused_data))


def _unpacked_zstd(stream: Source) -> Iterator[bytes]:
    """Unpack a frame block by block (RFC 8878, 3.1.1): the decoder gives all that it can at once, 128 KiB a block."""
    decoder = zstandard.ZstdDecompressor(max_window_size=_DICTIONARY).decompressobj()
    start = stream.tell()

    def take(count: int) -> bytes:
        data = stream.read(count)
        if len(data) != count:
            raise CompressionError(f"zstd data is cut short after {stream.tell() - start} bytes")
        return data

    head = take(5)
    descriptor = head[4]
    single = descriptor >> 5 & 1
    content_size = (single, 2, 4, 8)[descriptor >> 6]
    decoder.decompress(head + take((1 - single) + (0, 1, 2, 4)[descriptor & 3] + content_size))
    last = False
    while not last:
        header = take(3)
        number = int.from_bytes(header, "little")
        last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
        if plain := decoder.decompress(header + take(1 if kind == 1 else size)):
            yield plain
    if descriptor >> 2 & 1:
        yield decoder.decompress(take(4))  # a checksum, behind which nothing is left
    if not decoder.eof:
        raise CompressionError("zstd data is damaged: its last block does not end it")


def _unpacked_lz4(stream: Source) -> Iterator[bytes]:
    """Unpack a legacy frame as the kernel does. It has no end mark: it ends with the data, or at 4 NULs."""
    import lz4.block

    start = stream.tell()
    stream.read(4)
    while True:
        at = stream.tell()
        number = stream.read(4)
        packed = int.from_bytes(number, "little")
        if packed == LZ4_LEGACY:  # frames may follow one another
            continue
        if len(number) < 4 or packed == 0:
            stream.seek(at)
            return
        if packed > _LZ4_BOUND:
            raise CompressionError(
                f"lz4 data is damaged: {number!r} at offset {at} is not a block's size (unless 4 NULs follow lz4 data, "
                "the kernel takes what comes next for another block)"
            )
        block = stream.read(packed)
        if len(block) != packed:
            raise CompressionError(f"lz4 data is cut short after {stream.tell() - start} bytes")
        try:
            yield lz4.block.decompress(block, uncompressed_size=LZ4_BLOCK)
        except lz4.block.LZ4BlockError as e:
            raise CompressionError(f"lz4 data is damaged in the block at offset {at}: {e}") from e
