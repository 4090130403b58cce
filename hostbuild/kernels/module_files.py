"""The module files below a /lib/modules/VERSION: plain or compressed, behind links, or not what their names say.

Links to files and directories are followed, as depmod follows them, but for `build` and `source`. An absolute link is
looked for in the root that the tree lies in before this host's own: an unpacked system's weak-updates are such links.
What cannot be read as a module is told of, and nothing waits for it.
"""

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hostbuild.formats.modules.modfile import ENDINGS, is_module, plain_path
from hostbuild.fs.regular import kind_of_mode

EXTERNAL = "external"  # where modules lie in an image that lie outside of the tree on the host
_NOT_MODULES = ("build", "source")
_LINKS_FOLLOWED = 40
_NAMEABLE = re.compile(r"[!-9;-~]+")  # kmod's indexes take ASCII; blanks and colons separate in modules.dep


@dataclass(frozen=True, slots=True)
class ModuleFiles:
    """What a tree holds. files: path in the tree -> the file, sorted; problems: what was left out, in words.

    Files are text: Paths of Debian's 4,000 modules take longer to make than all else here.
    """

    files: dict[str, str]
    problems: tuple[str, ...]


NO_FILES = ModuleFiles({}, ())


def find_module_files(directory: Path) -> ModuleFiles:
    """Find the module files of a tree, each by its path there."""
    files: dict[str, str] = {}
    problems: list[str] = []
    top, root = os.path.realpath(directory), root_of(directory)
    seen: set[str] = set()
    real_of = {str(directory): top}
    waiting = [str(directory)]
    while waiting:
        parent = waiting.pop()
        below, names = _listed(parent)
        kept = []
        for name, linked in below:
            place = f"{parent}/{name}"
            # a link up the tree, or to another part of it, has nothing that is not found without it
            real = os.path.realpath(place) if linked else f"{real_of[parent]}/{name}"
            if name in _NOT_MODULES or (linked and (top.startswith(real.rstrip("/") + "/") or real in seen)):
                continue
            seen.add(real)
            real_of[place] = real
            kept.append(place)
        waiting.extend(reversed(kept))
        inner = parent[len(str(directory)) + 1 :]
        for name, plain in names:
            inside = f"{inner}/{name}" if inner else name
            path = f"{parent}/{name}"
            source, trouble = (path, "") if plain else _source(Path(path), root)
            if not _NAMEABLE.fullmatch(inside):
                source, trouble = None, "no table can hold its name"
            if source is None:
                problems.append(f"{printable(path)} is left out: {trouble}")
            else:
                files[inside] = str(source)
    return ModuleFiles(dict(sorted(files.items())), tuple(problems))


def _listed(directory: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Give the directories in one, links to some included: name, is it a link; and modules: name, is it a plain file.

    Both are sorted; nothing for a directory that cannot be read.
    """
    below: list[tuple[str, bool]] = []
    names: list[tuple[str, bool]] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if _leads_to_directory(entry):
                below.append((entry.name, entry.is_symlink()))
            elif is_module(entry.name):
                names.append((entry.name, entry.is_file(follow_symlinks=False)))
    return sorted(below), sorted(names)


def _leads_to_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def locate(path: str, directory: Path) -> Path:
    """Give the file that a path of modules.dep means; where it has gone, one that is compressed otherwise.

    The path may be absolute (depmod.d's `external`). It is not promised that there is a file.
    """
    named = directory / path
    if _is_plain(str(named)):
        return named
    for candidate in (path, *(plain_path(path).removesuffix(".ko") + ending for ending in ENDINGS)):
        source, _ = _source(directory / candidate, root_of(directory))
        if source is not None:
            return source
    return named


def place_in_tree(path: str) -> str:
    """Give where a module of modules.dep lies in an image's tree, uncompressed.

    It is its path, unless that leads out of the tree.
    """
    plain = plain_path(path)
    parts = plain.split("/")
    if any(part in ("", ".", "..") for part in parts):  # an absolute path begins with an empty part
        return f"{EXTERNAL}/{PurePosixPath(plain).name}"
    return plain


def printable(text: str) -> str:
    """Give a name as it is, or quoted and escaped if a terminal, or a list of lines, would take it for more."""
    return text if text.isprintable() else repr(text)


def root_of(directory: Path) -> Path | None:
    """Give the root of the system whose lib/modules/VERSION a directory is; None if it is no such one."""
    parents = directory.absolute().parents
    if len(parents) < 3 or (parents[0].name, parents[1].name) != ("modules", "lib"):
        return None
    return parents[3] if len(parents) > 3 and parents[2].name == "usr" else parents[2]


def _is_plain(path: str) -> bool:
    """Tell whether a path is that of a regular file itself, as nearly all are."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):  # ValueError: NUL in a path
        return False


def _source(path: Path, root: Path | None) -> tuple[Path | None, str]:
    """Give the regular file behind a path, or None and the reason."""
    if root is not None and str(root) != "/":
        path = _inside_root(path, root)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as e:  # ValueError: NUL in a path
        if os.path.islink(path):
            return None, f"it is a link to {printable(os.readlink(path))}, which is not there"
        return None, (e.strerror if isinstance(e, OSError) else "") or str(e)
    if not stat.S_ISREG(mode):
        return None, f"it is {kind_of_mode(mode)}"
    return path, ""


def _inside_root(path: Path, root: Path) -> Path:
    """Follow a file's absolute links within `root` as far as there is something."""
    for _ in range(_LINKS_FOLLOWED):
        if not os.path.islink(path):
            return path
        target = Path(os.readlink(path))
        moved = root / target.relative_to("/") if target.is_absolute() else path.parent / target
        if not os.path.lexists(moved):
            return path
        path = moved
    return path
