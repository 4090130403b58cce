"""A kernel in a tar archive, or a .deb, which has one inside, as its own build packs it: unpacked once, into the cache.

    make tar-pkg, targz-pkg, tarbz2-pkg, tarxz-pkg, tarzst-pkg      (scripts/package/buildtar)
        boot/vmlinuz-V, config-V; vmlinux-kbuild-V where the build knows no name for it
        lib/modules/V/...
    make bindeb-pkg                                                 (scripts/package/builddeb), Debian's packages
        boot/vmlinuz-V, config-V, lib/modules/V/...
    Arch's packages
        usr/lib/modules/V/vmlinuz, kernel/...

    $XDG_CACHE_HOME/hostbuild/kernel/tarballs/KEY/root/             KEY: of the archive's SHA-256

The archive is somebody else's. Only directories and files are made of it, with names that we have looked at; links come
last, when nothing is written any more, and none leads out (fs/confine.py). The kernel with its debug information
(boot/vmlinux-V, half a gigabyte) and the links to where it was built stay out.
"""

import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hostbuild import debs
from hostbuild.errors import HostbuildError, WorldError
from hostbuild.formats.compress import Compressor, detect
from hostbuild.formats.deb import DebError, place_of_files
from hostbuild.formats.sniff import Kind
from hostbuild.formats.unpack import unpacked
from hostbuild.fs import sealed
from hostbuild.fs.confine import confine
from hostbuild.fs.files import read_error
from hostbuild.fs.scratch import scratch_directory
from hostbuild.fs.stretch import open_stretch
from hostbuild.kernels.bzimage import KernelError
from hostbuild.kernels.directory import images_in
from hostbuild.ui import Advance, Reporter

_KEPT = ("boot/", "lib/modules/", "usr/lib/modules/")
_LEFT_OUT = re.compile(r"boot/vmlinux-(?!kbuild-).*|(usr/)?lib/modules/[^/]+/(build|source)")
_SOURCE = re.compile(r"([^/]+/)?Kconfig")
_MOST_BYTES, _MOST_MEMBERS = 32 << 30, 200_000  # a kernel with all modules unstripped has 6 GB in 10,000
_WITH_KERNEL = (
    "make targz-pkg makes one of a kernel's build",
    "the kernel is in linux-image-VERSION.deb; packages that are split are named by deb:linux-image-VERSION",
)
_MOST_HEADER = 1 << 20  # bytes of a long name, or of pax's attributes: tarfile holds them in memory


def unpacked_tarball(path: Path, kind: Kind, report: Reporter) -> Path:
    """Return the directory that holds an archive's boot/ and lib/modules; unpack it if that was never done.

    kind: PACKAGE for a .deb.
    Raises KernelError for an archive that is damaged, hostile, or has no kernel's files.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as e:
        raise read_error(path, "the kernel's archive", e) from e
    directory = debs.cache_directory() / "kernel/tarballs"
    final = directory / digest[:32]
    found = sealed.find(final)
    if found is not None:
        return found
    directory.mkdir(parents=True, exist_ok=True)
    with scratch_directory(directory) as staging:
        complete = staging / "sealed"
        root = sealed.root_of(complete)
        root.mkdir(parents=True)
        with report.step(f"Unpacking {path.name}", path.stat().st_size) as advance, path.open("rb") as stream:
            _Unpacking(path, root).run(_Plain(_files_of(path, kind, stream), advance))
        if not images_in(root):
            raise KernelError(
                f"{path} is {kind.value} without a kernel (boot/vmlinuz-VERSION, or lib/modules/VERSION/vmlinuz)",
                hint=_WITH_KERNEL[kind is Kind.PACKAGE],
            )
        try:
            confine(root, f"the archive {path}")
        except WorldError as e:
            raise KernelError(str(e)) from e
        return sealed.publish(complete, final)


def _files_of(path: Path, kind: Kind, stream: io.BufferedReader) -> io.BufferedReader:
    if kind is not Kind.PACKAGE:
        return stream

    def read(place: int, length: int) -> bytes:
        stream.seek(place)
        return stream.read(length)

    try:
        return open_stretch(stream, *place_of_files(read, path.stat().st_size))
    except DebError as e:
        raise KernelError(f"cannot unpack {path}: it {e}", hint="is it complete?") from e


class _Plain(io.RawIOBase):
    """An archive without its packing, read from its beginning to its end, and no further than is allowed."""

    def __init__(self, stream: io.BufferedReader, advance: Advance) -> None:
        self._pieces = self._unpacked(stream, advance)
        self._rest = memoryview(b"")
        self._position = 0
        self._limit = _MOST_HEADER
        self._last = b""

    def read(self, count: int = -1) -> bytes:
        """Return the next `count` bytes, fewer at the end. Raises KernelError beyond what is allowed."""
        parts: list[memoryview] = []
        missing = count if count >= 0 else sys.maxsize
        while missing:
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
                if not self._rest:
                    break
            parts.append(self._rest[:missing])
            missing -= len(parts[-1])
            self._rest = self._rest[len(parts[-1]) :]
        self._last = b"".join(parts)
        self._position += len(self._last)
        if self._position > self._limit:
            raise KernelError(f"it is damaged: a header of more than {_MOST_HEADER >> 20} MiB")
        return self._last

    def allow(self, place: int) -> None:
        """Let a header be read at a place, and what lies before it: tarfile holds a header in memory, however long."""
        self._limit = max(place, self._position) + _MOST_HEADER

    def ends_at(self, place: int) -> bool:
        """Return whether a block of NULs, an archive's end, stands at a place that was read last."""
        start = place - (self._position - len(self._last))
        block = self._last[max(start, 0) : start + tarfile.BLOCKSIZE]
        return len(block) == tarfile.BLOCKSIZE and not any(block)

    @staticmethod
    def _unpacked(stream: io.BufferedReader, advance: Advance) -> Iterator[bytes]:
        told = 0
        while head := stream.read(8):
            stream.seek(-len(head), os.SEEK_CUR)
            compressor = detect(head)
            pieces = iter(lambda: stream.read(1 << 20), b"") if compressor is Compressor.NONE else None
            for piece in pieces or unpacked(compressor, stream):
                yield piece
                advance(stream.tell() - told)
                told = stream.tell()


