"""The sections and symbols of a 64-bit ELF file of either byte order (elf(5)), by struct alone.

pyelftools takes a second for a large module's symbols and relocations, and hundreds of modules are looked at. Of 32-bit
files nothing is known here.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from hostbuild.formats.elf import MAGIC, ElfError

UNDEFINED, RESERVED, ABSOLUTE = 0, 0xFF00, 0xFFF1  # st_shndx; what is from SHN_LORESERVE on is no section
_CLASS32, _CLASS64, _LITTLE = 1, 2, 1  # e_ident[4], [5]
_SYMTAB = 2
_SECTION = "IIQQQQIIQQ"
_SYMBOL = "IBBHQQ"

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Section:
    """A row of the table of sections; `link` and `info` are other rows' numbers."""

    name: bytes
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int


class Sections:
    """A file taken apart. order: struct's sign for its byte order. To be used within `read`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = order = "<" if data[5] == _LITTLE else ">"
        (start,) = struct.unpack_from(order + "Q", data, 40)
        size, count, names = struct.unpack_from(order + "HHH", data, 58)
        rows = [struct.unpack_from(order + _SECTION, data, start + n * size) for n in range(count)]
        at = rows[names][4] if rows else 0
        self.rows = [Section(self.text(at + row[0]), *row[1:8]) for row in rows]
        self._named = {row.name: row for row in self.rows}

    def text(self, at: int) -> bytes:
        """Return the bytes from an offset of the file to the next NUL."""
        return self.data[at : self.data.index(b"\0", at)]

    def named(self, name: bytes) -> Section | None:
        """Return the section of this name."""
        return self._named.get(name)

    def bytes_of(self, section: Section | None) -> bytes:
        """Return what a section holds; nothing for none."""
        return b"" if section is None else self.data[section.offset : section.offset + section.size]

    def rows_of(self, section: Section, shape: str) -> Iterator[tuple[int, ...]]:
        """Take a section as a table; a row that is cut short is left out."""
        shape = self.order + shape
        whole = section.size - section.size % struct.calcsize(shape)
        return struct.iter_unpack(shape, self.bytes_of(section)[:whole])

    def symbols(self) -> Iterator[tuple[int, int, int, int]]:
        """Give each symbol in the table's order: offset of its name in the file (0: none), binding, section, value."""
        table = next((row for row in self.rows if row.kind == _SYMTAB), None)
        if table is None:
            return
        strings = self.rows[table.link].offset
        for name, info, _, home, value, _ in self.rows_of(table, _SYMBOL):
            yield strings + name if name else 0, info >> 4, home, value


def machine_of(data: bytes) -> int:
    """Return e_machine of an ELF file, by its first 20 bytes. Raises ElfError for others."""
    if not data.startswith(MAGIC) or len(data) < 20:
        raise ElfError("not an ELF file")
    return int.from_bytes(data[18:20], "little" if data[5] == _LITTLE else "big")


def read(data: bytes, take: Callable[[Sections], _Value], of_others: _Value) -> _Value:
    """Return what `take` makes of a file; `of_others` for a 32-bit one.

    Raises ElfError for what is damaged, or no ELF file.
    """
    machine_of(data)
    if data[4] == _CLASS32:
        return of_others
    if data[4] != _CLASS64:
        raise ElfError("not an ELF file: it is neither for 32 nor for 64 bits")
    try:
        return take(Sections(data))
    except (struct.error, IndexError, ValueError, OverflowError) as e:
        raise ElfError(f"a damaged ELF file: {e}") from e


def word(name: bytes) -> str:
    """Return a symbol's name as text."""
    return name.decode("ascii", "replace")
