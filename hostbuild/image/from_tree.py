"""From a kernel's build tree to an image that can be booted: the one that is kept, and behind it what has changed.

    $XDG_CACHE_HOME/hostbuild/images/KEY/              the image that was made of the tree (kept.py)
    $XDG_CACHE_HOME/hostbuild/images/tree-KEY.json     what the tree was like then (treestate.py)

The second KEY stands for the tree's path and for all that an image is made of beside the kernel. The image boots
with the tree's own kernel: one that was linked again, with the same version and the same drivers inside it, has no
need of another image.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.manifest import read_manifest
from hostbuild.formats.modules.modfile import read_module
from hostbuild.formats.sniff import near_files
from hostbuild.fs.files import write_file
from hostbuild.fs.regular import read_regular
from hostbuild.fs.scratch import scratch_directory
from hostbuild.image import kept
from hostbuild.image.appended import Appended, append_modules
from hostbuild.image.build import ImageOptions
from hostbuild.image.modules.overlaid import OverlaidModule, read_module_of
from hostbuild.image.treestate import (
    APPENDED_MOST,
    Stamp,
    TreeRecord,
    TreeState,
    compare,
    dump_record,
    parse_record,
)
from hostbuild.kernels.build_tree import (
    BuildTree,
    is_build_tree,
    lists_in,
    output_of,
    read_build_tree,
    require_module_files,
    tree_of_image,
)
from hostbuild.kernels.bzimage import KernelError
from hostbuild.kernels.kernel import Kernel, require_kernel
from hostbuild.near import listed
from hostbuild.ui import Reporter
from modaliasd.core.kmod.names import module_name

ALL_BELOW = 64 << 20  # bytes of modules: a tree with fewer has all of them in its image
_NAME = "guest.img"
_RECORD = "the record of the kernel's tree"


@dataclass(frozen=True, slots=True)
class Ready:
    """An image to be booted. kernel: the vmlinuz to boot it with, None for the image's own. notes: what to tell."""

    image: Path
    kernel: Path | None
    appended: Appended | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def image_of_tree(
    path: Path, options: ImageOptions, report: Reporter, put: Sequence[OverlaidModule] = ()
) -> Iterator[Ready]:
    """Give an image of a build tree, which may be gone when the block has ended.

    options: `modules` "" takes all of a small tree, and of another those of `qemu`. put: further modules. Raises
    KernelError for a tree that is not built, or not to its end, and whatever build_image raises.
    """
    tree = read_build_tree(find_tree(path))
    files = require_module_files(tree)
    if not options.modules:
        options = replace(options, modules=_usual(files))
    options = replace(options, kernel=str(tree.path))
    base, kernel, changed, notes = _base(tree, files, options, report)
    inside = {str(row["name"]) for row in read_manifest(base)["modules"]}
    wanted = [path for path in changed if module_name(path) in inside]
    others = sorted({module_name(path) for path in changed} - inside)
    if others:
        notes.append(
            f"changed, and not in the guest: {listed(others)}; --modules {options.modules},{others[0]} takes it along"
        )
    news = [_changed(one, files[one]) for one in wanted]
    with appended(base, kernel, [*news, *put], options, report) as ready:
        yield replace(ready, kernel=tree.vmlinuz, notes=tuple(notes))


@contextmanager
def appended(
    base: Path, kernel: Kernel, put: Sequence[OverlaidModule], options: ImageOptions, report: Reporter
) -> Iterator[Ready]:
    """Give an image that is kept with modules put behind it; without any it is that image itself."""
    if not put:
        yield Ready(base, None)
        return
    with scratch_directory(kept.images_directory()) as scratch:
        image = scratch / _NAME
        with report.step("Putting modules into the image"):
            done = append_modules(image, base, kernel, put, options.firmware_dirs)
        yield Ready(image, kernel.vmlinuz, done)


def find_tree(path: Path) -> Path:
    """Give the directory that make builds in, which a path names itself, by its source, or by its kernel.

    Raises KernelError for what is none; whether it was built is another question.
    """
    if not path.exists():
        raise KernelError(f"there is no kernel's build tree {path}{near_files(path)}")
    found = path.resolve() if path.is_dir() else tree_of_image(path)
    if found is None or not is_build_tree(found):
        raise KernelError(
            f"{path} is not a kernel's build tree",
            hint="TREE is where make was called, or its O=; another kernel: hostbuild make-image --kernel KERNEL",
        )
    return output_of(found)


