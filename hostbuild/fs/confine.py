"""A tree that somebody else packed, made fit to be read: its links lead nowhere else, and it holds files alone.

An unpacked package is read path by path, and links are followed. Its absolute links are meant for a machine whose root
it is; followed here they would lead to this machine's files. So they are made relative to the tree, and what leads out
of it all the same is refused, as are devices, FIFOs and sockets, which no Debian package may hold (policy, 10.6).
Directories and files become readable for their owner, and nothing is setuid or setgid.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hostbuild.errors import WorldError
from hostbuild.fs.regular import kind_of_mode

_SET_ID = stat.S_ISUID | stat.S_ISGID


def confine(root: Path, what: str) -> None:
    """Make a tree fit to be read. what: whose it is, for messages. Raises WorldError for one that cannot be."""
    links = []
    for path in _each(root):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            links.append(path)
            _make_relative(path, root)
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise WorldError(f"{what} holds {kind_of_mode(mode)}, {_within(path, root)}: not used")
    top = os.path.realpath(root)
    for path in links:
        if not Path(os.path.realpath(path)).is_relative_to(top):
            shown = f"{_within(path, root)} -> {os.readlink(path)}"
            raise WorldError(f"{what} holds a link that leads out of it, {shown}: not used")


def _each(root: Path) -> Iterator[Path]:
    """Yield all below a directory and itself; a directory can be read once it was yielded."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            _make_readable(path, mode)
        yield path
        if stat.S_ISDIR(mode):
            waiting += [path / name for name in sorted(os.listdir(path), reverse=True)]


def _make_readable(path: Path, mode: int) -> None:
    wanted = stat.S_IMODE(mode) & ~_SET_ID | (0o700 if stat.S_ISDIR(mode) else 0o400)
    if wanted != stat.S_IMODE(mode):
        path.chmod(wanted)


def _make_relative(path: Path, root: Path) -> None:
    target = os.readlink(path)
    if not target.startswith("/"):
        return
    up = "../" * (len(path.relative_to(root).parts) - 1)
    path.unlink()
    path.symlink_to((up + target.lstrip("/")) or ".")


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
