"""Directories for half-done work, which are gone at the end, however that comes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.fs.room import room_in


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory below `parent` (the system's place for temporary files where None), then remove it.

    Unlike tempfile's, it is also removed if the signal that ends the work comes while it is being removed.
    Raises WorldError where it cannot be made, or where the disk is full.
    """
    variable = "XDG_CACHE_HOME" if parent else "TMPDIR"
    try:
        path = Path(tempfile.mkdtemp(prefix=".hostbuild-" if parent else "hostbuild-", dir=parent))
    except OSError as e:
        where = parent or (e.filename and Path(e.filename).parent)
        place = f"a directory for temporary files in {where}" if where else "a directory for temporary files"
        raise WorldError(
            f"cannot make {place}: {e.strerror}",
            hint=f"set {variable} to a directory with room that is yours",
        ) from e
    try:
        with room_in(path.parent, variable):
            yield path
    finally:
        try:
            shutil.rmtree(path, ignore_errors=True)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
