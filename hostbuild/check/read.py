"""Reads an image into what the rules look at: two passes over the archive, one for the tree and one for the files."""

import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hostbuild.check.view import (
    NO_ARCHIVES,
    NO_LIMITS,
    Archives,
    KernelFacts,
    Limits,
    ModuleTree,
    ModuleView,
    ProgramView,
    View,
)
from hostbuild.errors import CommandError
from hostbuild.formats import elf, elf_sections, elf_symbols
from hostbuild.formats.compress import detect
from hostbuild.formats.elf import ElfError
from hostbuild.formats.initramfs.archive import Image
from hostbuild.formats.initramfs.rootfs import Node, Root
from hostbuild.formats.modules.modfile import ENDINGS, UNPACKERS, is_module, unpackers_in
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.fs.scratch import scratch_directory
from hostbuild.predict.target import config_paths
from hostbuild.run import run
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.names import module_name
from modaliasd.core.loading.signature import MARK

Files = Callable[[Iterable[str]], Mapping[str, bytes]]
"""Gives files of the image by their paths; what is no file is left out."""

_MODULES = re.compile(r"(?P<tree>(?:usr/)?lib/modules/(?P<release>[^/]+))/(?P<inside>.+)")
_SQUASHFS = re.compile(r"(?P<tree>(?:usr/)?lib/modules/(?P<release>[^/]+))\.squashfs")
_LIBRARY = re.compile(r"(.*/)?lib[^/]*\.so(\.[^/]*)?|(.*/)?ld[^/]*\.so(\.[^/]*)?")
_OWN = "usr/lib/micro"
_MODPROBES = ("sbin/modprobe", "usr/sbin/modprobe", "bin/modprobe", "usr/bin/modprobe")
_CONFIGS = {".xz": "XZ", ".gz": "GZIP", ".zst": "ZSTD"}  # of MODULE_COMPRESS_, with MODULE_DECOMPRESS
_UNSQUASH_S = 300.0


def view_image(
    image: Image,
    kernel: KernelFacts | None,
    manifest: Mapping[str, Any],
    append: str = "",
    limits: Limits = NO_LIMITS,
) -> View:
    """Read an image. append: words behind the manifest's. Raises InputError for what cannot be read."""
    trouble = str(image.trouble) if image.trouble is not None else ""
    archives = Archives(
        image.size,
        tuple(segment.compressor for segment in image.segments),
        trouble,
        tuple(image.passed_over),
        tuple(image.untrailed),
        tuple(path for paths, early in map(image.microcode, image.segments) if not early for path in paths),
    )
    words = " ".join(filter(None, (manifest.get("append", ""), append)))
    release = kernel.version if kernel is not None else manifest.get("kernel", {}).get("version", "")
    if trouble:  # what comes after it, nobody knows
        return View(image.root, archives, kernel, append=words, release=release, limits=limits)
    return view_files(
        image.root, image.read, kernel, words, release=release, archives=archives, limits=limits
    )


def view_files(
    root: Root,
    read: Files,
    kernel: KernelFacts | None,
    append: str,
    *,
    release: str = "",
    archives: Archives = NO_ARCHIVES,
    limits: Limits = NO_LIMITS,
    with_modules: bool = True,
) -> View:
    """Look at a root file system. with_modules: not only at where they lie."""
    nodes: dict[str, Node] = {}
    seen: set[int] = set()
    for path, node in root.walk():
        if stat.S_ISREG(node.mode) and id(node) not in seen:
            seen.add(id(node))
            nodes[path] = node
    modules = [path for path in nodes if with_modules and _MODULES.fullmatch(path)]
    packed = [path for path in nodes if with_modules and _SQUASHFS.fullmatch(path)]
    runnable = [path for path, node in nodes.items() if _may_run(path, node)]
    settings = config_paths(root)
    loader = [path for path in nodes if path == "etc/ld.so.conf" or path.startswith("etc/ld.so.conf.d/")]
    contents = read(dict.fromkeys([*modules, *packed, *runnable, *settings, *loader]))
    trees = _trees({path: contents[path] for path in modules if path in contents}, contents, packed)
    if not release and len(trees) == 1:
        release = next(iter(trees))
    programs = {path: _program(path, nodes[path], contents[path]) for path in runnable if path in contents}
    modprobe, unpacks = _modprobe(root, nodes, contents, kernel)
    return View(
        root=root,
        archives=archives,
        kernel=kernel,
        own=(found := root.find(_OWN)) is not None and found.children is not None,
        append=append,
        trees=trees,
        release=release,
        modprobe=modprobe,
        unpacks=unpacks,
        programs=programs,
        config={path: _text(contents.get(path, b"")) for path in settings},
        library_paths=tuple(
            line.strip()
            for path in loader
            for line in _text(contents.get(path, b"")).split("\n")
            if line.startswith("/")
        ),
        limits=limits,
    )


def _may_run(path: str, node: Node) -> bool:
    return not is_module(path) and bool(node.mode & 0o111 or _LIBRARY.fullmatch(path) or path == "init")


