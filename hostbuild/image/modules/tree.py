"""The directory /usr/lib/modules/VERSION of an image: module files, and indexes made for just these."""

import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostbuild.formats import elf
from hostbuild.formats.modules import kmodindex
from hostbuild.formats.modules.modfile import is_module
from hostbuild.fs import answers, sealed
from hostbuild.fs.scratch import scratch_directory
from hostbuild.image.filetree import FileTree
from hostbuild.image.modules import named_selections, selection, storage
from hostbuild.image.modules.absent import ABSENT_NAME, absent_aliases
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.requested import NAME as REQUESTED
from hostbuild.image.modules.requested import Requested
from hostbuild.image.modules.selection import close, parse_index, select
from hostbuild.image.modules.storage import Store
from hostbuild.image.modules.stripped import stripped
from hostbuild.kernels import alias_index, depmod
from hostbuild.kernels.depmod import LISTS, WEAKDEP, index_modules
from hostbuild.kernels.kernel import Kernel, KernelError
from hostbuild.kernels.kernel_modules import read_list
from hostbuild.near import listed
from hostbuild.run import find_program
from hostbuild.ui import Advance, ignore
from modaliasd.core.index.format import INDEX_NAME
from modaliasd.core.kmod.modules_dep import parse_modules_dep
from modaliasd.core.kmod.names import text_of
from modaliasd.core.kmod.tables import parse_modules_alias
from modaliasd.core.loading.signature import HASH_NAME, STRIPPED, TAIL_SIZE, hash_of_signature

_MAKERS = (depmod, elf, kmodindex, named_selections, selection)
USUAL = "qemu"  # a selection: what busybox's modprobe finds early
CRYPTO_NAME = "modules.crypto"
CRYPTO = "crypto"
_OURS = (INDEX_NAME, CRYPTO_NAME, HASH_NAME, REQUESTED, ABSENT_NAME)
GROUP = "modules"
INDEX_GROUP = "indexes"

# What modprobe in the guest reads, or the daemon. The .bin indexes are kmod's own.
_INDEXES = (
    "modules.alias",
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.dep",
    "modules.devname",
    "modules.order",
    "modules.softdep",
    "modules.weakdep",
)
_KMOD_INDEXES = (
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep.bin",
    "modules.symbols",
    "modules.symbols.bin",
)


def put_modules(
    tree: FileTree,
    kernel: Kernel,
    carried: Sequence[Module],
    *,
    for_kmod: bool,
    store: Store = Store.PLAIN,
    strip: bool = False,
    readable: Container[str] = storage.ALL,
    requested: Requested | None = None,
    absent: bool = False,
    advance: Advance = ignore,
) -> dict[str, bytes]:
    """Put modules into the image, with indexes made for just these; give the indexes by name.

    readable: the endings that the image's modprobe unpacks. strip: they have been
    stripped. requested: who asks for which. `advance` hears of each
    module. absent: say which modules for root file systems are not in the image (absent.py). Raises KernelError where a
    module would have no line in modules.dep.
    """
    inside = f"usr/lib/modules/{kernel.version}"
    if inside not in tree:
        tree.directory(inside, group=GROUP, origin=kernel.origin)
    job = _Job(
        kernel=kernel.version,
        files=[(module.path, module.content) for module in carried],
        lists={name: read_list(kernel.modules, name) if kernel.modules else b"" for name in LISTS},
        weakdep=text_of(read_list(kernel.indexes, WEAKDEP)) if kernel.indexes else "",
        endings={
            module.path: ending for module in carried if (ending := storage.ending(module, store, readable))
        },
        signed_by=STRIPPED if strip else signing_hash(carried),
        for_kmod=for_kmod,
    )
    added: dict[str, bytes] = {}
    if table := requested.table({module.name for module in carried}) if requested else b"":
        added[REQUESTED] = table
    if absent and kernel.indexes is not None:
        tables = {name: read_list(kernel.indexes, name) for name in ("modules.dep", "modules.alias")}
        added[ABSENT_NAME] = absent_aliases(tables, {module.name for module in carried})
    if not store.squashed:
        indexes = _whole(job.run_once()) | added
        for module in carried:
            ending = job.endings.get(module.path, "")
            content = storage.compressed(module, ending) if ending else module.content
            origin = module.origin or kernel.origin
            tree.file(f"{inside}/{module.path}{ending}", content, group=GROUP, origin=origin)
            advance(1)
        for name, content in indexes.items():
            origin = "hostbuild" if name in _OURS else "depmod"
            tree.file(f"{inside}/{name}", content, group=INDEX_GROUP, origin=origin)
        return indexes
    with scratch_directory() as staging:
        indexes = _whole(job.run(staging, linked=False)) | added
        base = staging / "lib/modules" / kernel.version
        for entry in base.iterdir():  # whatever else depmod wrote
            if entry.is_file() and entry.name not in indexes and not is_module(entry.name):
                entry.unlink()
        for name, content in indexes.items():
            (base / name).write_bytes(content)
        packed = storage.require_squashfs(base, store)
    tree.file(f"{inside}.squashfs", packed, group=GROUP, origin=kernel.origin)
    for number, driver in enumerate(storage.require_drivers(kernel, store)):
        driver = stripped(driver) if strip else driver
        path = f"{storage.DRIVERS_DIRECTORY}/{number:02}-{driver.name}.ko"  # inserted in this order
        tree.file(path, driver.content, group=GROUP, origin=kernel.origin)
    return indexes


