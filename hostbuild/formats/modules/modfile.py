"""Kernel module files as they lie on a disk: plain or compressed, told by the name's end.

busybox's modprobe cannot insert a compressed module, so images carry them plain.
"""

from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.compress import detect
from hostbuild.formats.unpack import CompressionError, decompress
from hostbuild.fs.regular import read_regular

ENDINGS = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")

# The libraries by which kmod unpacks modules: needed by its header, or (kmod 33 and later) opened when one is met.
UNPACKERS = {"liblzma.so.5": ".xz", "libz.so.1": ".gz", "libzstd.so.1": ".zst"}


class ModuleFileError(InputError):
    """A module's file cannot be read or unpacked."""


def is_module(name: str) -> bool:
    """Tell whether a file name is that of a kernel module."""
    return name.endswith(ENDINGS)


def plain_path(path: str) -> str:
    """Return the path without its compressor's ending: kernel/a.ko for kernel/a.ko.xz; without `.ko` as it is."""
    before, ko, _ = path.rpartition(".ko")
    return before + ko if ko else path


def unpackers_in(kmod: bytes) -> list[str]:
    """Return the sonames by which a kmod unpacks: each stands in it as a string, in the header's or among its own."""
    return [soname for soname in UNPACKERS if soname.encode() + b"\0" in kmod]


def read_module(path: Path) -> bytes:
    """Read a module, uncompressed, whatever its name says. Raises ModuleFileError, for a FIFO as well."""
    try:
        data = read_regular(path)
        return decompress(detect(data), data)[0]
    except (OSError, CompressionError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        raise ModuleFileError(f"cannot read the module {path}: {reason}") from e
