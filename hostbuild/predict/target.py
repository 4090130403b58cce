"""What a prediction is for: a kernel with all its modules, or an image with those that it carries.

The tables are the files that the daemon reads in the guest; modprobe.d and modules-load.d are read by its rules from
wherever they will lie: in the image, in overlays, in files that the caller names, on the kernel's command line.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.initramfs import archive
from hostbuild.formats.initramfs.rootfs import Root
from hostbuild.formats.manifest import manifest_path, read_manifest
from hostbuild.formats.sniff import Kind, require_kind
from hostbuild.fs.scratch import scratch_directory
from hostbuild.kernels import alias_index
from hostbuild.kernels.kernel import Kernel, KernelError
from hostbuild.predict.prediction import Target
from hostbuild.run import run
from modaliasd.core.index import lookup
from modaliasd.core.kmod import modules_load
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modprobe_d import (
    DIRECTORIES,
    Configuration,
    counting_files,
    join,
    parse_command_line,
    parse_modprobe_d,
)
from modaliasd.core.kmod.modules_dep import Dependencies, parse_builtin, parse_modules_dep, parse_softdeps
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.kmod.tables import parse_requested
from modaliasd.core.policy.rules import parse_policy
from modaliasd.core.settings import parse_settings

_TABLES = (
    "modules.alias",
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.dep",
    "modules.order",
    "modules.requested",
    "modules.softdep",
)
POLICY = "/etc/modaliasd/policy.toml"
_SINGLE = (POLICY, modules_load.FILE)
_DIRECTORIES = (*DIRECTORIES, *modules_load.DIRECTORIES)
_TREES = ("lib/modules", "usr/lib/modules")  # where the guest looks, and where it may yet be led by a link
_SQUASHFS = ".squashfs"


def open_kernel(kernel: Kernel, config: Mapping[str, str], append: str = "") -> Target:
    """Return a kernel as a target, with every module that it has.

    config: files of modprobe.d, of modules-load.d, and the policy, path in the guest -> text. append: the kernel's
    command line.
    """
    if kernel.indexes is None or kernel.modules is None:
        raise KernelError(
            f"no modules were found for the kernel {kernel.vmlinuz} ({kernel.version})", hint="--modules-dir"
        )
    tables = {name: _bytes(kernel.indexes / name) or _bytes(kernel.modules / name) for name in _TABLES}
    return make_target(tables, config, append, kernel.version, "this kernel", Flavour.BUSYBOX)


def open_image(image: Path, config: Mapping[str, str], append: str = "") -> Target:
    """Return an image as a target: its modules, its files below `config`'s, its command line before `append`."""
    require_kind(image, Kind.IMAGE, Kind.PACKED)
    manifest = read_manifest(image) if manifest_path(image).exists() else {}
    unpacked = archive.open_image(image).require_whole()
    tables = _table_paths(unpacked.root)
    settings = config_paths(unpacked.root)
    files = unpacked.read([*tables, *settings])
    trees = _trees({path: where for path, where in tables.items() if path in files}, files)
    version = manifest.get("kernel", {}).get("version", "")
    if not version and len(trees) == 1:
        version = next(iter(trees))
    if not version or (version not in trees and manifest.get("modules")):
        found = ", ".join(sorted(trees)) or "none"
        dropped = f"{len(unpacked.passed_over)} of its members come to nothing: hostbuild inspect {image}"
        raise InputError(
            f"cannot tell which modules of {image} are booted with; it has modules for: {found}",
            hint=dropped if unpacked.passed_over else "",
        )
    # what cannot be read says nothing, but hides a file of its name in the later directories
    own = {path: _text(files.get(path, b"")) for path in settings}
    words = " ".join(filter(None, (manifest.get("append", ""), append)))
    flavour = Flavour(manifest.get("modprobe", Flavour.KMOD.value))
    return make_target(trees.get(version, {}), {**own, **config}, words, version, "this image", flavour)


def read_config(overlays: Iterable[Path], extras: Iterable[Path]) -> dict[str, str]:
    """Return what overlays bring of modprobe.d, modules-load.d and the policy; extras count as in /etc/modprobe.d."""
    found: dict[str, str] = {}
    for overlay in overlays:
        if not overlay.is_dir():
            raise InputError(f"the overlay {overlay} is not a directory")
        for directory in _DIRECTORIES:
            found |= {
                f"{directory}/{path.name}": _read(path) for path in _files(overlay / directory.lstrip("/"))
            }
        for single in _SINGLE:
            if (overlay / single.lstrip("/")).is_file():
                found[single] = _read(overlay / single.lstrip("/"))
    for extra in extras:
        if not extra.exists():
            raise InputError(f"there is no modprobe.d file or directory {extra}")
        paths = _files(extra) if extra.is_dir() else [extra]
        for path in paths:
            name = path.name if extra.is_dir() or path.suffix == ".conf" else f"{path.name}.conf"
            found[f"{DIRECTORIES[0]}/{name}"] = _read(path)
    return found


