"""Puts an image together: kernel modules, busybox, CPython, the daemon and overlays, as an initramfs.

Beside IMAGE stands IMAGE.manifest.json, which says what is inside, how large it is and where it came from.
The same inputs give the same bytes.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from hostbuild import arch as architectures
from hostbuild.apt import Lists, Spec
from hostbuild.arch import Arch
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.compress import KERNEL_OPTION, Compressor, Packing
from hostbuild.formats.kconfig import Config, parse_config
from hostbuild.formats.manifest import manifest_path
from hostbuild.formats.modules.signed_only import looks_at_signatures, why_signed_only
from hostbuild.image import behind, microcode
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry
from hostbuild.image.layers import Layers
from hostbuild.image.manifest import Contents, make_manifest
from hostbuild.image.modules import moduleset, storage
from hostbuild.image.modules.firmware import put_firmware
from hostbuild.image.modules.lacking import lacking
from hostbuild.image.modules.named_selections import NAMED
from hostbuild.image.modules.requested import Rule
from hostbuild.image.modules.stripped import strip_all
from hostbuild.image.modules.tree import put_modules
from hostbuild.image.pack import check_writable, pack
from hostbuild.image.smallest import empty_unwind_tables
from hostbuild.image.sources import busybox, cpython, daemon, extras, kmod, overlay, own, rootfs
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel, require_kernel
from hostbuild.near import did_you_mean
from hostbuild.pybuild.source import BuildSpec
from hostbuild.ui import Reporter, Silent

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
    "usr/sbin": 0o755,
    "var": 0o755,
}
_SYMLINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "sbin": "usr/sbin",
    "var/run": "/run",
}
_PUBLIC_MODULES = [name for name in sys.stdlib_module_names if not name.startswith("_")]
_DEVICES = {"dev/console": (0o600, 5, 1), "dev/null": (0o666, 1, 3)}


class Modprobe(Enum):
    """Whose modprobe the image has."""

    BUSYBOX = "busybox"
    KMOD = "kmod"


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What to build; the defaults are those of `hostbuild make-image`.

    arch: the one to build for; None for the kernel's. kernel: as kernels/find.py takes it; None chooses. modules: a
    selection (modules/selection.py). wanted: gives modules by name, to which the selection, which may then be empty,
    adds; wanted_from: where they come from, for the manifest. python: further modules of Python's standard library.
    smallest: pack as tightly as the compressor can, and without tables for unwinding (smallest.py). store: how the
    modules are kept. extras: see extras.py.
    microcode: of CPUs, to stand in front (microcode.py). behind: images that are put behind it (behind.py).
    interpreter: the package of the guest's Python; own: what it is built of instead (sources/own.py). release: the one
    of Debian that busybox, kmod, Python and their libraries come from, "" for this machine's. requested: which modules
    come along that others ask for. strip: cut modules' signatures, BTF and debug sections
    (formats/modules/module_strip.py).
    """

    kernel: str | None = None
    modules_dir: Path | None = None
    modules: str = "qemu"
    overlays: tuple[Path, ...] = ()
    firmware_dirs: tuple[Path, ...] = ()
    compressor: Compressor = Compressor.ZSTD
    smallest: bool = False
    modprobe: Modprobe = Modprobe.BUSYBOX
    python: tuple[str, ...] = ()
    store: storage.Store = storage.Store.PLAIN
    extras: tuple[Extra, ...] = ()
    wanted: moduleset.Wanted | None = None
    wanted_from: str = ""
    interpreter: Spec = cpython.DEFAULT
    own: BuildSpec | None = None
    release: str = ""
    requested: Rule = Rule.NAMED
    strip: bool = False
    arch: Arch | None = None
    microcode: tuple[str, ...] = ()
    behind: tuple[Path, ...] = ()

    def require_kernel(self, report: Reporter) -> Kernel:
        """Find the kernel that these options mean."""
        return require_kernel(self.kernel, self.modules_dir, report, arch=self.arch, release=self.release)

    def lists(self, kernel: Kernel) -> Lists:
        """Give the lists of packages that the image's programs come from."""
        return Lists(self.release, architectures.foreign_name(kernel.arch.value))


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that was written, with its kernel and the content of its manifest."""

    image: Path
    manifest_path: Path
    kernel: Kernel
    manifest: dict[str, Any]


def build_image(
    image: Path, options: ImageOptions, report: Reporter | None = None, *, kernel: Kernel | None = None
) -> BuiltImage:
    """Build an image and its manifest. On error neither is there, or the previous ones are as they were.

    kernel: the one that the options name, if the caller has found it already.
    """
    report = report or Silent()
    image = image.resolve()  # a symlink to an image stays one
    check_writable(image)
    overlays = [overlay.read_own(), *map(overlay.read_overlay, options.overlays)]
    kernel = kernel or options.require_kernel(report)
    lists = options.lists(kernel)
    config = kernel.read_config()
    parsed = parse_config(config) if config is not None else None
    _check_compressor(options.compressor, kernel, config)
    if options.strip:
        _check_strip(kernel, parsed)
    microcode.check_words(options.microcode, kernel.arch)
    early = microcode.read_microcode(options.microcode, report)
    others = behind.read_behind(options.behind, parsed)
    brought = moduleset.read_overlays(_laid(overlays, kernel.arch), kernel.version)

    built_own = _require_own(options, overlays, lists, report)

    tree = _skeleton(kernel.arch)
    for_kmod = options.modprobe is Modprobe.KMOD
    modprobe, readable = (
        kmod.readable_endings(lists) if for_kmod else ("busybox's modprobe", frozenset[str]())
    )
    packages = [busybox.put_busybox(tree, lists)]
    with report.step("Collecting modules"):
        chosen = moduleset.choose(_selection(options), options.wanted, kernel, brought, options.requested)
        carried, warnings = chosen.carried, chosen.warnings
        cut = None
        if options.strip:
            carried, cut = strip_all(carried, looks_at_signatures(parsed))
        warnings += storage.require_readable(options.store, carried, readable, modprobe)
        firmware = put_firmware(tree, carried, options.firmware_dirs, kernel, brought.tree)
    with report.step("Compiling Python"):
        spec = replace(options.interpreter, release=lists.release, architecture=lists.architecture)
        interpreter = built_own or cpython.require_interpreter(spec)
        sources = daemon.require_sources()
        if Extra.ROOT not in options.extras:
            sources = rootfs.without(sources)
        wanted = daemon.imports(sources, interpreter)
        for laid in overlays:
            wanted += daemon.script_imports(laid.python_sources(), interpreter)
        wanted += _asked_for(options.python, interpreter)
        closure = cpython.library_for(interpreter, wanted)
        added = extras.require_packages(options.extras, interpreter)
        for one in added.values():
            closure |= one.library
        closure = cpython.complete_library(interpreter, closure)
        frozen = own.put_interpreter(tree, interpreter, closure, sources)
        daemon.put_daemon(tree, sources, interpreter)
        for extra, one in added.items():
            packages += extras.put_extra(tree, extra, one, interpreter, lists)
    if for_kmod:
        packages.append(kmod.put_kmod(tree, interpreter.libraries, lists))
    _put_overlays(tree, overlays, options)
    for path in brought.overlaid.paths:
        tree.remove(path)
    with report.step(f"Packing {len(carried)} modules", len(carried)) as advance:
        indexes = put_modules(
            tree,
            kernel,
            carried,
            for_kmod=for_kmod,
            store=options.store,
            strip=options.strip,
            readable=readable,
            requested=chosen.requested,
            absent=Extra.ROOT in options.extras,
            advance=advance,
        )
    warnings += moduleset.check(tree, kernel, carried, indexes, packed=_is_squashed(options))
    if "init" not in tree:
        raise InputError("the image has no /init; an overlay has to add one")
    append = storage.APPEND if _is_squashed(options) else ""
    warnings += microcode.lacking(parsed, early)
    front = early.tree()
    layers = Layers([front, tree], [one.image for one in others])
    from hostbuild.image.checked import (
        check_tree,
    )  # all of check: where nothing has changed, nobody waits for it

    warnings += check_tree(layers, kernel, config, append, warnings, foreign=bool(others))

    packages += [*interpreter.packages, *interpreter.libraries.used()]
    packages += [*kernel.packages, *early.packages]
    manifest = make_manifest(
        Contents(
            kernel=kernel,
            selection=options.modules,
            learned_from=options.wanted_from,
            modprobe=options.modprobe.value,
            store=options.store,
            tree=tree,
            chosen=chosen.names,
            modules=carried,
            requested=chosen.requested,
            cut=cut,
            warnings=warnings,
            lacking=lacking(options.modules, kernel),
            firmware=firmware,
            python=interpreter.version,
            library=closure,
            built=own.told(interpreter, frozen),
            packages=packages,
            overlays=overlays,
        )
    )
    behind.tell(manifest, front, layers, others, kernel.version)
    packing = Packing(options.compressor, options.smallest, _may_filter(tree, kernel.arch, config))
    pack(image, tree, packing, manifest, kernel.vmlinuz, report, front=front, behind=others)
    return BuiltImage(image, manifest_path(image), kernel, manifest)


def _require_own(
    options: ImageOptions, overlays: Sequence[overlay.Overlay], lists: Lists, report: Reporter
) -> cpython.Interpreter | None:
    """Build the guest's interpreter, if one of our own is asked for, before all else that takes time."""
    if options.own is None:
        return None
    linkage = own.linkage_of(options.extras, options.python, overlays)
    interpreter = own.require_own(options.own, lists, report, linkage)
    own.check_asked(options.python, interpreter)
    return interpreter


