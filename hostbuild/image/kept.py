"""Images that are built once: kept in hostbuild's cache under a key of all that goes into them.

    $XDG_CACHE_HOME/hostbuild/images/KEY/     the image, its manifest and its kernel, sealed (fs/sealed.py)
    $XDG_CACHE_HOME/hostbuild/images/KEY.lock held by the process that builds it, so that others wait for it

The key is a digest of the options, the kernel, the contents of overlays, hostbuild's and the daemon's own sources, what
apt's lists say, and the host's programs that have a part in it. Images that nobody has used for two weeks are removed.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.errors import InputError
from hostbuild.fs import sealed
from hostbuild.fs.locked import locked
from hostbuild.fs.scratch import scratch_directory
from hostbuild.image import microcode
from hostbuild.image.behind import digest_of
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.modules.firmware import SYSTEM_FIRMWARE
from hostbuild.image.sources import overlay
from hostbuild.kernels.kernel import Kernel
from hostbuild.run import find_program
from hostbuild.ui import Reporter, Silent

_NAME = "guest.img"
_TOOLS = ("depmod", "mksquashfs")  # what else decides about an image's bytes
_KEEP_S = 14 * 86400
RECORD = ".json"  # of what a build tree was like (from_tree.py)


def require_image(
    options: ImageOptions, report: Reporter | None = None, *, kernel: Kernel | None = None
) -> Path:
    """Return an image of these options, built now if there is none yet. Raises as build_image does.

    kernel: the one that the options name, if the caller has found it already.
    """
    report = report or Silent()
    kernel = kernel or options.require_kernel(report)
    directory = images_directory()
    key = key_of(options, kernel)
    final = directory / key
    with locked(directory / f"{key}.lock"):
        found = sealed.find(final)
        if found is None:
            found = _build(directory, final, options, report, kernel)
            _remove_old(directory, time.time() - _KEEP_S)
        os.utime(final)
    return found / _NAME


def find_image(key: str) -> Path | None:
    """Return the image that is kept under a key, None if there is none any more."""
    final = images_directory() / key
    found = sealed.find(final)
    if found is None:
        return None
    os.utime(final)
    return found / _NAME


def forget(key: str, unused_s: float = 3600.0) -> None:
    """Remove an image that another takes the place of, unless somebody has asked for it lately, and may boot it."""
    final = images_directory() / key
    with suppress(OSError):
        if final.stat().st_mtime < time.time() - unused_s:
            shutil.rmtree(final)
            final.with_name(f"{key}.lock").unlink()


def images_directory() -> Path:
    """Return the directory of the images, made on first use."""
    directory = debs.cache_directory() / "images"
    directory.mkdir(exist_ok=True)
    return directory


def key_of(options: ImageOptions, kernel: Kernel) -> str:
    """Return a digest of everything that an image of these options is made of. Raises InputError."""
    for directory in options.firmware_dirs:
        if not directory.is_dir():
            raise InputError(f"the firmware directory {directory} is not a directory")
    laid = [overlay.read_own(), *map(overlay.read_overlay, options.overlays)]
    plain = replace(options, kernel=None, modules_dir=None, overlays=(), firmware_dirs=(), behind=())
    package = kernel.package
    facts = {
        "options": repr(plain),
        "kernel": [kernel.version, kernel.sha256, package.sha256 if package else _stamps(kernel.modules)],
        "release": package.lists.release
        if package
        else "",  # the manifest says where the package is had from
        "overlays": [one.sha256() for one in laid],
        "firmware": [_stamps(one) for one in (*options.firmware_dirs, SYSTEM_FIRMWARE)],
        "sources": [_sources(name) for name in ("hostbuild", "modaliasd", "micronetd", "microagent")],
        "packages": _lists_key(options, kernel),
        "tools": [_stamp(program) for program in map(find_program, _TOOLS)],
        "interpreter": _interpreter_key(options),
        "microcode": _microcode_key(options.microcode),
        "behind": [[path.name, digest_of(path)] for path in options.behind],
        "epoch": os.environ.get("SOURCE_DATE_EPOCH", ""),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _lists_key(options: ImageOptions, kernel: Kernel) -> str:
    """Give a text that changes with the lists of the packages; another architecture's Python is compiled by ours."""
    lists = options.lists(kernel)
    both = [lists, replace(lists, architecture="")] if lists.architecture else [lists]
    return " ".join(map(debs.lists_key, both))


def _interpreter_key(options: ImageOptions) -> list[str]:
    """Give texts that change with an interpreter of our own: its source, and what compiles it; [] for Debian's."""
    own = options.own
    if own is None:
        return []
    from hostbuild.pybuild.source import digest_of as source_digest
    from hostbuild.pybuild.toolchain import fingerprint, loading_fingerprint
    from hostbuild.pybuild.training import texts  # all of the building: without it, nobody waits for it

    source = (
        debs.lists_key(Lists(options.release, sources=True))
        if own.tarball is None
        else source_digest(own.tarball)
    )
    return [source, fingerprint(), loading_fingerprint(), *texts()]


def _microcode_key(words: Sequence[str]) -> list[str]:
    """Give texts that change with the microcode: of files with their stamps, of packages with apt's lists."""
    paths = [path for word in words for path in microcode.files_of(word)]
    own = [debs.lists_key(OWN)] if len(paths) < len(words) else []
    return [*own, *(_stamps(path) if path.is_dir() else digest_of(path) for path in paths)]


def _build(directory: Path, final: Path, options: ImageOptions, report: Reporter, kernel: Kernel) -> Path:
    with scratch_directory(directory) as staging:
        complete = staging / "sealed"
        root = sealed.root_of(complete)
        root.mkdir(parents=True)
        build_image(root / _NAME, options, report, kernel=kernel)
        return sealed.publish(complete, final)


def _remove_old(directory: Path, before: float) -> None:
    for path in directory.iterdir():
        with suppress(OSError):
            if path.name.startswith(".") or path.stat().st_mtime >= before:
                continue
            if path.suffix == RECORD:
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)
                path.with_name(f"{path.name}.lock").unlink()


def _sources(package: str) -> str:
    """Return a digest of a package's Python files as they lie where it is imported from."""
    spec = find_spec(package)
    digest = hashlib.sha256()
    for place in spec.submodule_search_locations or () if spec else ():
        for path in sorted(_python_files(place)):
            with open(path, "rb") as stream:
                digest.update(os.fsencode(f"{path[len(place) + 1 :]}\0") + stream.read())
    return digest.hexdigest()


def _python_files(root: str) -> Iterator[str]:
    for parent, _, names in os.walk(root):
        yield from (f"{parent}/{name}" for name in names if name.endswith(".py"))


def _stamp(program: str | None) -> list[int] | None:
    """Return size and time of a program's file; None where it is not installed."""
    try:
        status = os.stat(program or "")
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _stamps(root: Path | None) -> str:
    """Return a digest of the names, sizes and times of the files of a directory, which are too many to be read."""
    digest = hashlib.sha256()
    for parent, directories, names in os.walk(root or "/nonexistent"):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            with suppress(OSError):
                status = os.stat(path)
                digest.update(
                    f"{path}\0{status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
                )
    return digest.hexdigest()
