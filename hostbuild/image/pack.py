"""Writes an image, its manifest and its kernel: a FileTree as a compressed newc archive, and what travels with it.

The files appear under their names when they are complete. The same tree gives the same bytes: paths are
sorted, times are SOURCE_DATE_EPOCH or 0, inodes are counted from 1.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hostbuild.epoch import source_date_epoch
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.compress import Packing, sink
from hostbuild.formats.initramfs import newc
from hostbuild.formats.initramfs.segments import padding_between
from hostbuild.formats.manifest import dump, kernel_path, manifest_path
from hostbuild.fs.files import check_output, read_input, replace_file
from hostbuild.image.behind import Behind
from hostbuild.image.filetree import FileTree, NodeKind, TreeEntry
from hostbuild.ui import Reporter

_EARLY_ALIGNED = 16  # where a CPU takes microcode from (Intel's manual, volume 3, "Microcode Update")


def check_writable(image: Path) -> None:
    """Refuse before the work what would fail after it."""
    if image.exists() and not image.is_file() and not image.is_dir():
        raise UsageError(f"cannot write the image {image}: it is not a regular file")
    check_output(image, "the image")
    check_output(manifest_path(image), "the image's manifest")
    check_output(kernel_path(image), "the image's kernel")


def pack(
    image: Path,
    tree: FileTree,
    packing: Packing,
    manifest: dict[str, Any],
    vmlinuz: Path,
    report: Reporter,
    *,
    front: FileTree | None = None,
    behind: Sequence[Behind] = (),
) -> None:
    """Write `tree` as `image`; beside it the manifest, the image's own figures filled in, and a copy of the kernel.

    front: goes before it as a plain archive, its files' data at multiples of 16. behind: images that follow. On error
    none of the files has changed.
    """
    with replace_file(image, "the image") as out:
        total = sum(map(TreeEntry.size, tree.values()))
        with report.step("Packing", total) as advance:
            digest = hashlib.sha256()
            size = 0
            packer = sink(packing, total)

            def put(data: bytes) -> None:
                nonlocal size
                if not data:  # a compressor that waits for more
                    return
                digest.update(data)
                size += len(data)
                out.write(data)

            early = newc.Writer(put)
            for member, data in members(front or FileTree()):
                early.add(member, data, aligned=_EARLY_ALIGNED)
            if early.written:
                early.close()
            archive = newc.Writer(lambda data: put(packer.compress(data)))
            for member, data in members(tree):
                archive.add(member, data)
                advance(len(data))
            archive.close()
            put(packer.flush())
            last = packing.compressor
            for one in behind:
                put(bytes(padding_between(size, last)))
                for piece in one.pieces():
                    put(piece)
                last = one.last
        manifest["image"] = {
            "file": image.name,
            "compressor": packing.compressor.value,
            "size": size,
            "unpacked": early.written + archive.written + sum(one.unpacked for one in behind),
            "window": packing.window(total),
            "sha256": digest.hexdigest(),
            **({"appended": [one.row() for one in behind]} if behind else {}),
        }
        out.finish()  # the others change only when nothing but a rename is left to be done here
        with replace_file(kernel_path(image), "the image's kernel") as beside:
            beside.write(_read_kernel(vmlinuz, manifest["kernel"]["sha256"]))
            beside.finish()
            with replace_file(manifest_path(image), "the image's manifest") as told:
                told.write(dump(manifest))


def _read_kernel(vmlinuz: Path, sha256: str) -> bytes:
    data = read_input(vmlinuz, "the kernel")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"the kernel {vmlinuz} has changed while the image was built", hint="build it again")
    return data


def members(tree: FileTree) -> Iterator[tuple[newc.Member, bytes]]:
    """Yield what the archive holds. All names of a hard link share an inode; the last one has the data."""
    mtime = source_date_epoch()
    names: dict[TreeEntry, int] = {}
    for entry in tree.values():
        names[entry] = names.get(entry, 0) + 1
    left = dict(names)
    inodes: dict[TreeEntry, int] = {}
    for path, entry in tree.items():
        inode = inodes.setdefault(entry, len(inodes) + 1)
        left[entry] -= 1
        data = entry.read() if left[entry] == 0 else b""
        links = names[entry] if entry.kind is not NodeKind.DIRECTORY else 2
        yield newc.Member(path, entry.mode, ino=inode, nlink=links, mtime=mtime, device=entry.device), data
