"""What the head of a kernel image says: the version in the x86 boot header (Documentation/arch/x86/boot.rst).

"HdrS" at 0x202, at 0x20e a 16-bit offset, to which 0x200 is added, of a string that begins with the version.
"""

import hashlib
import re
import struct
from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.fs.files import read_error
from hostbuild.fs.regular import read_regular

KERNEL_WORDS = (
    "name a kernel by the path of a vmlinuz or of a build tree, by deb:PACKAGE (deb:linux-image-amd64, "
    "deb:linux-image-amd64/trixie), by its version, or as running"
)
_VERSION = re.compile(r"(?!\.)[!-.0-~]+")


class KernelError(InputError):
    """The kernel or its modules are not what they have to be."""


def parse_version(vmlinuz: bytes) -> str:
    """Read the version from the first kilobytes of an x86 kernel image."""
    if vmlinuz[0x202:0x206] != b"HdrS":
        raise KernelError("no x86 boot header: not a bzImage (vmlinuz)")
    (offset,) = struct.unpack_from("<H", vmlinuz, 0x20E)
    text = vmlinuz[offset + 0x200 : offset + 0x400].partition(b"\0")[0].decode("ascii", "replace")
    if offset == 0 or not text.split():
        raise KernelError("its boot header names no version")
    version = text.split()[0]
    if not _VERSION.fullmatch(version):  # it becomes a directory's name
        raise KernelError(
            f"its boot header has {version!r} for a version, which can name no directory of modules"
        )
    return version


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
