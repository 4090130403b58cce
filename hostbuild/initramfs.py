"""Puts an image together: kernel modules, busybox, CPython, the daemon and overlays, as a compressed newc
archive.

Beside IMAGE stands IMAGE.manifest.json, which says what is inside, how large it is and where it came from.
Both appear under their names when they are complete. The same inputs give the same bytes: paths are sorted,
everything belongs to root, times are SOURCE_DATE_EPOCH or 0, inodes are counted from 1.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import IO, Any

from modaliasd.core import trie

from hostbuild import busybox, cpython, guest, kmod, modules, newc, overlay
from hostbuild.compress import KERNEL_OPTION, Compressor, sink
from hostbuild.errors import InputError, UsageError, WorldError
from hostbuild.firmware import put_firmware
from hostbuild.kernel import Kernel, require_kernel, run_depmod
from hostbuild.manifest import FORMAT, dump, manifest_path
from hostbuild.tree import Entry, FileTree, Kind
from hostbuild.ui import Reporter, Silent

# What modprobe in the guest reads, or the daemon. The .bin indexes are kmod's own.
_INDEXES = (
    "modules.alias",
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.dep",
    "modules.devname",
    "modules.order",
    "modules.softdep",
)
_KMOD_INDEXES = (
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep.bin",
    "modules.symbols",
    "modules.symbols.bin",
)
_COPIED = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
_DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "mnt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr/bin": 0o755,
    "usr/lib": 0o755,
    "usr/lib64": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
}
_SYMLINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "var/run": "/run",
}
_DEVICES = {"dev/console": (0o600, 5, 1), "dev/null": (0o666, 1, 3)}


class Modprobe(Enum):
    """Whose modprobe the image has."""

    BUSYBOX = "busybox"
    KMOD = "kmod"


@dataclass(frozen=True, slots=True)
class Options:
    """What to build; the defaults are those of `hostbuild make-image`.

    kernel: "deb:PACKAGE", "running" or the path of a vmlinuz; None chooses. modules: a selection
    (modules.py). python: further modules of Python's standard library.
    """

    kernel: str | None = None
    modules_dir: Path | None = None
    modules: str = "qemu"
    overlays: tuple[Path, ...] = ()
    firmware_dirs: tuple[Path, ...] = ()
    compressor: Compressor = Compressor.ZSTD
    modprobe: Modprobe = Modprobe.BUSYBOX
    python: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was written, with its kernel and the content of its manifest."""

    image: Path
    manifest_path: Path
    kernel: Kernel
    manifest: dict[str, Any]


def build_image(image: Path, options: Options, report: Reporter | None = None) -> Built:
    """Build an image and its manifest. On error neither is there, or the previous ones are as they were."""
    report = report or Silent()
    _check_writable(image)
    for directory in options.overlays:
        overlay.require_directory(directory)
    kernel = require_kernel(options.kernel, options.modules_dir, report)
    _check_compressor(options.compressor, kernel)

    tree = _skeleton()
    packages = [busybox.put_busybox(tree)]
    with report.step("Collecting modules"):
        chosen, carried = _choose_modules(options, kernel)
        _put_modules(tree, kernel, carried, options.modprobe)
        firmware = put_firmware(tree, carried, options.firmware_dirs)
    with report.step("Compiling Python"):
        interpreter = cpython.require_interpreter()
        sources = guest.require_sources()
        wanted = [*guest.imports(sources, interpreter), *options.python]
        closure = cpython.put_interpreter(tree, interpreter, wanted)
        guest.put_daemon(tree, sources, interpreter)
    if options.modprobe is Modprobe.KMOD:
        packages.append(kmod.put_kmod(tree, interpreter.libraries))
    overlay.put_own(tree)
    for directory in options.overlays:
        overlay.put_overlay(tree, directory)
    if "init" not in tree:
        raise InputError("the image has no /init; an overlay has to bring one")

    packages += [*interpreter.packages, *interpreter.libraries.used()]
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "hostbuild": distribution_version("modaliasd"),
        "image": {},
        "kernel": {
            "version": kernel.version,
            "vmlinuz": str(kernel.vmlinuz),
            "sha256": kernel.sha256,
            "origin": kernel.origin,
        },
        "selection": options.modules,
        "modprobe": options.modprobe.value,
        "groups": _groups(tree),
        "modules": [_module_row(module, chosen) for module in carried],
        "firmware": {"present": firmware.present, "missing": firmware.missing},
        "python": {
            "version": interpreter.version,
            "modules": sorted(closure.modules),
            "missing": sorted(closure.missing),
        },
        "packages": [
            {"name": package.name, "version": package.version, "sha256": package.sha256}
            for package in sorted(packages, key=lambda package: package.name)
        ],
        "files": [_file_row(path, entry) for path, entry in tree.items()],
    }
    _write(image, tree, options.compressor, manifest, report)
    return Built(image, manifest_path(image), kernel, manifest)


