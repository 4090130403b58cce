"""A kernel's build tree, as `make` leaves it, without modules_install: TREE, or the output directory of `make O=`.

    include/config/kernel.release     the version
    include/config/auto.conf          the configuration that the last make took from .config
    arch/x86/boot/bzImage  vmlinux    the kernel; arch/arm64/boot/Image, arch/riscv/boot/Image
    modules.order                     its modules, a line each: drivers/net/dummy.o (since 6.2),
                                      kernel/drivers/net/dummy.ko or drivers/net/dummy.ko (before)
    modules.builtin{,.modinfo}        what is inside the kernel, as it will be installed

make modules_install puts each below kernel/ (scripts/Makefile.modinst); here links do. A tree that was left in the
middle of a build, or was configured after it, is named: an image of it would be neither the old kernel nor the new.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.errors import HostbuildError
from hostbuild.formats.kconfig import parse_config, value_of
from hostbuild.formats.modules.modfile import read_module
from hostbuild.formats.modules.vermagic import magic_of, release_of
from hostbuild.fs.files import read_error
from hostbuild.fs.regular import read_regular
from hostbuild.kernels.assembled import assemble
from hostbuild.kernels.bzimage import KernelError, read_vmlinuz
from hostbuild.kernels.stale import changed_sources, outputs_beside, unlinked_parts
from hostbuild.near import listed
from modaliasd.core.kmod.names import text_of
from modaliasd.core.loading.signature import MARK

_IMAGES = (
    "arch/x86/boot/bzImage",
    "arch/x86_64/boot/bzImage",
    *(f"arch/{one.facts.kbuild}/boot/{one.facts.kernel_image}" for one in Arch if one is not Arch.AMD64),
)
_RELEASE, _AUTO, _ORDER = "include/config/kernel.release", "include/config/auto.conf", "modules.order"
_LISTS = ("modules.builtin", "modules.builtin.modinfo")
_SHOWN = 4
_NAMEABLE = re.compile(r"[!-.0-~][!-~]*")


@dataclass(frozen=True, slots=True)
class BuildTree:
    """A tree in which a kernel was built. notes: what looks wrong and is no reason to refuse it."""

    path: Path
    vmlinuz: Path
    version: str
    notes: tuple[str, ...]

    @property
    def config(self) -> Path:
        """The configuration that the kernel was built with."""
        return self.path / ".config"


def is_build_tree(path: Path) -> bool:
    """Tell whether a directory is a kernel's source, or the output of its build."""
    return (path / _RELEASE).is_file() or ((path / "Kbuild").is_file() and (path / "Kconfig").is_file())


def tree_of_image(image: Path) -> Path | None:
    """Give the build tree that a bzImage, or a vmlinux, lies in; None if it lies in none."""
    path = Path(os.path.realpath(image))
    above = path.parents[3] if path.parent.name == "boot" and len(path.parents) > 3 else path.parent
    inside = path.name == "vmlinux" or (path.parents[2].name == "arch" if len(path.parents) > 3 else False)
    return above if inside and is_build_tree(above) else None


def output_of(path: Path) -> Path:
    """Give where make puts what it makes of a tree: itself, or for a mere source the environment's KBUILD_OUTPUT.

    As make -C has it, that is relative to the tree (Documentation/kbuild/kbuild.rst).
    """
    named = os.environ.get("KBUILD_OUTPUT", "")
    if not named or (path / ".config").exists():
        return path
    output = Path(os.path.realpath(path / named))
    return output if is_build_tree(output) or (output / ".config").is_file() else path


