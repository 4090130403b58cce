"""A kernel without its packing, kept in hostbuild's cache: an emulated machine starts it faster.

    $XDG_CACHE_HOME/hostbuild/kernels/KEY/root/vmlinux          KEY: of the packed kernel's SHA-256

A bzImage unpacks itself, which under emulation is half of the time to /init (Debian's: 2.5 s of processor time of 4.8);
this host does it once, in 0.7 s. QEMU enters the ELF file by PVH (docs/running.md). One is 64 MB: the four that were
used last are kept.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from hostbuild import debs
from hostbuild.errors import HostbuildError
from hostbuild.formats.vmlinuz import has_pvh_entry, kernel_of
from hostbuild.fs import sealed
from hostbuild.fs.files import read_input
from hostbuild.fs.scratch import scratch_directory

_NAME = "vmlinux"
_KEPT = 4


def unpacked_kernel(vmlinuz: Path) -> Path | None:
    """Give the unpacked kernel; None where it cannot be unpacked, or entered so, or there is no room for it."""
    try:
        packed = read_input(vmlinuz, "the kernel")
        directory = debs.cache_directory() / "kernels"
        directory.mkdir(exist_ok=True)
        final = directory / hashlib.sha256(packed).hexdigest()[:32]
        found = sealed.find(final)
        if found is None:
            kernel = kernel_of(packed)
            if not has_pvh_entry(kernel):
                return None
            with scratch_directory(directory) as staging:
                complete = staging / "sealed"
                root = sealed.root_of(complete)
                root.mkdir(parents=True)
                (root / _NAME).write_bytes(kernel)
                found = sealed.publish(complete, final)
            _forget_old(directory)
        os.utime(final)
    except (HostbuildError, OSError):
        return None
    return found / _NAME


def _forget_old(directory: Path) -> None:
    """Remove what was not used lately. QEMU has read a kernel when it starts."""
    kept = [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(kept, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]:
        with suppress(OSError):
            shutil.rmtree(path)
