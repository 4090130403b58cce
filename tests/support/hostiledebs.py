"""Debian packages made by hand, as dpkg-deb would not make them: deb(5), an ar archive of tar archives."""

import io
import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

CONTROL = b"Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"


@dataclass(frozen=True)
class Entry:
    """A member of the package's tar. type: as tarfile has it. target: of a link."""

    name: str
    type: bytes = tarfile.REGTYPE
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    device: tuple[int, int] = (0, 0)


def tar(entries: Sequence[Entry]) -> bytes:
    """The archive, with the names as they are given."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.mode, info.linkname = entry.type, entry.mode, entry.target
            info.devmajor, info.devminor = entry.device
            info.size = len(entry.content) if entry.type == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(entry.content))
    return stream.getvalue()


def ar(members: Sequence[tuple[str, bytes]], sizes: Sequence[str] = ()) -> bytes:
    """An ar archive. sizes: what the headers say instead of the members' lengths."""
    told = [*sizes, *(str(len(data)) for _, data in members[len(sizes) :])]
    parts = [b"!<arch>\n"]
    for (name, data), size in zip(members, told, strict=True):
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode())
        parts += [data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


def deb(entries: Sequence[Entry] = (), *, data: bytes | None = None, sizes: Sequence[str] = ()) -> bytes:
    """A package that holds the entries, or `data` as its data.tar.xz."""
    control = lzma.compress(tar([Entry("./control", content=CONTROL)]))
    packed = lzma.compress(tar(entries)) if data is None else data
    return ar([("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", packed)], sizes)
