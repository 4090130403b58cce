"""What is inside an initramfs image, whoever made it: one or several newc archives, packed or not.

The kernel (init/initramfs.c) takes a file that holds, one after the other and with NULs between them, newc
archives and compressed streams of newc archives: distributions put CPU microcode into a first, plain
archive, and everything else into a second, compressed one.
"""

import io
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hostbuild.errors import HostbuildError, InputError
from hostbuild.formats import newc, sniff
from hostbuild.formats.compress import CompressionError, Compressor, decompress, detect
from hostbuild.formats.sniff import Kind
from hostbuild.fs.files import read_input


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
    segments = [segment for segment, _ in _read(path, lambda _: False)]
    if not segments:
        raise ImageError(f"{path} is not an initramfs image: it is empty")
    return segments


def read_files(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Read the regular files whose path in the image is `wanted`, as the kernel unpacks them: the last one counts.

    Paths are without a leading `/` or `./`. Raises ImageError.
    """
    files: dict[str, bytes] = {}
    for _, kept in _read(path, wanted):
        files |= kept
    return files


def _read(path: Path, wanted: Callable[[str], bool]) -> list[tuple[Segment, dict[str, bytes]]]:
    sniff.require_there(path, "image")
    if path.is_dir():
        raise ImageError(f"{path} is a directory, not an initramfs image")
    data = read_input(path, "the image")
    try:
        return list(_parse(data, wanted))
    except HostbuildError as e:
        if other := sniff.instead(path, Kind.IMAGE, Kind.PACKED, Kind.TEXT):
            raise ImageError(other, hint=sniff.use_of(path)) from e
        raise ImageError(f"{path} is not an initramfs image, or a damaged one: {e}") from e


def parse_image(data: bytes) -> Iterator[Segment]:
    """Yield the archives of an image in their order."""
    for segment, _ in _parse(data, lambda _: False):
        yield segment


def _parse(data: bytes, wanted: Callable[[str], bool]) -> Iterator[tuple[Segment, dict[str, bytes]]]:
    position = _skip_nuls(data, 0)
    while position < len(data):
        compressor = detect(data[position : position + 8])
        if compressor is Compressor.NONE:
            segment, files = _parse_archive(data, position, wanted)
            yield segment, files
            position = _skip_nuls(data, position + segment.unpacked)
            continue
        plain, rest = decompress(compressor, data[position:])
        end = len(data) - len(rest)
        inside = _skip_nuls(plain, 0)
        if inside == len(plain):
            raise CompressionError(f"the {compressor.value} stream at offset {position} holds nothing")
        while inside < len(plain):
            segment, files = _parse_archive(plain, inside, wanted)
            yield Segment(position, end - position, compressor, segment.unpacked, segment.members), files
            inside = _skip_nuls(plain, inside + segment.unpacked)
        position = _skip_nuls(data, end)


def kernel_versions(members: Iterable[newc.Member]) -> list[str]:
    """Return the kernels that the image has modules for, by the directories' names."""
    pattern = re.compile(r"(?:\./|/)?(?:usr/)?lib/modules/([^/]+?)(?:\.squashfs)?(?:/|$)")
    found = (pattern.match(member.name) for member in members)
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


def _parse_archive(
    data: bytes, start: int, wanted: Callable[[str], bool]
) -> tuple[Segment, dict[str, bytes]]:
    stream = io.BytesIO(data)
    stream.seek(start)
    members = []
    files = {}
    for member, content in newc.read(stream, start):
        members.append(member)
        name = member.name.removeprefix(".").lstrip("/")
        if stat.S_ISREG(member.mode) and wanted(name):
            files[name] = content
    length = min(stream.tell(), len(data)) - start
    return Segment(start, length, Compressor.NONE, length, tuple(members)), files


def _skip_nuls(data: bytes, position: int) -> int:
    match = re.compile(rb"\0*").match(data, position)
    assert match is not None, "the pattern matches the empty string"
    return match.end()
