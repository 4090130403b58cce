"""The kernel that an image was made for: beside it, where it was when the image was made, or in its package.

    micro.img                   an image travels with
    micro.img.manifest.json     the SHA-256 of its kernel, and the package that has it
    micro.img.vmlinuz           a copy of the kernel

Whatever is found counts only if its SHA-256 is the manifest's. A copy, not a hard link: a kernel that is built
again may be written into the same file.
"""

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostbuild import arch, debs, ui
from hostbuild.apt import Lists
from hostbuild.errors import HostbuildError
from hostbuild.formats.manifest import ManifestError, kernel_path
from hostbuild.ui import Reporter, Silent


def require_vmlinuz(image: Path, manifest: dict[str, Any], report: Reporter | None = None) -> Path:
    """Return the kernel that the image was made for. Raises ManifestError, which says all that was tried."""
    kernel = manifest["kernel"]
    tried: list[str] = []
    for path in _places(image, kernel):
        trouble = _trouble(path, kernel["sha256"])
        if not trouble:
            return _found(path, tried)
        tried.append(f"{path}: {trouble}")
    package = kernel.get("package")
    if package:
        name = f"the package {package['name']} {package['version']}"
        try:
            path = _fetched(package, report or Silent())
        except HostbuildError as e:
            tried.append(f"{name}: {e}")
        else:
            trouble = _trouble(path, kernel["sha256"])
            if not trouble:
                return _found(path, tried)
            tried.append(f"{name}, {path}: {trouble}")
    raise ManifestError(
        f"the kernel {kernel['version']}, which {image} was made for, cannot be found:\n  "
        + "\n  ".join(tried),
        hint=f"--kernel VMLINUZ, or {shlex.join(['hostbuild', 'make-image', '-o', str(image)])}",
    )


def _places(image: Path, kernel: dict[str, Any]) -> Iterator[Path]:
    yield kernel_path(image)
    recorded = kernel.get("vmlinuz")
    if isinstance(recorded, str) and recorded:
        yield Path(recorded)


def _found(path: Path, tried: list[str]) -> Path:
    """Return the path; say so if a better place has another kernel, which somebody may have put there on purpose."""
    for line in tried:
        if _CHANGED in line:
            ui.note(f"{line}; taking {path}")
    return path


_CHANGED = "it is not the kernel that the image was made for (its SHA-256 differs)"


def _trouble(path: Path, sha256: str) -> str:
    """Say why a file is not the kernel; "" if it is."""
    if not path.exists():
        return "it does not exist"
    if not path.is_file():
        return "it is not a regular file"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        return f"cannot read it: {e.strerror}"
    return "" if digest == sha256 else _CHANGED


def _fetched(package: dict[str, str], report: Reporter) -> Path:
    found = debs.find_unpacked(
        package["name"], package["version"], package["architecture"], package["sha256"]
    )
    if found is None:
        lists = Lists(package.get("release", ""), arch.foreign_name(package["architecture"]))
        exact = debs.describe_exact(package["name"], package["version"], package["sha256"], lists)
        found = debs.require_unpacked(exact, report)
    return found / package["path"]
