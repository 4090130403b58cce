"""What a kernel's build tree was like when an image was made of it, and what to do about what has changed since.

The record of an image that was made of a tree, JSON:

    {"format": 1, "image": KEY, "tree": ..., "modules_dir": ..., "indexes_dir": ..., "version": ..., "lists": SHA-256,
     "modules": {PATH: [size, mtime_ns, SHA-256]}}

modules_dir, indexes_dir: the kernel's modules and their indexes, as kernels/kernel.py found them. lists: of
modules.order and what the build says of the kernel's own drivers. PATH: where modules_install would put a module.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hostbuild.formats.elf_symbols import linkage, modinfo

FORMAT = 1
APPENDED_MOST = 24  # changed modules that are appended; with more, the image is made anew
# What depmod, and this project's indexes, take from .modinfo; the needs show in the symbols as well.
_INDEXED = ("name", "alias", "depends", "softdep", "weakdep", "firmware")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A module's file: its size and time, and the SHA-256 of what is in it, "" where nobody has looked yet."""

    size: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class TreeState:
    """A tree: the kernel's version, a digest of its lists, and its modules by their places."""

    version: str
    lists: str
    modules: Mapping[str, Stamp]


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """An image's key in the cache; the tree, where its modules and indexes are, and what it was like then."""

    image: str
    tree: str
    modules_dir: str
    indexes_dir: str
    state: TreeState


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done for a tree. anew: why the image is made anew, "" where it is not.

    changed: the places of modules whose content is another, of all the tree. stamps: the tree's modules, as now known.
    """

    anew: str
    changed: tuple[str, ...] = ()
    stamps: Mapping[str, Stamp] | None = None


def compare(record: TreeRecord | None, now: TreeState, digest: Callable[[str], str]) -> Change:
    """Decide what to do. digest: gives the SHA-256 of a module that may have changed, by its place."""
    if record is None:
        return Change("there is none of it yet")
    then = record.state
    if then.version != now.version:
        return Change(f"the kernel was {then.version}")
    if then.lists != now.lists or then.modules.keys() != now.modules.keys():
        return Change("the tree's modules are others, or the drivers inside the kernel")
    stamps = dict(then.modules)
    changed = []
    for path, stamp in now.modules.items():
        before = stamps[path]
        if (before.size, before.mtime_ns) == (stamp.size, stamp.mtime_ns):
            continue
        content = digest(path)
        if content == before.sha256:
            stamps[path] = Stamp(stamp.size, stamp.mtime_ns, content)
        else:
            changed.append(path)
    return Change("", tuple(changed), stamps)


def index_facts(data: bytes) -> tuple[object, ...]:
    """Give what the indexes say of a module: they hold for a new build of it with the same. Raises ElfError."""
    info, link = modinfo(data), linkage(data)
    return (*(tuple(sorted(info.get(key, ()))) for key in _INDEXED), link.takes, frozenset(link.gives))


def dump_record(record: TreeRecord) -> bytes:
    """Render a record as the cache holds it."""
    state = record.state
    rows = {path: [one.size, one.mtime_ns, one.sha256] for path, one in state.modules.items()}
    return json.dumps(
        {
            "format": FORMAT,
            "image": record.image,
            "tree": record.tree,
            "modules_dir": record.modules_dir,
            "indexes_dir": record.indexes_dir,
            "version": state.version,
            "lists": state.lists,
            "modules": rows,
        }
    ).encode()


def parse_record(data: bytes) -> TreeRecord | None:
    """Read a record; None for one that is damaged or of another format, which costs a new image and no more."""
    try:
        told = json.loads(data)
        if told["format"] != FORMAT:
            return None
        modules = {str(path): Stamp(int(a), int(b), str(c)) for path, (a, b, c) in told["modules"].items()}
        image, tree, modules_dir, indexes_dir, version, lists = (
            str(told[key]) for key in ("image", "tree", "modules_dir", "indexes_dir", "version", "lists")
        )
        return TreeRecord(image, tree, modules_dir, indexes_dir, TreeState(version, lists, modules))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
