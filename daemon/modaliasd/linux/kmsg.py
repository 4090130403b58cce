"""Reads the kernel's log for what it said about a load.

/dev/kmsg, Documentation/ABI/testing/dev-kmsg: a record a read, `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`,
further lines (dictionary) behind it.
"""

from __future__ import annotations

import posix
from errno import EPIPE

RECORD_ROOM = 8192  # bytes; the kernel gives EINVAL where a record does not fit
KEPT = 2000  # lines
OURS = b"modaliasd: "
SEEK_END = 2
FIRMWARE = "Direct firmware load for "  # drivers/base/firmware_loader/main.c, fw_get_filesystem_firmware


class KernelLog:
    """The log from now on; nothing where it cannot be opened."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._lines: list[str] = []
        self._missing: list[tuple[str, str]] = []
        self._descriptor = -1
        try:
            self._descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
            posix.lseek(self._descriptor, 0, SEEK_END)
        except OSError:
            return

    def lines(self) -> list[str]:
        """Return the texts of the records since the start, the newest last."""
        while self._descriptor >= 0:
            try:
                record = posix.read(self._descriptor, RECORD_ROOM)
            except OSError as e:
                if e.errno == EPIPE:
                    continue  # records were overwritten before we came; the next read gives the oldest left
                break
            if not record:
                break
            _head, _, text = record.partition(b";")
            if text.startswith(OURS):
                continue  # what the daemon itself said of an earlier load explains nothing
            line = text.split(b"\n", 1)[0].decode("utf-8", "replace")
            self._lines.append(line)
            if FIRMWARE in line:
                device, _, rest = line.partition(": " + FIRMWARE)
                self._missing.append((rest.partition(" failed")[0], device))
        del self._lines[:-KEPT]
        del self._missing[:-KEPT]
        return self._lines

    def take_missing_firmware(self) -> list[tuple[str, str]]:
        """(file, driver and device) of each firmware file that was not found since the last call."""
        self.lines()
        missing, self._missing = self._missing, []
        return missing