def _trees(
    files: Mapping[str, bytes], contents: Mapping[str, bytes], packed: Iterable[str]
) -> dict[str, ModuleTree]:
    tables: dict[str, dict[str, bytes]] = {}
    modules: dict[str, list[ModuleView]] = {}
    places: dict[str, str] = {}
    for path, data in files.items():
        found = _MODULES.fullmatch(path)
        assert found is not None, path
        release, inside = found["release"], found["inside"]
        places.setdefault(release, found["tree"])
        if is_module(path):
            modules.setdefault(release, []).append(module_view(path, inside, data))
        elif "/" not in inside:
            tables.setdefault(release, {})[inside] = data
    for path in packed:
        found = _SQUASHFS.fullmatch(path)
        assert found is not None, path
        release, tree = found["release"], found["tree"]
        places[release] = tree
        try:
            unpacked = unsquashed(contents.get(path, b""))
        except CommandError as e:
            trouble = f"the squashfs with all modules cannot be read: {e}"
            modules[release] = [ModuleView(path, "", "", trouble=trouble)]
            continue
        for inside, data in unpacked:
            if is_module(inside):
                modules.setdefault(release, []).append(module_view(f"{tree}/{inside}", inside, data))
            elif "/" not in inside:
                tables.setdefault(release, {})[inside] = data
    return {
        release: ModuleTree(release, place, tuple(modules.get(release, ())), tables.get(release, {}))
        for release, place in places.items()
    }


def module_view(path: str, inside: str, data: bytes) -> ModuleView:
    """Look at a module's file."""
    name = module_name(posixpath.basename(inside))
    ending = next((one.removeprefix(".ko") for one in ENDINGS if one != ".ko" and path.endswith(one)), "")
    try:
        plain = decompress(detect(data), data)[0]
        info = elf_symbols.modinfo(plain)
        link = elf_symbols.linkage(plain)
    except (CompressionError, ElfError) as e:
        return ModuleView(path, inside, name, ending, trouble=f"it cannot be read: {e}")
    if not info:
        return ModuleView(
            path, inside, name, ending, trouble="it has no .modinfo: not a module, or a damaged one"
        )
    return ModuleView(path, inside, name, ending, info, link, plain.endswith(MARK))


def unsquashed(data: bytes) -> list[tuple[str, bytes]]:
    """Return the regular files of a squashfs, by their paths in it. Raises CommandError."""
    with scratch_directory() as staging:
        packed = staging / "modules.squashfs"
        packed.write_bytes(data)
        out = staging / "out"
        run(["unsquashfs", "-no-progress", "-no-xattrs", "-d", out, packed], timeout=_UNSQUASH_S)
        files = sorted(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())
        return [(path.relative_to(out).as_posix(), path.read_bytes()) for path in files]


def _program(path: str, node: Node, data: bytes) -> ProgramView:
    executable = bool(node.mode & 0o111)
    if data.startswith(b"#!"):
        line = data[2:256].partition(b"\n")[0]
        words = tuple(word for word in _text(line).strip(" \t").split(" ") if word)
        return ProgramView(path, executable, script=words or ("",))
    if not data.startswith(elf.MAGIC):
        return ProgramView(path, executable)
    try:
        machine = elf_sections.machine_of(data)
        program = elf.program_in(data)
        shared = int.from_bytes(data[16:18], "little" if data[5] == 1 else "big") == 3
        return ProgramView(
            path,
            executable,
            elf=True,
            machine=machine,
            shared=shared,
            interpreter=program.interpreter or "",
            needed=program.needed,
            run_path=program.run_path,
        )
    except ElfError as e:
        return ProgramView(path, executable, elf=True, trouble=f"it cannot be read: {e}")


def _modprobe(
    root: Root, nodes: Mapping[str, Node], contents: Mapping[str, bytes], kernel: KernelFacts | None
) -> tuple[Flavour | None, frozenset[str]]:
    """Find whose modprobe the image has, and the endings of modules that it unpacks."""
    node = next((node for path in _MODPROBES if (node := root.find(path)) is not None), None)
    path = next((path for path, one in nodes.items() if one is node), "")
    if node is None or not path:
        return None, frozenset()
    if posixpath.basename(path).startswith("busybox"):
        return Flavour.BUSYBOX, frozenset()
    libraries = [data for name, data in contents.items() if posixpath.basename(name).startswith("libkmod.so")]
    there = {posixpath.basename(name) for name, _ in root.walk()}
    able = {
        UNPACKERS[soname]
        for data in (contents.get(path, b""), *libraries)
        for soname in unpackers_in(data)
        if soname in there
    }
    if kernel is not None and kernel.option("MODULE_DECOMPRESS") == "y":
        able |= {
            ending for ending, name in _CONFIGS.items() if kernel.option(f"MODULE_COMPRESS_{name}") == "y"
        }
    return Flavour.KMOD, frozenset(able)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