class _RefusalError(KernelError):
    """What the archive does that none of a kernel does."""


class _Unpacking:
    """One archive on its way into a directory."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._links: dict[str, str] = {}
        self._bytes = self._members = 0

    def run(self, stream: _Plain) -> None:
        """Unpack all that is a kernel's. Raises KernelError."""
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                while (member := archive.next()) is not None:
                    stream.allow(archive.offset)
                    self._take(archive, member)
                # tarfile takes a damaged header for the end of the archive
                if not stream.ends_at(archive.offset):
                    raise KernelError("it is damaged or cut short")
        except _RefusalError as e:
            raise KernelError(f"the archive {self._path} {e}: not used", hint=e.hint) from e
        except (tarfile.TarError, ValueError, HostbuildError) as e:
            hint = e.hint if isinstance(e, HostbuildError) else ""
            raise KernelError(f"cannot unpack {self._path}: {e}", hint=hint or "is it complete?") from e
        for name, target in self._links.items():
            place = self._place(name)
            if not os.path.lexists(place):
                place.symlink_to(target)

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._count(member)
        name = self._checked(member.name)
        if _SOURCE.fullmatch(name):
            raise _RefusalError(
                "has the source of a kernel, not a kernel that was built",
                hint="hostbuild kernel build --source builds it; make tarxz-pkg packs what it has built",
            )
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise _RefusalError(f"holds a {_kind(member)}, {name}")
        if not name.startswith(_KEPT) or _LEFT_OUT.match(name):
            return
        if member.isdir():
            self._place(name).mkdir(exist_ok=True)
        elif member.issym():
            self._links[name] = member.linkname
        elif member.islnk():
            self._link(name, self._checked(member.linkname))
        else:
            content = archive.extractfile(member)
            assert content is not None, name
            with self._fresh(name).open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)

    def _count(self, member: tarfile.TarInfo) -> None:
        self._members += 1
        if member.size < 0:
            raise _RefusalError(f"is damaged: {member.name!r} has {member.size} bytes")
        self._bytes += member.size
        if self._members > _MOST_MEMBERS or self._bytes > _MOST_BYTES:
            raise _RefusalError(
                f"has more than {_MOST_MEMBERS} members, or {_MOST_BYTES >> 30} GiB: no kernel has so much"
            )

    def _checked(self, name: str) -> str:
        """Return a name without what says nothing (./). Raises KernelError for one that leads out, or is none."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise _RefusalError(f"names {name!r}, which is outside of it")
        return "/".join(parts)

    def _link(self, name: str, target: str) -> None:
        source = self._root / target
        if not target.startswith(_KEPT) or not source.is_file():
            raise _RefusalError(f"links {name} to {target}, which it does not hold before")
        os.link(source, self._fresh(name))

    def _fresh(self, name: str) -> Path:
        """Return the place of a file that is to be written: a later member of a name replaces the earlier."""
        place = self._place(name)
        if place.is_dir():
            raise _RefusalError(f"has {name} as a directory, and as a file")
        place.unlink(missing_ok=True)
        return place

    def _place(self, name: str) -> Path:
        """Return where a member belongs. Links are made last, so that what is above it are directories."""
        place = self._root / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as e:
            raise _RefusalError(f"has a file above {name}") from e
        return place


def _kind(member: tarfile.TarInfo) -> str:
    if member.isdev() and not member.isfifo():
        return "device"
    return "FIFO" if member.isfifo() else f"member of the unknown kind {member.type!r}"
