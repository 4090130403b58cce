"""What is inside an initramfs image, whoever made it: its archives, and the root file system that they become.

Reading takes two passes. The first builds the tree, without a byte of the files: which member has a file's data shows
only at the end, since hard links, links and later members of the same name decide it. The second takes the data of the
files that are wanted.
"""

import io
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hostbuild.errors import InputError
from hostbuild.formats import sniff
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs import newc, segments
from hostbuild.formats.initramfs.rootfs import Root
from hostbuild.formats.initramfs.segments import Part, UnpackingError
from hostbuild.formats.microcode import DIRECTORY
from hostbuild.formats.sniff import Kind
from hostbuild.fs.files import read_error, read_input

MEMBERS_MAX = 500_000  # five times the largest module trees; some 750 bytes of memory each
CONTENTS_MAX = 1 << 30  # bytes of files that are read into memory


class ImageError(InputError):
    """A file is not an image that the kernel would unpack."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One archive of an image.

    offset, packed: where its bytes stand in the image, and how many; several archives of one compressed
    stream have the same. unpacked: the archive's length. members: without the trailer.
    """

    offset: int
    packed: int
    compressor: Compressor
    unpacked: int
    members: tuple[newc.Member, ...]


@dataclass(slots=True)
class Image:
    """An image as the kernel sees it.

    root: what unpacking it makes. bootconfig: bytes of it at the file's end, its frame included, 0 without one.
    passed_over: members that come to nothing, which the kernel does not tell: (name, why).
    untrailed: offsets of archives that end without a trailer. trouble: where the kernel stops, and nothing after it
    is read; None where it comes to the end.
    """

    path: Path
    size: int
    segments: list[Segment] = field(default_factory=list)
    root: Root = field(default_factory=Root)
    bootconfig: int = 0
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    untrailed: list[int] = field(default_factory=list)
    trouble: UnpackingError | None = None

    def require_whole(self) -> "Image":
        """Raise ImageError for an image that a kernel does not unpack to its end."""
        if self.trouble is not None:
            raise self._error(self.trouble)
        if not self.segments:
            raise ImageError(f"{self.path} is not an initramfs image: it is empty")
        return self

    def microcode(self, segment: Segment) -> tuple[list[str], bool]:
        """Return the paths of CPU microcode in an archive, and whether it stands where a kernel looks for it.

        That is in the plain archives from the image's first byte on (lib/earlycpio.c, find_cpio_data).
        """
        found = [
            member.name
            for member in segment.members
            if member.name.startswith(f"{DIRECTORY}/") and stat.S_ISREG(member.mode)
        ]
        before = self.segments[: self.segments.index(segment) + 1]
        return found, all(one.compressor is Compressor.NONE for one in before)

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read the files at these paths in the root file system, through links; what is no file is left out.

        A link to /dev/null is an empty file. Raises ImageError.
        """
        nodes = {path: self.root.find(path) for path in paths}
        files = {path: node for path, node in nodes.items() if node is not None and stat.S_ISREG(node.mode)}
        size = sum({id(node): node.size for node in files.values()}.values())
        if size > CONTENTS_MAX:
            raise ImageError(
                f"the files that are needed from {self.path} have {size >> 20} MiB, more than the "
                f"{CONTENTS_MAX >> 20} that are read into memory"
            )
        sources = {node.source for node in files.values() if node.source is not None}
        data = self._data(sources) if sources else {}
        contents = {
            path: data[node.source] if node.source is not None else b"" for path, node in files.items()
        }
        return contents | {path: b"" for path in nodes if path not in files and self.root.is_null(path)}

    def lay(self, root: Root, first: int) -> None:
        """Unpack the image over what `root` holds already; its members' numbers begin at `first`. Raises ImageError."""
        with _opened(self.path) as (file, size):
            try:
                for number, (_, member, _) in enumerate(segments.members(file, size - self.bootconfig)):
                    root.unpack(member, first + number)
            except UnpackingError as e:
                raise self._error(e) from e

    def bodies(self) -> Iterator[tuple[int, Part, newc.Member, newc.Body]]:
        """Give all members with their numbers, the parts of the image that they stand in, and their data, once each.

        Raises ImageError.
        """
        with _opened(self.path) as (file, size):
            try:
                for number, (part, member, body) in enumerate(segments.members(file, size - self.bootconfig)):
                    yield number, part, member, body
            except UnpackingError as e:
                raise self._error(e) from e

    def members_data(self, numbers: set[int]) -> dict[int, bytes]:
        """Read the data of members by their numbers, the first of which is 0. Raises ImageError."""
        return self._data(numbers) if numbers else {}

    def _data(self, sources: set[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        with _opened(self.path) as (file, size):
            try:
                for number, (_, _, body) in enumerate(segments.members(file, size - self.bootconfig)):
                    if number in sources:
                        found[number] = b"".join(body)
                        if len(found) == len(sources):
                            break
            except UnpackingError as e:
                raise self._error(e) from e
        if len(found) < len(sources):
            raise ImageError(f"{self.path} has changed while it was read")
        return found

    def _error(self, trouble: UnpackingError) -> ImageError:
        if not self.segments and (other := sniff.instead(self.path, Kind.IMAGE, Kind.PACKED, Kind.TEXT)):
            return ImageError(other, hint=sniff.use_of(self.path))
        kernel = f"; the kernel says: {trouble.said}" if trouble.said else ""
        what = (
            "is damaged, or more than a kernel unpacks"
            if self.segments
            else "is not an initramfs image, or a damaged one"
        )
        return ImageError(f"{self.path} {what}: {trouble}{kernel}", hint=trouble.hint)


def read_image(path: Path) -> list[Segment]:
    """Read an image's archives. Raises ImageError where a kernel would not unpack all of it, or it is empty."""
    return open_image(path).require_whole().segments


def open_image(path: Path) -> Image:
    """Read an image as far as a kernel comes. Raises ImageError for a file that cannot be read."""
    sniff.require_there(path, "image")
    if path.is_dir():
        raise ImageError(f"{path} is a directory, not an initramfs image")
    with _opened(path) as (file, size):
        try:
            return _read(path, file, size)
        except OSError as e:
            raise read_error(path, "the image", e) from e


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    if not path.is_file():  # a pipe, which cannot be read twice
        data = read_input(path, "the image")
        yield io.BytesIO(data), len(data)
        return
    try:
        file = path.open("rb")
    except OSError as e:
        raise read_error(path, "the image", e) from e
    with file:
        yield file, file.seek(0, io.SEEK_END)


def _read(path: Path, file: BinaryIO, size: int) -> Image:
    end = segments.find_bootconfig(file, size)
    image = Image(path, size, bootconfig=size - end)
    archives: list[_Archive] = []
    try:
        for number, (part, member, body) in enumerate(segments.members(file, end)):
            _require_few(number, part)
            if not archives or archives[-1].ended or archives[-1].part is not part:
                archives.append(_Archive(part, member.offset))
            archives[-1].add(member, body.end)
            if why := image.root.unpack(member, number):
                image.passed_over.append((member.name, why))
    except UnpackingError as e:
        image.trouble = e
    image.segments = [archive.segment(end) for archive in archives]
    image.untrailed = [archive.part.offset for archive in archives if not archive.ended]
    return image


def _require_few(count: int, part: Part) -> None:
    if count >= MEMBERS_MAX:
        raise UnpackingError(
            f"the image has more than {MEMBERS_MAX} members, at which hostbuild stops", offset=part.offset
        )


class _Archive:
    """An archive that is being read."""

    def __init__(self, part: Part, start: int) -> None:
        self.part = part
        self.ended = False
        self._start = self._end = start
        self._members: list[newc.Member] = []

    def add(self, member: newc.Member, end: int) -> None:
        self._end = end
        self.ended = member.is_trailer
        if not self.ended:
            self._members.append(member)

    def segment(self, size: int) -> Segment:
        unpacked = self._end - self._start
        if self.part.compressor is not Compressor.NONE:
            return Segment(
                self.part.offset, self.part.packed, self.part.compressor, unpacked, tuple(self._members)
            )
        length = min(unpacked, size - self._start)
        return Segment(self._start, length, Compressor.NONE, length, tuple(self._members))


def versions_in(paths: Iterable[str]) -> list[str]:
    """Give the kernels that these paths have modules for, by the directories' names."""
    pattern = re.compile(r"(?:\./|/)?(?:usr/)?lib/modules/([^/]+?)(?:\.squashfs)?(?:/|$)")
    return sorted({match[1] for match in map(pattern.match, paths) if match})


def group_of(path: str) -> str:
    """Tell by its path what a file of somebody's image belongs to."""
    name = path.removeprefix("./").removeprefix("/").removeprefix("usr/")
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
