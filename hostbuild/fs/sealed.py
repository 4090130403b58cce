"""Directories in hostbuild's cache that are complete, and that nobody has changed since.

    NAME/root/          what is kept
    NAME/files.json     path -> size, times, inode, and the SHA-256 of each file in it

A directory gets its name when both are complete, so processes that work at the same time do not disturb one another.
Whoever takes it from the cache compares sizes, times and inodes, which costs a system call a file, and reads a file
only where these differ: one that was only copied is as good as before, one that says something else is not.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hostbuild import ui
from hostbuild.errors import HostbuildError
from hostbuild.fs import usage
from hostbuild.fs.files import write_file
from hostbuild.fs.regular import read_regular
from hostbuild.fs.scratch import scratch_directory

_ROOT, _LISTING = "root", "files.json"
_listed: dict[str, dict[str, list[Any]]] = {}  # the place of what is kept -> the rows that it agreed with


def root_of(directory: Path) -> Path:
    """Give the place of what is kept, in a directory that will be published."""
    return directory / _ROOT


def publish(complete: Path, final: Path) -> Path:
    """Seal a directory and give it its name; give the place of what is kept."""
    rows = {
        path: [*_seen(status), _content(file, status)] for path, file, status in _files(root_of(complete))
    }
    (complete / _LISTING).write_text(json.dumps(rows))
    root_of(complete).chmod(0o755)
    give_name(complete, final)
    usage.forget_old(final.parent, time.time())
    return root_of(final)


def give_name(complete: Path, final: Path) -> None:
    """Give a complete directory its name; another process may have been quicker, with the same content."""
    complete.chmod(0o755)
    try:
        complete.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def find(final: Path) -> Path | None:
    """Give the place of what is kept under a name; None where there is nothing, or it has been changed.

    What has been changed is said, and removed.
    """
    if not final.is_dir():
        return None
    trouble = _trouble(final)
    if not trouble:
        usage.mark_used(final)
        return root_of(final)
    ui.note(f"{trouble}: it is made anew")
    with scratch_directory(final.parent) as aside, suppress(OSError):  # another process may have been quicker
        final.rename(aside / "changed")
    return None


def digest_of(file: Path) -> str:
    """Give the SHA-256 of a regular file: of one that was found in a sealed directory as its listing has it, unread.

    Raises OSError.
    """
    path = os.fspath(file)
    for root, rows in _listed.items():
        row = rows.get(path[len(root) :]) if path.startswith(root) else None
        if row is not None and stat.S_ISREG(row[0]) and row[:-1] == _seen(os.lstat(path)):
            return str(row[-1])
    return hashlib.sha256(read_regular(file)).hexdigest()


def _trouble(final: Path) -> str:
    """Say what has been changed; "" if nothing has."""
    try:
        rows: dict[str, list[Any]] = json.loads((final / _LISTING).read_text())
        left = dict(rows)
        touched = False
        for path, file, status in _files(root_of(final)):
            row = left.pop(path, None)
            if row is None:
                return f"{file} has been added to the cache"
            if row[:-1] == _seen(status):
                continue
            if row[0] != status.st_mode or row[-1] != _content(file, status):
                return f"{file} has been changed in the cache"
            rows[path] = [*_seen(status), row[-1]]
            touched = True
    except (OSError, ValueError, TypeError, AttributeError, IndexError) as e:
        return f"{final} in the cache is damaged ({e})"
    if left:
        return f"{root_of(final) / next(iter(left))} is missing in the cache"
    _listed[f"{root_of(final)}/"] = rows
    if touched:
        with suppress(HostbuildError):  # it saves the reading next time, and no more
            write_file(final / _LISTING, json.dumps(rows).encode(), "the cache's list of files")
    return ""


def _files(root: Path) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield all that is no directory: path below `root`, file, status."""
    waiting = [str(root)]
    skip = len(waiting[0]) + 1
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = entry.path
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    yield path[skip:], path, entry.stat(follow_symlinks=False)


def _seen(status: os.stat_result) -> list[int]:
    return [status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _content(path: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"-> {os.readlink(path)}"
    if not stat.S_ISREG(status.st_mode):
        return str(status.st_rdev)
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
