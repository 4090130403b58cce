"""Directories for half-done work, which are gone at the end, however that comes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory below `parent` (the system's place for temporary files where None), then remove it.

    Unlike tempfile's, it is also removed if the signal that ends the work comes while it is being removed.
    """
    path = Path(tempfile.mkdtemp(prefix=".hostbuild-" if parent else "hostbuild-", dir=parent))
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path, ignore_errors=True)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
