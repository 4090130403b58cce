"""What an ELF file says about itself: the libraries it needs, its loader, and a kernel module's .modinfo.

Pure: files come in as streams, and libraries are found by a function that the caller brings.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from elftools.common.exceptions import ELFError as _ForeignElfError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from hostbuild.errors import HostbuildError

MAGIC = b"\x7fELF"


class ElfError(HostbuildError):
    """A file is not ELF, or damaged, or needs a library that nobody has."""


def needed(stream: BinaryIO) -> tuple[str, ...]:
    """Return the sonames in DT_NEEDED, in their order; none for a static program."""
    try:
        for section in ELFFile(stream).iter_sections():
            if isinstance(section, DynamicSection):
                return tuple(str(tag.needed) for tag in section.iter_tags("DT_NEEDED"))  # type: ignore[attr-defined]
    except FOREIGN as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return ()


def run_path(stream: BinaryIO) -> tuple[str, ...]:
    """Return the directories of DT_RUNPATH, or else of DT_RPATH, in which libraries are looked for first."""
    try:
        for section in ELFFile(stream).iter_sections():
            if isinstance(section, DynamicSection):
                for tag, name in (("DT_RUNPATH", "runpath"), ("DT_RPATH", "rpath")):
                    found = [str(getattr(one, name)) for one in section.iter_tags(tag)]
                    if found:
                        return tuple(part for text in found for part in text.split(":") if part)
    except FOREIGN as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return ()


def interpreter(stream: BinaryIO) -> str | None:
    """Return the path of the program's dynamic loader, or None for a static program and a library."""
    try:
        for segment in ELFFile(stream).iter_segments():
            if isinstance(segment, InterpSegment):
                return str(segment.get_interp_name())
    except FOREIGN as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return None


def modinfo(stream: BinaryIO) -> dict[str, tuple[str, ...]]:
    """Return a module's .modinfo: field name -> its values in the file's order ("alias" has many)."""
    try:
        section = ELFFile(stream).get_section_by_name(".modinfo")
        data = b"" if section is None else section.data()
    except FOREIGN as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return parse_modinfo(data)


def parse_modinfo(data: bytes) -> dict[str, tuple[str, ...]]:
    """Parse `field=value` strings that end in NUL; some are padded with more NULs."""
    fields: dict[str, tuple[str, ...]] = {}
    for item in data.split(b"\0"):
        name, equals, value = item.decode("utf-8", "surrogateescape").partition("=")
        if equals:
            fields[name] = (*fields.get(name, ()), value)
    return fields


def closure(programs: Iterable[Path], find: Callable[[str], Path | None]) -> dict[str, Path]:
    """Return every library that `programs` need, directly or through one another: soname -> file.

    find: gives the file of a soname. Raises ElfError where it has none, naming who needs the library.
    """
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        program = waiting.pop()
        status = program.stat()
        for soname in _needed_by(program, (status.st_ino, status.st_size, status.st_mtime_ns)):
            if soname in found:
                continue
            library = find(soname)
            if library is None:
                raise ElfError(f"{program} needs the library {soname}, which is in none of the packages used")
            found[soname] = library
            waiting.append(library)
    return dict(sorted(found.items()))


@lru_cache(maxsize=1024)
def _needed_by(program: Path, state: tuple[int, ...]) -> tuple[str, ...]:  # noqa: ARG001 - part of the key
    with program.open("rb") as stream:
        return needed(stream)


# pyelftools meets damage with whatever its parsers happen to raise
FOREIGN = (
    _ForeignElfError,
    ValueError,
    KeyError,
    AttributeError,
    IndexError,
    TypeError,
    OverflowError,
    OSError,
)
