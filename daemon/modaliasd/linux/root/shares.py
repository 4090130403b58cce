"""Directories that a virtual machine's host shares: their tags, as far as the kernel tells them."""

from __future__ import annotations

import posix

from modaliasd.linux.root.blockdev import read_text


def tags(root: str = "") -> list[tuple[str, str]]:
    """Return (file system, tag) of what is there; tag "" for a virtiofs whose kernel (before 6.9) does not say it."""
    drivers = f"{root}/sys/bus/virtio/drivers"
    found = [
        ("9p", read_text(f"{drivers}/9pnet_virtio/{name}/mount_tag").strip("\0\n"))
        for name in _names(f"{drivers}/9pnet_virtio")
        if name.startswith("virtio")
    ]
    named = [
        read_text(f"{root}/sys/fs/virtiofs/{name}/tag").strip() for name in _names(f"{root}/sys/fs/virtiofs")
    ]
    if named:
        return found + [("virtiofs", tag) for tag in named]
    return found + [("virtiofs", "") for name in _names(f"{drivers}/virtiofs") if name.startswith("virtio")]


def _names(directory: str) -> list[str]:
    try:
        return sorted(posix.listdir(directory))
    except OSError:
        return []
