"""kmod's binary index, as modules.dep.bin is one: keys and their values in a radix tree.

    magic 0xB007F457, version 0x00020001, offset of the root        32 bits each, most significant byte first
    a node      [prefix NUL] [first last offset...] [count (priority value NUL)...]

A node's offset has flags in its upper four bits, which say what the node consists of. Children stand before their
parents, one offset for each character from `first` to `last`, 0 where there is no child.
Source: kmod's tools/depmod.c (index_write) and libkmod/libkmod-index.c.
"""

import struct
from collections.abc import Iterator, Mapping

from hostbuild.errors import HostbuildError

_MAGIC, _VERSION = 0xB007F457, 0x00020001
_PREFIX, _VALUES, _CHILDREN, _UNUSED = 0x80000000, 0x40000000, 0x20000000, 0x10000000


class IndexFileError(HostbuildError):
    """A file is not kmod's index, or damaged."""


def read(data: bytes) -> list[tuple[str, str]]:
    """Give the keys of an index with their values, by key, the values of one in their order.

    Raises IndexFileError for what is none.
    """
    try:
        magic, version, root = struct.unpack_from(">III", data)
        if magic != _MAGIC or version >> 16 != _VERSION >> 16:
            raise IndexFileError("it is not an index of kmod's, or one of another version")
        return sorted(_entries(data, root), key=lambda entry: entry[0])
    except (struct.error, IndexError, ValueError) as e:
        raise IndexFileError(f"it is damaged: {e}") from e


def _entries(data: bytes, root: int) -> Iterator[tuple[str, str]]:
    waiting = [(root, b"")]
    left = len(data)  # nodes: each takes a byte at least, so more of them are a circle
    while waiting:
        left -= 1
        if left < 0:
            raise ValueError("its nodes lead in a circle")
        offset, key = waiting.pop()
        at = offset & ~(_PREFIX | _VALUES | _CHILDREN | _UNUSED)
        if not at:
            continue
        if offset & _PREFIX:
            end = data.index(b"\0", at)
            key += data[at:end]
            at = end + 1
        if offset & _CHILDREN:
            first, last = data[at], data[at + 1]
            at += 2
            for byte in range(first, last + 1):
                (child,) = struct.unpack_from(">I", data, at)
                waiting.append((child, key + bytes([byte])))
                at += 4
        if offset & _VALUES:
            (count,) = struct.unpack_from(">I", data, at)
            at += 4
            for _ in range(count):
                end = data.index(b"\0", at + 4)
                yield _text(key), _text(data[at + 4 : end])
                at = end + 1


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def build(entries: Mapping[str, str]) -> bytes:
    """Write an index of one value for each key; the priorities are the places in the order given, from 0.

    Raises ValueError for a key that is not ASCII, or holds NUL.
    """
    keys = [(key.encode("ascii"), (place, value)) for place, (key, value) in enumerate(entries.items())]
    if any(b"\0" in key for key, _ in keys):
        raise ValueError("a key holds NUL")
    out = bytearray(struct.pack(">III", _MAGIC, _VERSION, 0))
    root = _node(out, sorted(keys), 0, root=True)
    struct.pack_into(">I", out, 8, root)
    return bytes(out)


def _node(
    out: bytearray, keys: list[tuple[bytes, tuple[int, str]]], depth: int, *, root: bool = False
) -> int:
    """Append the node of `keys`, which agree in their first `depth` bytes, and all below it; give its offset.

    The root has no prefix.
    """
    first, last = (keys[0][0], keys[-1][0]) if keys else (b"", b"")
    end = depth
    while not root and end < min(len(first), len(last)) and first[end] == last[end]:
        end += 1
    prefix = first[depth:end]
    values = [value for key, value in keys if len(key) == end]
    below: dict[int, list[tuple[bytes, tuple[int, str]]]] = {}
    for key in keys:
        if len(key[0]) > end:
            below.setdefault(key[0][end], []).append(key)
    children = {byte: _node(out, some, end + 1) for byte, some in below.items()}
    offset = len(out)
    if prefix:
        offset |= _PREFIX
        out += prefix + b"\0"
    if children:
        offset |= _CHILDREN
        out += bytes((min(children), max(children)))
        for byte in range(min(children), max(children) + 1):
            out += struct.pack(">I", children.get(byte, 0))
    if values:
        offset |= _VALUES
        out += struct.pack(">I", len(values))
        for priority, value in values:
            out += struct.pack(">I", priority) + value.encode("utf-8", "surrogateescape") + b"\0"
    return offset