@dataclass(frozen=True, slots=True)
class _Job:
    """What the indexes of an image's modules are made of: see index_modules."""

    kernel: str
    files: list[tuple[str, bytes | Path]]
    lists: dict[str, bytes]
    weakdep: str
    endings: dict[str, str]
    signed_by: str
    for_kmod: bool

    def run(self, staging: Path, *, linked: bool = True) -> tuple[list[str], dict[str, bytes]]:
        """Give the names of the modules that depmod passes over, and the indexes."""
        lacking = index_modules(
            staging,
            self.kernel,
            self.files,
            lists=self.lists,
            weakdep=self.weakdep,
            endings=self.endings,
            linked=linked,
        )
        base = staging / "lib/modules" / self.kernel
        return lacking, {} if lacking else _read_indexes(base, self.signed_by, for_kmod=self.for_kmod)

    def run_once(self) -> tuple[list[str], dict[str, bytes]]:
        """Give the same, remembered by the contents of the modules and all else that counts."""

        def make() -> tuple[list[str], dict[str, bytes]]:
            with scratch_directory() as staging:
                return self.run(staging)

        contents = [
            (path, answers.digest(one) if isinstance(one, bytes) else sealed.digest_of(one))
            for path, one in self.files
        ]
        code = answers.code_of(*(one.__file__ for one in _MAKERS), __file__) + alias_index.code()
        told = (self.kernel, self.lists, self.weakdep, self.endings, self.signed_by, self.for_kmod)
        return answers.values(code, [_depmod(), contents, told], make)


def _whole(made: tuple[list[str], dict[str, bytes]]) -> dict[str, bytes]:
    """Give the indexes. Raises KernelError where a module has no line in them."""
    lacking, indexes = made
    if lacking:
        raise KernelError(
            f"depmod gives no line in modules.dep to {listed(lacking)}: modprobe would not find them",
            hint=f"take what is damaged out of the selection: -{lacking[0]}",
        )
    return indexes


def _depmod() -> list[int]:
    """Tell one depmod from another: size and time of its file; nothing where there is none."""
    try:
        status = os.stat(find_program("depmod") or "")
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def signing_hash(modules: Iterable[Module]) -> str:
    """Give the hash that a kernel's modules are signed with, "" if they are not; an overlay's say nothing of it."""
    for module in modules:
        if not module.origin:
            return hash_of_signature(module.read()[-TAIL_SIZE:])
    return ""


def _read_indexes(base: Path, signed_by: str, *, for_kmod: bool) -> dict[str, bytes]:
    """Return the indexes by name: depmod's, and the daemon's own made of them."""
    indexes: dict[str, bytes] = {}
    for name in _INDEXES + _KMOD_INDEXES if for_kmod else _INDEXES:
        indexes[name] = (base / name).read_bytes() if (base / name).is_file() else b""
    indexes[CRYPTO_NAME] = crypto_words(indexes)
    indexes[HASH_NAME] = f"{signed_by}\n".encode() if signed_by else b""
    indexes["modules.dep"] = usual_first(indexes)
    indexes[INDEX_NAME] = alias_index.build(
        indexes["modules.alias"], indexes["modules.order"], indexes["modules.builtin.modinfo"]
    )
    return indexes


def usual_first(indexes: Mapping[str, bytes]) -> bytes:
    """Return modules.dep with the lines of what most machines, and CPUs, ask for at its beginning.

    busybox's modprobe reads the file up to the lines that it needs, one process after the other, and all of
    Debian's has half a megabyte. To kmod the order means nothing.
    """
    index = parse_index(indexes)
    aliases, _ = parse_modules_alias(indexes["modules.alias"])
    asked_by_cpus = [alias.module for alias in aliases if alias.pattern.startswith(b"cpu:")]
    names = close([*select(USUAL, index), *asked_by_cpus], index)
    usual = {index.paths[name].encode("utf-8", "surrogateescape") for name in names}
    lines = indexes["modules.dep"].splitlines(keepends=True)
    lines.sort(key=lambda line: line.partition(b":")[0] not in usual)
    return b"".join(lines)


def crypto_words(indexes: Mapping[str, bytes]) -> bytes:
    """Return the words beginning with `crypto` that stand for modules, each as WORD=MODULE with `_` for `-`.

    It is a line of shell, " WORD=MODULE ... " as the value of `crypto`, for what the kernel calls
    (rootfs-overlay/usr/lib/micro/request-module): the kernel asks for each algorithm that it does not know, and for
    most in vain. Nothing where a pattern could match such words, or one could be read as anything else.
    """
    found, _ = parse_modules_alias(indexes["modules.alias"])
    aliases = {(text_of(alias.pattern).replace("-", "_"), alias.module) for alias in found}
    heads = {head for alias, _ in aliases if (head := re.split(r"[*?[]", alias, maxsplit=1)[0]) != alias}
    files, _ = parse_modules_dep(text_of(indexes["modules.dep"]))
    named = {pair for pair in aliases.union((name, name) for name in files) if pair[0].startswith(CRYPTO)}
    plain = all(re.fullmatch(r"[A-Za-z0-9_(),+]+", text) for pair in named for text in pair)
    if not plain or any(head.startswith(CRYPTO) or CRYPTO.startswith(head) for head in heads):
        return b""
    words = " ".join(f"{word}={module}" for word, module in sorted(named))
    return f"crypto=' {words} '\n".encode()
