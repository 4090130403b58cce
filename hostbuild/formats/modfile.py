"""Kernel module files as they lie on a disk: plain or compressed, told by the name's end.

busybox's modprobe cannot insert a compressed module, so images carry them plain.
"""

from pathlib import Path

from hostbuild.errors import InputError
from hostbuild.formats.compress import CompressionError, decompress, detect

_ENDINGS = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


class ModuleFileError(InputError):
    """A module's file cannot be read or unpacked."""


def is_module(name: str) -> bool:
    """Tell whether a file name is that of a kernel module."""
    return name.endswith(_ENDINGS)


def plain_path(path: str) -> str:
    """Give the path without its compressor's ending: kernel/a.ko for kernel/a.ko.xz."""
    return path[: path.rindex(".ko") + 3]


def module_name(path: str) -> str:
    """Give the module's name as the kernel has it: snd_hda_intel for kernel/sound/snd-hda-intel.ko.xz."""
    return plain_path(path.rpartition("/")[2]).removesuffix(".ko").replace("-", "_")


def read_module(path: Path) -> bytes:
    """Read a module, uncompressed."""
    try:
        data = path.read_bytes()
        return data if path.suffix == ".ko" else decompress(detect(data), data)[0]
    except (OSError, CompressionError) as e:
        raise ModuleFileError(f"cannot read the module {path}: {e}") from e
