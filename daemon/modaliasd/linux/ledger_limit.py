"""Keeps the ledger within its limit; imported when it has grown beyond. core/ledger/trim.py says what goes."""

from __future__ import annotations

import posix

from modaliasd.core.ledger.trim import plan_trim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.linux.ledger import Ledger

SHARE = 8  # of /run's size, the ledger may have one part in so many
LEAST, MOST = 1 << 20, 8 << 20  # bytes, whatever the size of /run


def trim(ledger: Ledger, now_us: int) -> None:
    """Take out what is too much. Where that cannot be done it is tried again once there is a quarter more.

    However much had to stay, the ledger may grow by a quarter of the limit before the next time, so that what the
    trims cost is bounded, too.
    """
    limit = ledger.limit = ledger.limit or default_limit(ledger.path)
    if ledger.size > limit:
        cut = plan_trim(ledger.read_lines(), ledger.size, limit, now_us)
        if cut is not None and len(cut.middle) < cut.tail - cut.head:
            try:
                ledger.rewrite(*cut)
            except OSError:
                ledger.failed_writes += 1
    ledger.trim_beyond = max(limit, ledger.size + limit // 4)


def default_limit(path: str) -> int:
    """Bytes: an eighth of the file system that holds the file, within bounds; a ramfs does not tell its size."""
    try:
        found = posix.statvfs(path)
    except OSError:
        return LEAST
    size = found.f_frsize * found.f_blocks
    return min(max(size // SHARE, LEAST), MOST) if size else MOST
