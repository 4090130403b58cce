"""Writes an image and its manifest: a FileTree as a compressed newc archive.

Both files appear under their names when they are complete. The same tree gives the same bytes: paths are
sorted, times are SOURCE_DATE_EPOCH or 0, inodes are counted from 1.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hostbuild.errors import UsageError
from hostbuild.files import check_output, replace_file
from hostbuild.formats import newc
from hostbuild.formats.compress import Compressor, sink
from hostbuild.formats.manifest import dump, manifest_path
from hostbuild.image.tree import Entry, FileTree, Kind
from hostbuild.ui import Reporter


def check_writable(image: Path) -> None:
    """Refuse before the work what would fail after it."""
    if image.exists() and not image.is_file() and not image.is_dir():
        raise UsageError(f"cannot write the image {image}: it is no regular file")
    check_output(image, "the image")
    check_output(manifest_path(image), "the image's manifest")


def pack(
    image: Path, tree: FileTree, compressor: Compressor, manifest: dict[str, Any], report: Reporter
) -> None:
    """Write `tree` as `image`, and the manifest beside it with the image's own figures filled in.

    On error neither file has changed.
    """
    with replace_file(image, "the image") as out:
        with report.step("Packing", sum(map(Entry.size, tree.values()))) as advance:
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
        out.finish()  # the manifest changes only when nothing but a rename is left to be done here
        with replace_file(manifest_path(image), "the image's manifest") as beside:
            beside.write(dump(manifest))


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