def _skeleton() -> FileTree:
    """Make the directories, links and device nodes that every image has."""
    tree = FileTree()
    for path, permissions in _DIRECTORIES.items():
        tree.directory(path, group="base", origin="hostbuild", permissions=permissions)
    for path, target in _SYMLINKS.items():
        tree.symlink(path, target, group="base", origin="hostbuild")
    for path, (permissions, major, minor) in _DEVICES.items():
        node = Entry(Kind.CHARACTER_DEVICE, permissions, "base", "hostbuild", device=(major, minor))
        tree.put(path, node)
    return tree


def _choose_modules(options: Options, kernel: Kernel) -> tuple[set[str], list[modules.Module]]:
    """Give the names that the selection chose, and all modules that come into the image."""
    if options.modules.strip() == "none":
        return set(), []
    index = modules.read_index(kernel)
    assert kernel.modules is not None, "read_index refuses a kernel without modules"
    chosen = modules.select(options.modules, index)
    if not chosen:
        raise modules.SelectionError(
            f"the selection {options.modules!r} leaves no module of kernel {kernel.version}",
            hint="--modules none builds without modules",
        )
    return set(chosen), modules.load(modules.close(chosen, index), index, kernel.modules)


def _put_modules(tree: FileTree, kernel: Kernel, carried: Sequence[modules.Module], whose: Modprobe) -> None:
    """Put modules into the image, with indexes made for just these."""
    inside = f"usr/lib/modules/{kernel.version}"
    tree.directory(inside, group="modules", origin=kernel.origin)
    for module in carried:
        tree.file(f"{inside}/{module.path}", module.data, group="modules", origin=kernel.origin)
    with tempfile.TemporaryDirectory(prefix="hostbuild-") as staging:
        base = Path(staging) / "lib/modules" / kernel.version
        base.mkdir(parents=True)
        for module in carried:
            path = base / module.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(module.data)
        for name in _COPIED:
            _copy_list(kernel, name, base / name)
        run_depmod(Path(staging), kernel.version)
        written: dict[str, bytes] = {}
        names = _INDEXES if whose is Modprobe.BUSYBOX else _INDEXES + _KMOD_INDEXES
        for name in names:
            content = (base / name).read_bytes() if (base / name).is_file() else b""
            tree.file(f"{inside}/{name}", content, group="indexes", origin="depmod")
            written[name] = content
    index = trie.build(
        written.get("modules.alias", b""),
        written.get("modules.order", b""),
        written.get("modules.builtin.modinfo", b""),
    )
    tree.file(f"{inside}/{trie.INDEX_NAME}", index, group="indexes", origin="hostbuild")


def _copy_list(kernel: Kernel, name: str, to: Path) -> None:
    source = kernel.modules / name if kernel.modules else None
    to.write_bytes(source.read_bytes() if source and source.is_file() else b"")


