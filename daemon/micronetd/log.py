"""The helper's lines in the kernel's log, which is where they reach the console; and pyroute2's warnings among them."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

KMSG = Path("/dev/kmsg")


def say(text: str) -> None:
    """Write a line to the kernel's log, and so to the console."""
    # the kernel cuts records at about 1,000 bytes; names of links and errors may hold anything
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.replace("\n", " "))[:900]
    with contextlib.suppress(OSError):
        KMSG.write_text(f"<6>network: {line}\n", encoding="utf-8")


class KernelLog(logging.Handler):
    """Where pyroute2's warnings go."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one, but for those that only say what the link's own message says."""
        text = record.getMessage()
        if not text.endswith("network is down"):
            say(text)
