"""Keys of encrypted disks: files of the image, and passphrases that are handed to a program as if they were one."""

from __future__ import annotations

import posix


class InMemory:
    """A file in memory with these bytes, while the `with` lasts; gives a path that child processes can open."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._descriptor = -1

    def __enter__(self) -> str:
        self._descriptor = posix.memfd_create("key", posix.MFD_CLOEXEC)
        posix.write(self._descriptor, self._data)
        return f"/proc/{posix.getpid()}/fd/{self._descriptor}"

    def __exit__(self, *_error: object) -> None:
        posix.close(self._descriptor)