def _selection(options: ImageOptions) -> str:
    """Return the selection with the modules of the extras; not where they are learned, or there are none.

    Theirs stand in front: what the words take out stays out.
    """
    words = options.modules
    if words.strip() in ("", "none"):
        return words
    added = [extra.value for extra in Extra if extra in options.extras and extra.value in NAMED]
    return ",".join([*added, words])


def _skeleton(arch: Arch) -> FileTree:
    """Make the directories, links and device nodes that every image has."""
    tree = FileTree()
    lib64 = arch.facts.lib64
    for path, permissions in {**_DIRECTORIES, **({"usr/lib64": 0o755} if lib64 else {})}.items():
        tree.directory(path, group="base", origin="hostbuild", permissions=permissions)
    for path, target in {**_SYMLINKS, **({"lib64": "usr/lib64"} if lib64 else {})}.items():
        tree.symlink(path, target, group="base", origin="hostbuild")
    for path, (permissions, major, minor) in _DEVICES.items():
        node = TreeEntry(NodeKind.CHARACTER_DEVICE, permissions, "base", "hostbuild", device=(major, minor))
        tree.put(path, node)
    return tree


def _laid(overlays: Iterable[overlay.Overlay], arch: Arch) -> FileTree:
    """Lay overlays over nothing else, to see what they bring."""
    tree = _skeleton(arch)
    for laid in overlays:
        laid.put(tree)
    return tree