def make_target(
    tables: Mapping[str, bytes],
    config: Mapping[str, str],
    append: str,
    kernel: str,
    name: str,
    flavour: Flavour,
) -> Target:
    """Put a target together. tables: the module tree's files by name; those that are missing are empty."""

    def table(which: str) -> bytes:
        return tables.get(which, b"")

    configuration = _configuration(config, append)
    data = alias_index.build(table("modules.alias"), table("modules.order"), table("modules.builtin.modinfo"))
    index = lookup.Index(data)
    dep = _text(table("modules.dep"))
    builtin, not_builtin = parse_builtin(_text(table("modules.builtin")))
    softdeps, not_softdeps = parse_softdeps(_text(table("modules.softdep")))
    problems = (*parse_modules_dep(dep)[1], *not_softdeps, *index.warnings, *not_builtin)
    resolver = Resolver(configuration, Dependencies(dep, builtin, problems), index.lookup, softdeps)
    policy = parse_policy(config[POLICY], POLICY) if POLICY in config else None
    listed, load = _listed(config, append), parse_settings(append).load
    may_ask, _ = parse_requested(_text(table("modules.requested")))
    return Target(resolver, kernel, name, flavour, load, policy, listed, tuple(may_ask))


def _listings(config: Mapping[str, str], directories: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Give the names of the files that lie in each directory."""
    found = []
    for directory in directories:
        names = [path.removeprefix(directory + "/") for path in config if path.startswith(directory + "/")]
        found.append((directory, [name for name in names if "/" not in name]))
    return found


def _listed(config: Mapping[str, str], append: str) -> tuple[modules_load.Listed, ...]:
    """Give what modules-load.d and its words on the command line name, in the order in which the daemon loads it."""
    listed = modules_load.parse_modules_load_words(append)
    files = modules_load.listing_files(_listings(config, modules_load.DIRECTORIES))
    for path in (modules_load.FILE, *files):
        listed += modules_load.parse_modules_load(config.get(path, ""), path)
    return tuple(modules_load.once(listed))


def _configuration(config: Mapping[str, str], append: str) -> Configuration:
    paths = [f"{directory}/{name}" for directory, name in counting_files(_listings(config, DIRECTORIES))]
    return join(parse_modprobe_d([(path, config[path]) for path in paths]), parse_command_line(append))


def _table_paths(root: Root) -> dict[str, tuple[str, str]]:
    """Where an image may have tables: path -> the kernel's release and the table's name; "" for all, in a squashfs."""
    found: dict[str, tuple[str, str]] = {}
    for directory in reversed(_TREES):  # the first counts, so it comes last
        for release in root.names(directory):
            if release.endswith(_SQUASHFS):
                found[f"{directory}/{release}"] = (release.removesuffix(_SQUASHFS), "")
            else:
                found |= {f"{directory}/{release}/{name}": (release, name) for name in _TABLES}
    return found


def config_paths(root: Root) -> list[str]:
    """Return the configuration files that an image has, dangling links included."""
    paths = [f"{directory}/{name}" for directory in _DIRECTORIES for name in root.names(directory)]
    return paths + [path for path in _SINGLE if root.find(path)]


def _trees(tables: Mapping[str, tuple[str, str]], files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return the tables by the kernel's release."""
    trees: dict[str, dict[str, bytes]] = {}
    for path, (release, name) in tables.items():
        if name:
            trees.setdefault(release, {})[name] = files[path]
        else:
            trees[release] = _unsquashed(files[path])
    return trees


def _unsquashed(data: bytes) -> dict[str, bytes]:
    with scratch_directory() as staging:
        packed = staging / "modules.squashfs"
        packed.write_bytes(data)
        out = staging / "out"
        # a tree that lacks one of them is no error
        run(["unsquashfs", "-no-progress", "-no-xattrs", "-d", out, packed, *_TABLES], timeout=60)
        return {name: _bytes(out / name) for name in _TABLES}


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*") if path.is_file())


def _read(path: Path) -> str:
    try:
        return _text(path.read_bytes())
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}") from e


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
