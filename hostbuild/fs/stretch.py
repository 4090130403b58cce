"""A stretch of a file, as a file of its own."""

import io
import os
from typing import BinaryIO


def open_stretch(stream: BinaryIO, begin: int, length: int) -> io.BufferedReader:
    """Return `length` bytes of a stream from `begin` on, to be read and sought; the stream is read by nobody else."""
    return io.BufferedReader(_Stretch(stream, begin, length))


class _Stretch(io.RawIOBase):
    def __init__(self, stream: BinaryIO, begin: int, length: int) -> None:
        self._stream, self._begin, self._length = stream, begin, length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        self._stream.seek(self._begin + self._at)
        data = self._stream.read(min(len(buffer), max(0, self._length - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
