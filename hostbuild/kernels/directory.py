"""The kernels that a directory holds: in it, in its boot/, in its module directories."""

import os
from pathlib import Path

from hostbuild.kernels.bzimage import KernelError
from hostbuild.near import listed

TREES = ("lib/modules", "usr/lib/modules")


def images_in(directory: Path) -> list[Path]:
    """Find the kernels of a directory."""
    if (directory / "vmlinuz").is_file():
        return [directory / "vmlinuz"]
    found = [
        *directory.glob("boot/vmlinuz-*"),
        *directory.glob("boot/vmlinux-kbuild-*"),  # make tar-pkg, for architectures that it knows nothing of
        *(one for tree in TREES for one in directory.glob(f"{tree}/*/vmlinuz")),
    ]
    once = {os.path.realpath(path): path for path in sorted(found) if path.is_file()}
    return list(once.values())


def require_one(directory: Path, whose: Path | None = None) -> Path:
    """Return the only kernel of a directory. whose: what it was unpacked from. Raises KernelError for several."""
    images = images_in(directory)
    if len(images) != 1:
        names = listed([str(path.relative_to(directory)) for path in images])
        raise KernelError(
            f"{whose or directory} has {len(images)} kernels, {names}",
            hint=f"name one: --kernel {images[-1]}",
        )
    return images[0]
