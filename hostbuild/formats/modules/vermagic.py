"""A module's version magic: which kernel it was built for, and whether another one may take it.

    6.1.0-56-amd64 SMP preempt mod_unload modversions

The kernel compares it word for word with its own. With CONFIG_MODVERSIONS it passes over the first word, the
release, for a module that has its symbols' checksums, and compares those: so one module serves many releases
(weak-updates). Source: kernel/module/version.c (same_magic), include/linux/vermagic.h.
"""

import io
from enum import Enum

from hostbuild.formats import elf

_CHECKSUMS = "modversions"
_FIELD = b"\0vermagic="


class Fit(Enum):
    """Whether a kernel takes a module, as far as the version magic tells."""

    SURE = "built for this kernel"
    PERHAPS = "may be loaded, if the symbols' checksums agree"
    NONE = "cannot be loaded"


def magic_of(data: bytes) -> str:
    """Give a module's version magic, "" where it has none. Raises ElfError for what is no ELF file."""
    start = data.find(_FIELD) + len(_FIELD)  # finding .modinfo takes milliseconds
    end = data.find(b"\0", start)
    if start >= len(_FIELD) and end > 0:
        return data[start:end].decode("utf-8", "surrogateescape")
    return elf.modinfo(io.BytesIO(data)).get("vermagic", ("",))[0]


def release_of(magic: str) -> str:
    """Give the release in a version magic, as uname -r prints it; "" if there is none."""
    return magic.partition(" ")[0]


def judge(magic: str, release: str, kernels_magic: str = "") -> Fit:
    """Say whether the kernel of a release takes a module.

    kernels_magic: the kernel's own, as modules tell that were built with it; "" if it is not known.
    """
    words = magic.split()
    own = kernels_magic.split()
    if own and words and words[1:] != own[1:]:
        return Fit.NONE
    if words and words[0] == release:
        return Fit.SURE
    if not words:
        return Fit.PERHAPS  # a kernel with MODULE_FORCE_LOAD takes it
    return Fit.PERHAPS if _CHECKSUMS in words[1:] else Fit.NONE