def read_build_tree(path: Path) -> BuildTree:
    """Look at a build tree, of a source at its output. Raises KernelError where it was not built, or not to its end."""
    path = output_of(path)
    again = f"make -C {path}"
    image = next((path / name for name in _IMAGES if (path / name).is_file()), None)
    if image is None:
        raise _not_built(path)
    version, _ = read_vmlinuz(image)
    release = _text(path / _RELEASE).strip()
    if release and release != version:
        raise KernelError(
            f"the build in {path} is not finished: {image.relative_to(path)} is {version}, "
            f"but {_RELEASE} says {release}",
            hint=again,
        )
    changed = _changed_options(path)
    if changed:
        raise KernelError(
            f"the kernel in {path} is older than its .config, which has changed since: {listed(changed)}",
            hint=again,
        )
    return BuildTree(path, image, version, (*_older(path, image), *_changed(path), *_about_modules(path)))


def _not_built(path: Path) -> KernelError:
    """Say why a tree has no kernel: elsewhere, never configured, never built, broken off, or cleaned."""
    again = f"make -C {path}"
    if not (path / ".config").is_file():
        if outputs := outputs_beside(path.resolve()):
            return KernelError(
                f"no kernel was built in {path} itself: make O= has put it into {listed(list(map(str, outputs)))}",
                hint=f"name that: {outputs[0]}",
            )
        return KernelError(
            f"no kernel was built in {path}: it was never configured, or make mrproper has undone that",
            hint=f"{again} defconfig kvm_guest.config all; or, if make O=DIR built it elsewhere, name DIR",
        )
    begun = (path / "vmlinux").is_file() or any(path.glob("*/built-in.a"))
    why = "its build was broken off" if begun else "it is configured, and was not built, or was cleaned"
    return KernelError(
        f"no kernel was built in {path}: there is no {_image_of(path)}; {why}",
        hint=f"{again}, which boot --rebuild does as well",
    )


def _image_of(path: Path) -> str:
    """Give the name of the image that a tree's configuration makes."""
    config = parse_config(_text(path / ".config"))
    others = (one.facts for one in Arch if one is not Arch.AMD64)
    found = (
        f"arch/{one.kbuild}/boot/{one.kernel_image}"
        for one in others
        if value_of(config, one.kbuild.upper()) == "y"
    )
    return next(found, _IMAGES[0])


def modules_in(tree: BuildTree) -> Path | None:
    """Give a directory with the tree's modules as they would be installed, None where there are none.

    Raises KernelError where some are missing, were built for another version, or would be refused.
    """
    files = require_module_files(tree)
    if not files:
        return None
    lists = {name: _bytes(tree.path / name) for name in _LISTS}
    lists[_ORDER] = "".join(f"{name}\n" for name in files).encode("utf-8", "surrogateescape")
    return assemble(tree.version, files, lists)


def lists_in(tree: BuildTree) -> bytes:
    """Give all that the tree says of its modules beside these: what they are, and what is inside the kernel."""
    return b"\0\0".join(_bytes(tree.path / name) for name in (_ORDER, *_LISTS))


def require_module_files(tree: BuildTree) -> dict[str, Path]:
    """Give the tree's modules, in modules.order's order: where they would be installed -> the file.

    Raises KernelError as modules_in does.
    """
    path = tree.path
    lines = [_module_of(line) for line in _text(path / _ORDER).split("\n") if line.strip()]
    files = {f"kernel/{line}": path / line for line in lines if _is_inside(line)}
    missing = [str(file.relative_to(path)) for file in files.values() if not file.is_file()]
    if missing:
        raise KernelError(
            f"the build in {path} is not finished: modules.order names modules that are not there: {_first(missing)}",
            hint=f"make -C {path} modules",
        )
    if files:
        _require_own(tree, list(files.values()))
    return files


def _about_modules(path: Path) -> list[str]:
    """Say what is to be known of a tree's modules, by its configuration."""
    config = parse_config(_text(path / ".config"))
    if value_of(config, "MODULES") != "y" or "m" not in config.values():
        return []
    if not (path / _ORDER).is_file():
        return [f"the modules in {path} were not built, there is no modules.order; make -C {path} modules"]
    if value_of(config, "DEBUG_INFO") != "y":
        return []
    return [
        f"the modules in {path} may have debug sections, which take room; without them: make -C {path} "
        "INSTALL_MOD_STRIP=1 INSTALL_MOD_PATH=DIR modules_install, and --modules-dir DIR"
    ]


