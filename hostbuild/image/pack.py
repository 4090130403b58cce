"""Writes an image, its manifest and its kernel: a FileTree as a compressed newc archive, and what travels with it.

The files appear under their names when they are complete. The same tree gives the same bytes: paths are
sorted, times are SOURCE_DATE_EPOCH or 0, inodes are counted from 1.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hostbuild.errors import InputError, UsageError, WorldError
from hostbuild.formats import newc
from hostbuild.formats.compress import Compressor, sink
from hostbuild.formats.manifest import dump, kernel_path, manifest_path
from hostbuild.image.tree import Entry, FileTree, Kind
from hostbuild.ui import Reporter


def check_writable(image: Path) -> None:
    """Refuse before the work what would fail after it."""
    parent = image.parent
    if image.exists() and not image.is_file():
        what = "a directory" if image.is_dir() else "no regular file"
        raise UsageError(f"cannot write the image {image}: it is {what}")
    if not parent.is_dir():
        raise UsageError(
            f"cannot write the image {image}: there is no directory {parent}", hint=f"mkdir -p {parent}"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the image {image}: no permission to write in {parent}")


def pack(
    image: Path,
    tree: FileTree,
    compressor: Compressor,
    manifest: dict[str, Any],
    vmlinuz: Path,
    report: Reporter,
) -> None:
    """Write `tree` as `image`; beside it the manifest, the image's own figures filled in, and a copy of the kernel.

    image: an absolute path without symlinks. On error none of the files has changed.
    """
    temporaries: list[Path] = []
    try:
        with _beside(image) as out, report.step("Packing", sum(map(Entry.size, tree.values()))) as advance:
            temporaries.append(Path(out.name))
            digest = hashlib.sha256()
            size = 0
            packer = sink(compressor)

            def put(data: bytes) -> None:
                nonlocal size
                digest.update(data)
                size += len(data)
                out.write(data)

            archive = newc.Writer(lambda data: put(packer.compress(data)))
            for member, data in _members(tree):
                archive.add(member, data)
                advance(len(data))
            archive.close()
            put(packer.flush())
        manifest["image"] = {
            "file": image.name,
            "compressor": compressor.value,
            "size": size,
            "unpacked": archive.written,
            "sha256": digest.hexdigest(),
        }
        with _beside(image) as out:
            temporaries.append(Path(out.name))
            out.write(dump(manifest))
        with _beside(image) as out:
            temporaries.append(Path(out.name))
            out.write(_read_kernel(vmlinuz, manifest["kernel"]["sha256"]))
        temporaries[2].replace(kernel_path(image))
        temporaries[1].replace(manifest_path(image))
        temporaries[0].replace(image)
    except OSError as e:
        where = f" ({e.filename})" if e.filename else ""
        raise WorldError(f"cannot write the image {image}: {e.strerror or e}{where}") from e
    finally:
        for path in temporaries:
            path.unlink(missing_ok=True)


def _read_kernel(vmlinuz: Path, sha256: str) -> bytes:
    data = vmlinuz.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"the kernel {vmlinuz} has changed while the image was built", hint="build it again")
    return data


def _beside(image: Path) -> IO[bytes]:
    """Open a temporary file in the directory of `image`, for a rename that cannot fail half-way."""
    out = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the caller closes it
        dir=image.parent, prefix=f".{image.name}.", delete=False
    )
    os.fchmod(out.fileno(), 0o644)
    return out


def _members(tree: FileTree) -> Iterator[tuple[newc.Member, bytes]]:
    """Yield what the archive holds. All names of a hard link share an inode; the last one has the data."""
    mtime = _source_date_epoch()
    names: dict[Entry, int] = {}
    for entry in tree.values():
        names[entry] = names.get(entry, 0) + 1
    left = dict(names)
    inodes: dict[Entry, int] = {}
    for path, entry in tree.items():
        inode = inodes.setdefault(entry, len(inodes) + 1)
        left[entry] -= 1
        data = entry.read() if left[entry] == 0 else b""
        links = names[entry] if entry.kind is not Kind.DIRECTORY else 2
        yield newc.Member(path, entry.mode, ino=inode, nlink=links, mtime=mtime, device=entry.device), data


def _source_date_epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    with suppress(ValueError):
        if 0 <= int(text) <= 0xFFFFFFFF:
            return int(text)
    raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}, not whole seconds since 1970")
