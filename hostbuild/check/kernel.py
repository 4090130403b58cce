"""What a kernel's files say of it: machine, configuration, version magic, and what it exports with which checksums."""

import re
from pathlib import Path
from typing import Any

from hostbuild import debs
from hostbuild.check.view import KernelFacts
from hostbuild.errors import HostbuildError, InputError
from hostbuild.formats.elf import MAGIC
from hostbuild.formats.elf_sections import machine_of
from hostbuild.formats.elf_symbols import kernel_exports, parse_symvers
from hostbuild.formats.image_header import image_arch
from hostbuild.formats.kconfig import parse_config
from hostbuild.formats.vmlinuz import find_ikconfig, kernel_of
from hostbuild.fs.files import read_input
from hostbuild.kernels.bzimage import read_vmlinuz
from hostbuild.kernels.find import find_kernel
from hostbuild.kernels.image_kernel import require_vmlinuz
from hostbuild.ui import Reporter, Silent

_FLAGS = re.compile(rb"(?: [A-Za-z_][A-Za-z0-9_]*)+ ?")  # of a version magic, behind the release


def read_kernel(spec: str, report: Reporter) -> tuple[Path, KernelFacts]:
    """Give the facts of a kernel that somebody names, and its vmlinuz. Raises KernelError."""
    found = find_kernel(spec, report)
    version, _ = read_vmlinuz(found.vmlinuz)
    symvers = found.tree.config.with_name("Module.symvers") if found.tree is not None else None
    return found.vmlinuz, _facts(found.vmlinuz, version, found.config(version), symvers)


def read_kernel_of(image: Path, manifest: dict[str, Any], report: Reporter) -> tuple[Path, KernelFacts]:
    """Give the facts of the kernel that an image was made for. Raises ManifestError where it cannot be found."""
    vmlinuz = require_vmlinuz(image, manifest, report)
    version, _ = read_vmlinuz(vmlinuz)
    return vmlinuz, _facts(vmlinuz, version, _config_of(manifest["kernel"], version), None)


def _config_of(kernel: dict[str, Any], version: str) -> Path | None:
    """Find the configuration in the package that the kernel is from, if that is at hand, or beside its vmlinuz."""
    package = kernel.get("package")
    places: list[Path] = []
    if package:
        root = debs.find_unpacked(
            package["name"], package["version"], package["architecture"], package["sha256"]
        )
        if root is not None:
            places = [root / "boot" / f"config-{version}", root / "usr/lib/modules" / version / "config"]
    elif isinstance(kernel.get("vmlinuz"), str) and Path(kernel["vmlinuz"]).is_file():
        try:
            found = find_kernel(kernel["vmlinuz"], Silent()).config(version)
        except HostbuildError:
            found = None
        places = [found] if found is not None else []
    return next((place for place in places if place.is_file()), None)


def _facts(vmlinuz: Path, version: str, config: Path | None, symvers: Path | None) -> KernelFacts:
    text = config.read_text(encoding="utf-8", errors="replace") if config is not None else None
    exports: dict[str, int | None] | None = None
    magic, machine = "", 0
    data = read_input(vmlinuz, "the kernel")
    try:
        kernel = kernel_of(data)
    except InputError:  # packed by what is not unpacked here
        kernel = b""
    if kernel.startswith(MAGIC):
        machine = machine_of(kernel)
        exports = kernel_exports(kernel) or None
    elif arch := image_arch(data):
        machine = arch.facts.elf
    if kernel:
        magic = magic_in(kernel, version)
        text = find_ikconfig(kernel) if text is None else text
    if exports is None and symvers is not None and symvers.is_file():
        exports = parse_symvers(symvers.read_text(encoding="utf-8", errors="replace")) or None
    return KernelFacts(version, machine, parse_config(text) if text is not None else None, magic, exports)


def magic_in(kernel: bytes, version: str) -> str:
    """Find a kernel's own version magic: the release and words without punctuation; "" where it does not show."""
    name = version.encode()
    at = kernel.find(b"\0" + name + b" ")
    while at >= 0:
        end = kernel.find(b"\0", at + 1)
        if _FLAGS.fullmatch(kernel[at + 1 + len(name) : end]):
            return kernel[at + 1 : end].decode("ascii")
        at = kernel.find(b"\0" + name + b" ", at + 1)
    return ""
