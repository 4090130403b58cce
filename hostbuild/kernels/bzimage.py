"""Which version of the kernel an image is, and for which architecture.

x86    "HdrS" at 0x202, at 0x20e a 16-bit offset, to which 0x200 is added, of a string that begins with the version
       (Documentation/arch/x86/boot.rst)
others the header has none; the kernel has its banner, "Linux version 6.1.0-56-arm64 (somebody" (init/version.c)
"""

import hashlib
import re
import struct
from pathlib import Path

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats.image_header import ImageKind, image_arch, image_kind, is_kernel_image, unwrap
from hostbuild.fs.files import read_error
from hostbuild.fs.regular import read_regular

KERNEL_WORDS = (
    "name a kernel by the path of a vmlinuz, a build tree, a tar archive or a .deb, by deb:PACKAGE "
    "(deb:linux-image-amd64, deb:linux-image-amd64/trixie), by its version, or as running"
)
_VERSION = re.compile(r"(?!\.)[!-.0-~]+")
_BANNER = re.compile(rb"Linux version (\d[!-~]{0,63}) \(")


class KernelError(InputError):
    """The kernel or its modules are not what they have to be."""


def parse_version(vmlinuz: bytes) -> str:
    """Read the version from a kernel image; of an x86 one the first kilobytes are enough."""
    if not is_kernel_image(vmlinuz):
        raise KernelError("no boot header of x86, arm64 or riscv: neither a bzImage (vmlinuz) nor an Image")
    if image_kind(vmlinuz) is not ImageKind.BZIMAGE:
        return _in_banner(vmlinuz)
    (offset,) = struct.unpack_from("<H", vmlinuz, 0x20E)
    text = vmlinuz[offset + 0x200 : offset + 0x400].partition(b"\0")[0].decode("ascii", "replace")
    if offset == 0 or not text.split():
        raise KernelError("its boot header names no version")
    return _nameable(text.split()[0], "its boot header")


def _in_banner(image: bytes) -> str:
    try:
        found = _BANNER.search(unwrap(image))
    except InputError as e:
        raise KernelError(str(e)) from e
    if found is None:
        raise KernelError('it names no version (no banner, "Linux version")')
    return _nameable(found[1].decode("ascii"), "its banner")


def _nameable(version: str, where: str) -> str:
    if not _VERSION.fullmatch(version):  # it becomes a directory's name
        raise KernelError(f"{where} has {version!r} for a version, which can name no directory of modules")
    return version


def read_arch(path: Path) -> Arch:
    """Give the architecture of a kernel image that read_vmlinuz has taken. Raises KernelError for others."""
    try:
        data = read_regular(path)
    except OSError as e:
        raise read_error(path, "the kernel", e, hint=KERNEL_WORDS) from e
    found = image_arch(data)
    if found is None:
        raise KernelError(f"{path} is not a kernel that QEMU can boot: it has no known boot header")
    return found


def read_vmlinuz(path: Path) -> tuple[str, str]:
    """Give the version and the SHA-256 of a kernel image."""
    try:
        data = read_regular(path)
    except OSError as e:
        raise read_error(path, "the kernel", e, hint=KERNEL_WORDS) from e
    try:
        return parse_version(data), hashlib.sha256(data).hexdigest()
    except KernelError as e:
        raise KernelError(f"{path} is not a kernel that QEMU can boot: {e}") from e