def trees_of(version: str) -> list[Path]:
    """Give the build trees that images were made of and whose kernel had this version, the last one first."""
    records = sorted(
        kept.images_directory().glob(f"tree-*{kept.RECORD}"),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    found = [record for record in map(_read_record, records) if record is not None]
    trees = dict.fromkeys(Path(record.tree) for record in found if record.state.version == version)
    return [tree for tree in trees if tree.is_dir()]


def _base(
    tree: BuildTree, files: Mapping[str, Path], options: ImageOptions, report: Reporter
) -> tuple[Path, Kernel, tuple[str, ...], list[str]]:
    """Give the image that is kept of a tree, its kernel then, the modules that have changed since, what to tell."""
    around = Kernel(tree.vmlinuz, tree.version, sha256="", origin=str(tree.path))
    about = kept.key_of(options, around)
    place = hashlib.sha256(f"{tree.path}\0{about}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    record_path = kept.images_directory() / f"tree-{place}{kept.RECORD}"
    now = _state(tree, files)
    record = _read_record(record_path)
    change = compare(record, now, lambda path: _digest(files[path]))
    if record is not None and not change.anew and len(change.changed) <= APPENDED_MOST:
        image, kernel = kept.find_image(record.image), _kernel_then(record, tree)
        if image is not None and kernel is not None:
            stamps = change.stamps or {}
            if stamps != record.state.modules:
                state = replace(record.state, modules=stamps)
                write_file(record_path, dump_record(replace(record, state=state)), _RECORD)
            else:
                os.utime(record_path)
            return image, kernel, change.changed, []
    kernel = require_kernel(options.kernel, None, report)
    hashed = {path: replace(stamp, sha256=_digest(files[path])) for path, stamp in now.modules.items()}
    image = kept.require_image(options, report, kernel=kernel)
    if _state(tree, files) != now:
        raise InputError(
            f"the modules in {tree.path} have changed while the image was made", hint="do it again"
        )
    state = replace(now, modules=hashed)
    key = image.parent.parent.name
    made = TreeRecord(key, str(tree.path), str(kernel.modules), str(kernel.indexes), state)
    write_file(record_path, dump_record(made), _RECORD)
    if record is not None and record.image != key:
        kept.forget(record.image)
    return image, kernel, (), []


def _usual(files: Mapping[str, Path]) -> str:
    """Give the selection of modules for a tree of which nobody says one."""
    if not files:
        return "none"
    return "all" if sum(file.stat().st_size for file in files.values()) <= ALL_BELOW else "qemu"


def _state(tree: BuildTree, files: Mapping[str, Path]) -> TreeState:
    stamps = {}
    for path, file in files.items():
        status = file.stat()
        stamps[path] = Stamp(status.st_size, status.st_mtime_ns)
    return TreeState(tree.version, hashlib.sha256(lists_in(tree)).hexdigest(), stamps)


def _digest(file: Path) -> str:
    return hashlib.sha256(read_module(file)).hexdigest()


def _read_record(path: Path) -> TreeRecord | None:
    try:
        return parse_record(read_regular(path))
    except OSError:
        return None


def _kernel_then(record: TreeRecord, tree: BuildTree) -> Kernel | None:
    """Give the kernel that an image was made for, with the modules as they are now; None if its indexes are gone."""
    directories = [Path(record.modules_dir), Path(record.indexes_dir)]
    modules = bool(record.state.modules)
    if modules and not all(map(Path.is_dir, directories)):
        return None
    return Kernel(
        vmlinuz=tree.vmlinuz,
        version=tree.version,
        sha256="",
        origin=str(tree.path),
        modules=directories[0] if modules else None,
        indexes=directories[1] if modules else None,
        config=tree.config,
    )


def _changed(path: str, file: Path) -> OverlaidModule:
    """Read a module of the tree that takes the place of the one in the image: the kernel's own, no overlay's."""
    read = read_module_of(path, read_module(file), "the tree")
    return replace(read, module=replace(read.module, origin=""))
