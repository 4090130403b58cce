"""What hostbuild's cache holds, by kind, and what of it nobody has used for a while.

A kind is a directory of the cache, an entry what lies in it. When an entry was used last is the time of its file or
directory: whoever takes it from the cache sets that. Everything can be made or fetched again. What lies in a sealed
directory and has not been used for two months goes when the next one is put beside it.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# kind -> what it is; kinds with a `/` lie one directory deeper
KINDS = {
    "packages": "packages of Debian, unpacked",
    "images": "images that run, boot, try and the pytest plugin made",
    "kernel/source": "kernels' sources",
    "kernel/objects": "what compilers left of kernels",
    "kernel/built": "kernels built from source",
    "kernel/tarballs": "kernels of archives, unpacked",
    "python/built": "interpreters built from source",
    "python/work": "what compilers left of interpreters",
    "python/linked": "interpreters with an image's modules in them",
    "kernels": "kernels unpacked for --pvh",
    "module-indexes": "depmod's tables of kernels' modules",
    "module-trees": "modules of split packages, put together",
    "stores": "modules as a squashfs",
    "answers": "what Python, modules, programs and tables were asked, and the answers",
    "made": "what the images were made of",
    "bare": "bare Debians of make test-bare",
    "peers": "other builders' images, which ours are measured beside",
}
_PARENTS = {kind.partition("/")[0] for kind in KINDS if "/" in kind}
_KEPT = ("apt", "guests")  # apt's state and lists of releases; guests that run
_LOCK = ".lock"
_KEEP_S = 60 * 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the cache. size: bytes on the disk. used: when it was used last, seconds since 1970."""

    kind: str
    path: Path
    size: int
    used: float


def entries_of(cache: Path) -> list[Entry]:
    """Return what the cache holds, by kind. What goes away meanwhile is left out."""
    found: list[Entry] = []
    for kind, directory in _kinds(cache):
        for path in _children(directory):
            if path.name == "lock" or path.name.endswith(_LOCK):
                continue
            with suppress(OSError):
                found.append(Entry(kind, path, _size(path), path.lstat().st_mtime))
    return found


def mark_used(path: Path) -> None:
    """Set when an entry was used last to now."""
    with suppress(OSError):
        os.utime(path)


def forget_old(directory: Path, now: float) -> None:
    """Remove the entries of a directory that nobody has used for two months; nothing that somebody works on."""
    for path in _children(directory):
        with suppress(OSError):
            if not path.name.startswith(".") and path.is_dir() and path.lstat().st_mtime < now - _KEEP_S:
                _remove_tree(path)


def remove(entries: Iterable[Entry]) -> list[Entry]:
    """Remove entries, with their locks; give those that have gone."""
    gone = []
    for entry in entries:
        with suppress(OSError):
            if entry.path.is_dir() and not entry.path.is_symlink():
                _remove_tree(entry.path)
            else:
                entry.path.unlink()
            entry.path.with_name(entry.path.name + _LOCK).unlink(missing_ok=True)
            gone.append(entry)
    return gone


def _kinds(cache: Path) -> Iterator[tuple[str, Path]]:
    for kind in KINDS:
        yield kind, cache / kind
    for path in _children(cache):
        if path.is_dir() and path.name not in (*KINDS, *_PARENTS, *_KEPT):
            yield path.name, path


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    total = path.lstat().st_blocks
    for parent, directories, names in os.walk(path):
        for name in (*directories, *names):
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks
    return total * 512  # stat(2): units of 512 bytes


def _remove_tree(path: Path) -> None:
    """Remove a directory under another name first, so that nobody finds half of it."""
    aside = path.with_name(f".going-{path.name}")
    with suppress(OSError):
        path.rename(aside)
        path = aside
    for parent, directories, _ in os.walk(path):
        for name in directories:
            place = os.path.join(parent, name)
            with suppress(OSError):
                if not os.path.islink(place):
                    os.chmod(place, stat.S_IRWXU)
    shutil.rmtree(path)
