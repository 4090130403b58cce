"""Reads the kernel's log for what it said about a load.

/dev/kmsg, Documentation/ABI/testing/dev-kmsg: a record a read, `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`,
further lines (dictionary) behind it.
"""

from __future__ import annotations

import posix
from errno import EPIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RECORD_ROOM = 8192  # bytes; the kernel gives EINVAL where a record does not fit
KEPT = 2000  # lines
BOOT_RECORDS = 20_000  # that a boot can have: with initcall_debug there are some 8,000
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


def read_boot_log(ends: Callable[[str], bool], path: str = "/dev/kmsg") -> list[tuple[int, str]]:
    """Return (microseconds, text) of the kernel's records from the first that is left up to the one at which it ends.

    None where the log cannot be read. ends: told each text.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return []
    found: list[tuple[int, str]] = []
    try:
        while len(found) < BOOT_RECORDS:
            record = posix.read(descriptor, RECORD_ROOM)
            head, _, text = record.partition(b";")
            words = head.split(b",")
            if len(words) < 3 or not words[2].isdigit():
                break
            found.append((int(words[2]), text.split(b"\n", 1)[0].decode("utf-8", "replace")))
            if ends(found[-1][1]):
                break
    except OSError:
        return (
            found  # its end (EAGAIN), or it was overwritten meanwhile (EPIPE): a part of it is no whole boot
        )
    finally:
        posix.close(descriptor)
    return found