def _module_of(line: str) -> str:
    """Give the module's file in the tree that a line of modules.order means."""
    return line.strip().removeprefix("kernel/").removesuffix(".o").removesuffix(".ko") + ".ko"


def _is_inside(path: str) -> bool:
    return _NAMEABLE.fullmatch(path) is not None and not {"", ".", ".."} & set(path.split("/"))


def _require_own(tree: BuildTree, files: list[Path]) -> None:
    """Refuse modules that an earlier version left, or that the kernel would not take, by a few of them."""
    forced = value_of(parse_config(_text(tree.config)), "MODULE_SIG_FORCE") == "y"
    for file in files[:: max(len(files) // _SHOWN, 1)]:
        try:
            data = read_module(file)
            release = release_of(magic_of(data))
        except HostbuildError:
            continue  # a damaged one says nothing about the others
        if forced and not data.endswith(MARK):
            raise KernelError(
                f"the kernel in {tree.path} takes signed modules only (CONFIG_MODULE_SIG_FORCE=y), "
                "and make signs them when it installs them",
                hint=f"make -C {tree.path} INSTALL_MOD_PATH=DIR modules_install, and --modules-dir DIR",
            )
        if release and release != tree.version:
            raise KernelError(
                f"the build in {tree.path} is not finished: the kernel is {tree.version}, "
                f"but {file.relative_to(tree.path)} was built for {release}",
                hint=f"make -C {tree.path}",
            )


def _changed_options(tree: Path) -> list[str]:
    """Name options of .config that are not those of the last make."""
    built = _values(_text(tree / _AUTO))
    if not built:
        return []
    wanted = _values(_text(tree / ".config"))
    names = sorted(name for name in built.keys() | wanted.keys() if built.get(name) != wanted.get(name))
    shown = [
        f"CONFIG_{name} is {wanted.get(name, 'n')}, was {built.get(name, 'n')}" for name in names[:_SHOWN]
    ]
    return shown + ([f"{len(names) - _SHOWN} more options"] if len(names) > _SHOWN else [])


def _values(text: str) -> dict[str, str]:
    """Give the options that are not off; auto.conf has texts without their quotes since 5.18."""
    return {name: value.strip('"') for name, value in parse_config(text).items() if value != "n"}


def _older(tree: Path, image: Path) -> list[str]:
    """Say what is older than that which it is made from."""
    again = f"; make -C {tree} brings it up to date"
    pairs = [(image, tree / "vmlinux")]
    if not (
        tree / _AUTO
    ).is_file():  # what it was built with cannot be compared; make itself writes .config anew
        pairs.append((tree / "vmlinux", tree / ".config"))
    return [
        f"{made} is older than {source}, so that the kernel may not be what it should be{again}"
        for made, source in pairs
        if made.is_file() and source.is_file() and made.stat().st_mtime < source.stat().st_mtime
    ]


def _changed(tree: Path) -> list[str]:
    """Say which sources make has not seen yet, and what it has seen and not brought to an end."""
    again = f"; make -C {tree} (boot --rebuild) brings it up to date"
    found = []
    if names := changed_sources(tree):
        found.append(f"changed since {tree} was built: {_first(names)}{again}")
    if names := unlinked_parts(tree):
        found.append(
            f"a build of {tree} was broken off, these were compiled and not linked: {_first(names)}{again}"
        )
    return found


def _first(names: list[str]) -> str:
    return listed([*names[:_SHOWN], *([f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])])


def _text(path: Path) -> str:
    return text_of(_bytes(path))


def _bytes(path: Path) -> bytes:
    """Read a file of the tree; nothing where it is not there."""
    try:
        return read_regular(path)
    except FileNotFoundError:
        return b""
    except OSError as e:
        raise read_error(path, "the kernel's build", e) from e