def _check_writable(image: Path) -> None:
    """Refuse before the work what would fail after it."""
    parent = image.absolute().parent
    if image.is_dir():
        raise UsageError(f"cannot write the image {image}: it is a directory")
    if not parent.is_dir():
        raise UsageError(
            f"cannot write the image {image}: there is no directory {parent}", hint=f"mkdir -p {parent}"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the image {image}: no permission to write in {parent}")


def _check_compressor(compressor: Compressor, kernel: Kernel) -> None:
    """Refuse a compressor that the kernel's configuration leaves out."""
    option = KERNEL_OPTION.get(compressor)
    if option is None or kernel.config is None:
        return
    known = kernel.config.read_text(errors="replace").splitlines()
    if f"{option}=y" in known:
        return
    able = [c.value for c, o in KERNEL_OPTION.items() if f"{o}=y" in known]
    raise UsageError(
        f"kernel {kernel.version} cannot unpack {compressor.value} ({option} is off in {kernel.config})",
        hint=f"--compress {able[0] if able else 'none'}",
    )


def _write(
    image: Path, tree: FileTree, compressor: Compressor, manifest: dict[str, Any], report: Reporter
) -> None:
    final = image.absolute()
    temporaries: list[Path] = []
    try:
        with _beside(final) as out, report.step("Packing", sum(map(Entry.size, tree.values()))) as advance:
            temporaries.append(Path(out.name))
            digest = hashlib.sha256()
            size = 0
            packer = sink(compressor)

            def put(data: bytes) -> None:
                nonlocal size
                digest.update(data)
                size += len(data)
                out.write(data)

            archive = newc.Writer(lambda data: put(packer.compress(data)))
            for member, data in _members(tree):
                archive.add(member, data)
                advance(len(data))
            archive.close()
            put(packer.flush())
        manifest["image"] = {
            "file": image.name,
            "compressor": compressor.value,
            "size": size,
            "unpacked": archive.written,
            "sha256": digest.hexdigest(),
        }
        with _beside(final) as out:
            temporaries.append(Path(out.name))
            out.write(dump(manifest))
        temporaries[1].replace(manifest_path(final))
        temporaries[0].replace(final)
    except OSError as e:
        raise WorldError(f"cannot write the image {image}: {e.strerror or e}") from e
    finally:
        for path in temporaries:
            path.unlink(missing_ok=True)


def _beside(final: Path) -> IO[bytes]:
    """Open a temporary file in the directory of `final`, for a rename that cannot fail half-way."""
    out = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the caller closes it
        dir=final.parent, prefix=f".{final.name}.", delete=False
    )
    os.fchmod(out.fileno(), 0o644)
    return out


def _members(tree: FileTree) -> Iterator[tuple[newc.Member, bytes]]:
    """Yield what the archive holds. All names of a hard link share an inode; the last one has the data."""
    mtime = _source_date_epoch()
    names: dict[Entry, int] = {}
    for entry in tree.values():
        names[entry] = names.get(entry, 0) + 1
    left = dict(names)
    inodes: dict[Entry, int] = {}
    for path, entry in tree.items():
        inode = inodes.setdefault(entry, len(inodes) + 1)
        left[entry] -= 1
        data = entry.read() if left[entry] == 0 else b""
        links = names[entry] if entry.kind is not Kind.DIRECTORY else 2
        yield newc.Member(path, entry.mode, ino=inode, nlink=links, mtime=mtime, device=entry.device), data


def _source_date_epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    with suppress(ValueError):
        if 0 <= int(text) <= 0xFFFFFFFF:
            return int(text)
    raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}, not whole seconds since 1970")


def _groups(tree: FileTree) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for entry in tree.values():
        row = groups.setdefault(entry.group, {"files": 0, "size": 0})
        row["files"] += entry.kind is not Kind.DIRECTORY
        row["size"] += entry.size()
    return dict(sorted(groups.items()))


def _module_row(module: modules.Module, chosen: set[str]) -> dict[str, object]:
    row: dict[str, object] = {"name": module.name, "path": module.path, "size": len(module.data)}
    if module.name not in chosen:
        row["dependency"] = True
    if module.firmware:
        row["firmware"] = list(module.firmware)
    return row


def _file_row(path: str, entry: Entry) -> dict[str, object]:
    row: dict[str, object] = {
        "path": path,
        "mode": f"{entry.mode:06o}",
        "size": entry.size(),
        "group": entry.group,
        "origin": entry.origin,
    }
    if entry.kind is Kind.SYMLINK:
        row["target"] = entry.target
    return row
