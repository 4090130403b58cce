"""What was made last at a place, and of what: an image of which nothing has changed need not be made again.

    $XDG_CACHE_HOME/hostbuild/made/PLACE    the key of the image (kept.py), and sizes, times and inodes of its files

PLACE is a digest of the image's path. An image that somebody has written to, or taken from beside its kernel or its
manifest, is made anew.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hostbuild import debs
from hostbuild.errors import HostbuildError
from hostbuild.formats.manifest import kernel_path, manifest_path, read_manifest
from hostbuild.fs.files import write_file
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.kept import key_of
from hostbuild.ui import Reporter, Silent


def make_image(
    image: Path, options: ImageOptions, report: Reporter | None = None, *, again: bool = False
) -> tuple[BuiltImage, bool]:
    """Make an image as build_image does, unless it lies there, made of the same; tell whether that was so.

    Its time is set to now either way. again: make it, whatever lies there.
    """
    report = report or Silent()
    image = image.resolve()
    kernel = options.require_kernel(report)
    key = key_of(options, kernel)
    if not again and _lies_there(image, key):
        with suppress(HostbuildError, OSError):
            manifest = read_manifest(image)
            os.utime(image)
            _record(image, key)
            return BuiltImage(image, manifest_path(image), kernel, manifest), True
    built = build_image(image, options, report, kernel=kernel)
    _record(image, key)
    return built, False


def _lies_there(image: Path, key: str) -> bool:
    try:
        return bool(json.loads(_place(image).read_bytes()) == _state(image, key))
    except (OSError, ValueError):
        return False


def _record(image: Path, key: str) -> None:
    with suppress(HostbuildError, OSError):  # without it the image is made again next time, and no more
        place = _place(image)
        place.parent.mkdir(exist_ok=True)
        write_file(place, json.dumps(_state(image, key)).encode(), "what the image was made of")


def _state(image: Path, key: str) -> list[Any]:
    statuses = [path.stat() for path in (image, manifest_path(image), kernel_path(image))]
    return [key, *([s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in statuses)]


def _place(image: Path) -> Path:
    name = hashlib.sha256(os.fsencode(image)).hexdigest()[:32]
    return debs.cache_directory() / "made" / name
