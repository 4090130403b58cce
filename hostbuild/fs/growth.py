"""How far a program is that writes into a directory and tells nobody: what lies there is counted."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from hostbuild.ui import Advance

_LOOK_S = 0.1


@contextlib.contextmanager
def growth_of(directory: Path, advance: Advance) -> Iterator[None]:
    """Tell `advance` of the bytes of the files that grow below a directory, while the block runs and at its end."""
    over = threading.Event()
    seen = _bytes_in(directory)

    def look() -> None:
        nonlocal seen
        now = _bytes_in(directory)
        if now > seen:
            advance(now - seen)
            seen = now

    def keep_looking() -> None:
        while not over.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=keep_looking, name="growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


def _bytes_in(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # renamed meanwhile
            total += path.lstat().st_size if not path.is_dir() else 0
    return total