def _put_overlays(tree: FileTree, overlays: Iterable[overlay.Overlay], options: ImageOptions) -> None:
    """Put the overlays over what is there, and take out what the options leave out of the image's own files."""
    for laid in overlays:
        laid.put(tree)
    if Extra.ROOT not in options.extras:
        rootfs.take_out(tree)
    if options.smallest:
        empty_unwind_tables(tree)


def _is_squashed(options: ImageOptions) -> bool:
    return options.store.squashed


def _asked_for(names: Sequence[str], interpreter: cpython.Interpreter) -> list[str]:
    unknown = [name for name in names if interpreter.find(name) is None and not interpreter.can_import(name)]
    if unknown:
        raise UsageError(
            f"Python {interpreter.version}'s standard library has no module {', '.join(unknown)}"
            f"{did_you_mean(unknown[0], _PUBLIC_MODULES)}",
            hint="other packages come into the image by --overlay",
        )
    # collections.abc and os.path have no file of their own (any more): their parents make them
    return [name if interpreter.find(name) is not None else name.rpartition(".")[0] for name in names]


def _check_compressor(compressor: Compressor, kernel: Kernel, config: str | None) -> None:
    """Refuse a compressor that the kernel's configuration leaves out."""
    option = KERNEL_OPTION.get(compressor)
    if option is None or config is None:
        return
    known = config.splitlines()
    if f"{option}=y" in known:
        return
    able = [c.value for c, o in KERNEL_OPTION.items() if f"{o}=y" in known]
    raise UsageError(
        f"kernel {kernel.version} cannot unpack {compressor.value} "
        f"({option} is off in {kernel.config or 'its configuration'})",
        hint=f"--compress {able[0] if able else 'none'}",
    )


def _check_strip(kernel: Kernel, config: Config | None) -> None:
    """Refuse to cut the signatures off modules that the kernel would then refuse to load."""
    if why := why_signed_only(config, ""):
        raise UsageError(
            f"kernel {kernel.version} takes signed modules only ({why} in {kernel.config}): without their signatures "
            "it would load none of the image's",
            hint="leave --strip out",
        )


def _may_filter(tree: FileTree, arch: Arch, config: str | None) -> bool:
    """Return whether x86's branch filter can be undone, and is worth it.

    It makes programs smaller, and modules larger: where these jump to is filled in only when they are loaded. An image
    without modules loses 4 % by it, the default one would grow by 2 %.
    """
    modules = sum(entry.size() for entry in tree.values() if entry.group == "modules")
    able = bool(arch.facts.branch_filter) and f"{arch.facts.branch_filter}=y" in (config or "").splitlines()
    return able and 2 * modules < sum(map(TreeEntry.size, tree.values()))
