"""What of a kernel's build is behind: sources changed after it, and a build that was broken off; by the times of files.

An object X.o is made of X.c or X.S, in the tree of the source, which is another one for `make O=` (its link `source`).
Of headers the times tell less: one that is newer than every object beside it, or than vmlinux, has not been compiled
since. What make reads besides (Makefiles, the lists in .X.o.cmd) is left to make. A directory's built-in.a that is
newer than vmlinux was not linked into it any more, nor a module's X.o into an X.ko that is older.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_BUILT = ("built-in.a", "modules.order")  # what make leaves in each directory that it descended into
_ABOVE = ("arch", "arch/x86")  # which have neither, and directories that have
_SOURCES = (".c", ".S")


def source_of(tree: Path) -> Path:
    """Give the tree of the source that a build tree was made of: itself, or another."""
    link = tree / "source"
    return Path(os.path.realpath(link)) if link.is_dir() else tree


def unlinked_parts(tree: Path) -> list[str]:
    """Name what was compiled after the last link: directories of the kernel's own objects, and modules; sorted."""
    linked = _time(tree / "vmlinux")
    found = []
    for directory in _built_directories(tree):
        times = {
            entry.name: entry.stat().st_mtime_ns
            for entry in _entries(tree / directory)
            if entry.name.endswith((".o", ".ko", "built-in.a")) and entry.is_file()
        }
        if linked is not None and times.get("built-in.a", 0) > linked:
            found.append(f"{directory}/" if directory else "built-in.a")
        found += [
            f"{directory}/{name}".lstrip("/")
            for name, made in times.items()
            if name.endswith(".ko") and times.get(f"{name[:-3]}.o", 0) > made
        ]
    return sorted(found)


def outputs_beside(source: Path) -> list[Path]:
    """Give the directories in a source, and beside it, in which make O= has built or configured that source."""
    found = []
    for place in (source, source.parent):
        for entry in _entries(place):
            output = Path(entry.path)
            link = output / "source"
            if link.is_symlink() and (output / ".config").is_file() and os.path.realpath(link) == str(source):
                found.append(output)
    return sorted(found)


def changed_sources(tree: Path) -> list[str]:
    """Name the sources that are newer than what was made of them, by their paths in the source, sorted.

    Files that cannot be looked at are passed over.
    """
    source = source_of(tree)
    found = [path for directory in _built_directories(tree) for path in _newer_in(tree, source, directory)]
    linked = _time(tree / "vmlinux")
    if linked is not None:
        found += _newer_headers(source, linked)
    return sorted(found)


def _built_directories(tree: Path) -> Iterator[str]:
    """Give the directories that make went into, as paths below the tree; the top is ""."""
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        yield directory
        for entry in _entries(tree / directory):
            path = f"{directory}/{entry.name}".lstrip("/")
            if not entry.is_dir(follow_symlinks=False):
                continue
            if path in _ABOVE or any(os.path.exists(os.path.join(entry.path, name)) for name in _BUILT):
                waiting.append(path)


def _newer_in(tree: Path, source: Path, directory: str) -> Iterator[str]:
    objects = {
        entry.name[:-2]: entry.stat().st_mtime_ns
        for entry in _entries(tree / directory)
        if entry.name.endswith(".o") and entry.is_file()
    }
    if not objects:
        return
    latest = max(objects.values())
    for entry in _entries(source / directory):
        name, ending = os.path.splitext(entry.name)
        made = objects.get(name) if ending in _SOURCES else latest if ending == ".h" else None
        if made is not None and entry.is_file() and entry.stat().st_mtime_ns > made:
            yield f"{directory}/{entry.name}".lstrip("/")


def _newer_headers(source: Path, linked: int) -> Iterator[str]:
    """Give the common headers that are newer; make writes the generated ones itself."""
    for place in ("include", "arch/x86/include"):
        for directory, below, files in os.walk(source / place):
            below[:] = [name for name in below if name not in ("generated", "config")]
            for name in files:
                path = Path(directory, name)
                if name.endswith(".h") and (_time(path) or 0) > linked:
                    yield str(path.relative_to(source))


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _time(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
