"""What is inside an initramfs image, whoever made it: one or several newc archives, packed or not.

The kernel (init/initramfs.c) takes a file that holds, one after the other and with NULs between them, newc
archives and compressed streams of newc archives: distributions put CPU microcode into a first, plain
archive, and everything else into a second, compressed one.
"""

import io
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hostbuild import newc
from hostbuild.compress import CompressionError, Compressor, decompress, detect
from hostbuild.errors import HostbuildError, InputError


class ImageError(InputError):
    """A file is no image that the kernel would unpack."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One archive of an image.

    offset, packed: where its bytes stand in the image, and how many; several archives of one compressed
    stream have the same. unpacked: the archive's length.
    """

    offset: int
    packed: int
    compressor: Compressor
    unpacked: int
    members: tuple[newc.Member, ...]


def read_image(path: Path) -> list[Segment]:
    """Read an image. Raises ImageError where it cannot be read or holds something else than archives."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ImageError(f"cannot read the image {path}: {e.strerror}") from e
    try:
        segments = list(parse_image(data))
    except HostbuildError as e:
        raise ImageError(f"{path} is no initramfs image, or a damaged one: {e}") from e
    if not segments:
        raise ImageError(f"{path} is no initramfs image: it is empty")
    return segments


def parse_image(data: bytes) -> Iterator[Segment]:
    """Yield the archives of an image in their order."""
    position = _skip_nuls(data, 0)
    while position < len(data):
        compressor = detect(data[position : position + 8])
        if compressor is Compressor.NONE:
            segment = _parse_archive(data, position)
            yield segment
            position = _skip_nuls(data, position + segment.unpacked)
            continue
        plain, rest = decompress(compressor, data[position:])
        end = len(data) - len(rest)
        inside = _skip_nuls(plain, 0)
        if inside == len(plain):
            raise CompressionError(f"the {compressor.value} stream at offset {position} holds nothing")
        while inside < len(plain):
            segment = _parse_archive(plain, inside)
            yield Segment(position, end - position, compressor, segment.unpacked, segment.members)
            inside = _skip_nuls(plain, inside + segment.unpacked)
        position = _skip_nuls(data, end)


def kernel_versions(members: Iterable[newc.Member]) -> list[str]:
    """Give the kernels that the image has modules for, by the directories' names."""
    found = (re.match(r"(?:\./|/)?(?:usr/)?lib/modules/([^/]+)", member.name) for member in members)
    return sorted({match[1] for match in found if match})


def group_of(member: newc.Member) -> str:
    """Tell by its path what a file of somebody's image belongs to."""
    name = member.name.removeprefix("./").removeprefix("/").removeprefix("usr/")
    groups = (
        ("modules", r"lib/modules/.*\.ko(\.\w+)?$"),
        ("indexes", r"lib/modules/"),
        ("firmware", r"lib/firmware/"),
        ("microcode", r"kernel/x86/microcode/"),
        ("daemon", r"(lib|bin)/modaliasd"),
        ("python", r"lib/python3|bin/python3"),
        ("busybox", r"bin/busybox$"),
        ("libraries", r"lib(32|64)?/.*\.so(\.|$)"),
        ("programs", r"(s?bin|lib(exec)?)/"),
    )
    return next((group for group, pattern in groups if re.match(pattern, name)), "other")


def permissions(member: newc.Member) -> str:
    """Render a mode as ls -l does."""
    return stat.filemode(member.mode)


def _parse_archive(data: bytes, start: int) -> Segment:
    stream = io.BytesIO(data)
    stream.seek(start)
    members = tuple(member for member, _ in newc.read(stream, start))
    length = min(stream.tell(), len(data)) - start
    return Segment(start, length, Compressor.NONE, length, members)


def _skip_nuls(data: bytes, position: int) -> int:
    match = re.compile(rb"\0*").match(data, position)
    assert match is not None, "the pattern matches the empty string"
    return match.end()
