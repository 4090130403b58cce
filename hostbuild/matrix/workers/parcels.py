"""Images, with manifest and kernel, known by their content: found on this machine, or kept in hostbuild's cache.

    $XDG_CACHE_HOME/hostbuild/images/parcel-DIGEST/     the three, sealed (fs/sealed.py)

A worker that shares this machine's files boots the image where it lies. Another is sent it once.
"""

import hashlib
import json
import os
import socket
from pathlib import Path

from hostbuild.errors import HostbuildError, InputError
from hostbuild.formats.manifest import kernel_path, manifest_path, read_manifest
from hostbuild.fs import sealed
from hostbuild.fs.files import read_input
from hostbuild.fs.scratch import scratch_directory
from hostbuild.image.kept import images_directory
from hostbuild.kernels.bzimage import read_arch
from hostbuild.kernels.image_kernel import require_vmlinuz
from hostbuild.matrix.asked.job import Parcel

_NAME = "guest.img"
_PREFIX = "parcel-"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)
Content = tuple[bytes, bytes, bytes]  # image, manifest, kernel


def make_parcel(image: Path) -> Parcel:
    """Look at an image with its manifest and its kernel. Raises InputError where one of them is not there."""
    image = image.absolute()
    content = read_content(image)
    return Parcel(_digest(content), str(image), sum(map(len, content)), read_arch(kernel_path(image)))


def read_content(image: Path) -> Content:
    """Read an image, its manifest and its kernel, which has to lie beside it. Raises InputError."""
    require_vmlinuz(image, read_manifest(image))  # says where it looked, and that it is not the manifest's
    if not kernel_path(image).is_file():
        raise InputError(
            f"the image {image} has no kernel beside it ({kernel_path(image).name}), and so cannot be sent to workers",
            hint="make-image writes the three together",
        )
    return (
        read_input(image, "the image"),
        read_input(manifest_path(image), "the manifest"),
        read_input(kernel_path(image), "the kernel"),
    )


def read_parcel(parcel: Parcel) -> Content:
    """Read a parcel where it was made. Raises InputError where its image is not there any more, or another."""
    content = read_content(Path(parcel.path))
    if _digest(content) != parcel.digest:
        raise InputError(f"the image {parcel.path} has changed while the matrix was run", hint="do it again")
    return content


def find_parcel(parcel: Parcel) -> Path | None:
    """Give the image on this machine: in the cache, else where it was made, if it is still what it was; else None."""
    kept = sealed.find(_place(parcel.digest))
    if kept is not None:
        return kept / _NAME
    image = Path(parcel.path)
    return image if _remembered_digest(image) == parcel.digest else None


def keep_parcel(parcel: Parcel, content: Content) -> None:
    """Put a parcel into this machine's cache. Raises InputError for content that is not the parcel's."""
    if _digest(content) != parcel.digest:
        raise InputError(f"the parcel {parcel.digest} was damaged on its way")
    with scratch_directory(images_directory()) as staging:
        complete = staging / "sealed"
        root = sealed.root_of(complete)
        root.mkdir(parents=True)
        image = root / _NAME
        for path, data in zip((image, manifest_path(image), kernel_path(image)), content, strict=True):
            path.write_bytes(data)
        sealed.publish(complete, _place(parcel.digest))


def cache_place() -> str:
    """Return what two workers have in common that share a cache: the kernel that runs, and the directory.

    Not the machine's name: many are called localhost, or are copies of one.
    """
    found = images_directory().stat()
    boot = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.is_file() else socket.gethostname()
    return f"{boot}:{found.st_dev:x}:{found.st_ino:x}"


def _place(digest: str) -> Path:
    return images_directory() / f"{_PREFIX}{digest}"


def _digest(content: Content) -> str:
    parts = [hashlib.sha256(one).hexdigest() for one in content]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


_seen: dict[
    tuple[str, tuple[int, ...]], str
] = {}  # a process's: hashing an image again for each cell takes time


def _remembered_digest(image: Path) -> str:
    """Return an image's digest, looked at again where one of the three files has changed.

    "" where it cannot be read: the path is another machine's, and may be somebody else's on this one.
    """
    try:
        stamps = [os.stat(path) for path in (image, manifest_path(image), kernel_path(image))]
        key = (
            str(image),
            tuple(n for s in stamps for n in (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)),
        )
        if key not in _seen:
            _seen[key] = _digest(read_content(image))
        return _seen[key]
    except (OSError, HostbuildError):
        return ""
