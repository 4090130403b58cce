"""What an ELF file says about itself: the libraries it needs, its loader, and a kernel module's .modinfo.

Files come in as streams, as bytes or by their paths, and libraries are found by a function that the caller brings.
pyelftools takes them apart: milliseconds each, beside the tenth of a second that its import takes, which nobody waits
for who only asks again for what is remembered (`program_of`, `program_in`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import elftools  # its version alone: no parser is imported yet

from hostbuild.errors import HostbuildError
from hostbuild.fs import answers, sealed

MAGIC = b"\x7fELF"

# pyelftools meets damage with whatever its parsers happen to raise
_FOREIGN = (ValueError, KeyError, AttributeError, IndexError, TypeError, OverflowError, OSError)


class ElfError(HostbuildError):
    """A file is not ELF, or damaged, or needs a library that nobody has."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a program or library says of those that it needs; see the functions of these names."""

    interpreter: str | None
    needed: tuple[str, ...]
    run_path: tuple[str, ...]


def program_of(path: Path) -> Program:
    """Return what a file says of the libraries that it needs. Raises ElfError, OSError."""
    return _program(sealed.digest_of(path), path.read_bytes)


def program_in(data: bytes) -> Program:
    """Return what a file's bytes say of the libraries that it needs. Raises ElfError."""
    return _program(answers.digest(data), lambda: data)


def _program(digest: str, read: Callable[[], bytes]) -> Program:
    def make() -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
        stream = BytesIO(read())
        return interpreter(stream), needed(stream), run_path(stream)

    asked = ["program", elftools.__version__, digest]
    return Program(*answers.values(answers.code_of(__file__), asked, make))


def needed(stream: BinaryIO) -> tuple[str, ...]:
    """Return the sonames in DT_NEEDED, in their order; none for a static program."""
    return tuple(str(tag.needed) for tag in _dynamic(stream, "DT_NEEDED"))


def run_path(stream: BinaryIO) -> tuple[str, ...]:
    """Return the directories of DT_RUNPATH, or else of DT_RPATH, in which libraries are looked for first."""
    for tag, name in (("DT_RUNPATH", "runpath"), ("DT_RPATH", "rpath")):
        if found := [str(getattr(one, name)) for one in _dynamic(stream, tag)]:
            return tuple(part for text in found for part in text.split(":") if part)
    return ()


def interpreter(stream: BinaryIO) -> str | None:
    """Return the path of the program's dynamic loader, or None for a static program and a library."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    try:
        for segment in ELFFile(stream).iter_segments():
            if isinstance(segment, InterpSegment):
                return str(segment.get_interp_name())
    except foreign() as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return None


def modinfo(stream: BinaryIO) -> dict[str, tuple[str, ...]]:
    """Return a module's .modinfo: field name -> its values in the file's order ("alias" has many)."""
    from elftools.elf.elffile import ELFFile

    try:
        section = ELFFile(stream).get_section_by_name(".modinfo")
        data = b"" if section is None else section.data()
    except foreign() as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return parse_modinfo(data)


def _dynamic(stream: BinaryIO, kind: str) -> list[Any]:
    """Return the entries of a kind in the table for the dynamic loader, none for a static program."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    try:
        for section in ELFFile(stream).iter_sections():
            if isinstance(section, DynamicSection):
                return list(section.iter_tags(kind))
    except foreign() as e:
        raise ElfError(f"not an ELF file, or a damaged one: {e or type(e).__name__}") from e
    return []


def foreign() -> tuple[type[Exception], ...]:
    """Return what pyelftools may raise for a damaged file."""
    from elftools.common.exceptions import ELFError

    return (ELFError, *_FOREIGN)


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
    return program_of(program).needed
