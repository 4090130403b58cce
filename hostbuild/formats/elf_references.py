"""What a kernel module refers to: the symbols that it takes from others, and the strings that it hands to them.

A .ko is a relocatable ELF file (elf(5)): a call of another module's function is a relocation against an undefined
symbol, and the address of a string that the function is given, a few instructions before, is one against a section of
strings and an offset in it. That holds for x86-64 as for arm64, so no instruction has to be read.

Pure, and by struct alone: pyelftools takes a second for a large module's relocations. Of 64-bit files of either byte
order; others refer to nothing that is known here.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hostbuild.formats.elf import MAGIC, ElfError

_CLASS64, _LITTLE = 2, 1  # e_ident[4], [5]
_RELA, _SYMTAB, _PROGBITS = 4, 2, 1
_ALLOC, _EXECUTABLE = 2, 4
_UNDEFINED, _LAST_SECTION = 0, 0xFF00  # st_shndx; what is from SHN_LORESERVE on is no section
_SYMBOL = "IBBHQQ"
_RELOCATION = "QQq"
_SECTION = "IIQQQQIIQQ"
_EXPORT = re.compile("__(?:ksymtab|crc)_(.+)")  # of EXPORT_SYMBOL (include/linux/export-internal.h)
_STRING = re.compile(rb"[\x20-\x7e]{2,}(?=\0)")
_NOT_STRINGS = (b"__", b".modinfo", b".note", b".orc", b".alt", b".retpoline", b".parainst", b".gnu")
_BEHIND = (
    4  # an addend that is counted from the end of an instruction (R_X86_64_PC32) is less by its own length
)


@dataclass(frozen=True, slots=True)
class References:
    """What a module refers to.

    symbols: those that it takes from elsewhere. strings: all that its data hold. handed: symbol -> for each place that
    calls it, the strings of which an address is taken within `reach` bytes before.
    """

    symbols: frozenset[str]
    strings: frozenset[str]
    handed: dict[str, tuple[tuple[str, ...], ...]]


NOTHING = References(frozenset(), frozenset(), {})


@dataclass(frozen=True, slots=True)
class _Section:
    name: bytes
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int


def references(data: bytes, followed: re.Pattern[str], reach: int = 96) -> References:
    """Read a module. followed: matches the symbols for which `handed` is wanted. Raises ElfError for a damaged file."""
    if not data.startswith(MAGIC):
        raise ElfError("not an ELF file")
    try:
        if data[4] != _CLASS64:
            return NOTHING
        return _References(data, "<" if data[5] == _LITTLE else ">").read(followed, reach)
    except (struct.error, IndexError, ValueError, OverflowError) as e:
        raise ElfError(f"a damaged ELF file: {e}") from e


class _References:
    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order
        (start,) = struct.unpack_from(order + "Q", data, 40)
        size, count, names = struct.unpack_from(order + "HHH", data, 58)
        rows = [struct.unpack_from(order + _SECTION, data, start + n * size) for n in range(count)]
        at = rows[names][4]
        self._sections = [_Section(self._name(at + r[0]), r[1], r[2], r[4], r[5], r[6], r[7]) for r in rows]

    def read(self, followed: re.Pattern[str], reach: int) -> References:
        table = next((section for section in self._sections if section.kind == _SYMTAB), None)
        if table is None:
            return NOTHING
        symbols = list(self._rows(table, _SYMBOL))
        names = self._sections[table.link].offset
        undefined: dict[int, str] = {}
        for number, (name, _, _, home, _, _) in enumerate(symbols):
            if name and home == _UNDEFINED:
                undefined[number] = self._name(names + name).decode("ascii", "replace")
        wanted = {number: name for number, name in undefined.items() if followed.fullmatch(name)}
        strings: set[str] = set()
        for section in self._sections:
            if section.kind == _PROGBITS and self._holds_strings(section):
                strings.update(text.decode() for text in _STRING.findall(self._bytes(section)))
        return References(
            frozenset(undefined.values()),
            frozenset(strings),
            self._handed(symbols, wanted, reach) if wanted else {},
        )

    def linkage(self) -> tuple[frozenset[str], frozenset[str]]:
        table = next((section for section in self._sections if section.kind == _SYMTAB), None)
        if table is None:
            return frozenset(), frozenset()
        names = self._sections[table.link].offset
        taken: set[str] = set()
        offered: set[str] = set()
        for name, _, _, home, _, _ in self._rows(table, _SYMBOL):
            text = self._name(names + name).decode("ascii", "replace") if name else ""
            if export := _EXPORT.fullmatch(text):
                offered.add(export[1])
            elif text and home == _UNDEFINED:
                taken.add(text)
        return frozenset(taken), frozenset(offered)

    def _handed(
        self, symbols: list[tuple[int, ...]], wanted: dict[int, str], reach: int
    ) -> dict[str, tuple[tuple[str, ...], ...]]:
        places: dict[str, list[tuple[str, ...]]] = {}
        for section in self._sections:
            if section.kind != _RELA or not self._sections[section.info].flags & _EXECUTABLE:
                continue
            taken: list[tuple[int, str]] = []  # near the last place: offset, string
            for offset, info, addend in sorted(self._rows(section, _RELOCATION)):
                number = info >> 32
                if number in wanted:
                    near = tuple(dict.fromkeys(text for at, text in taken if at >= offset - reach))
                    places.setdefault(wanted[number], []).append(near)
                    taken = []
                    continue
                _, _, _, home, value, _ = symbols[number]
                if not _UNDEFINED < home < _LAST_SECTION or not self._holds_strings(self._sections[home]):
                    continue
                if text := self._string(self._sections[home], value + addend):
                    taken = [one for one in taken if one[0] >= offset - reach]
                    taken.append((offset, text))
        return {name: tuple(found) for name, found in places.items()}

    def _string(self, section: _Section, at: int) -> str:
        """Give the string that begins at an offset of a section, or a few bytes behind."""
        data = self._data
        for start in (at, at + _BEHIND):
            if not 0 <= start < section.size:
                continue
            if start and data[section.offset + start - 1]:
                continue  # in the middle of one
            if found := _STRING.match(data, section.offset + start):
                return found[0].decode()
        return ""

    def _holds_strings(self, section: _Section) -> bool:
        if section.flags & (_ALLOC | _EXECUTABLE) != _ALLOC:
            return False
        return not section.name.startswith(_NOT_STRINGS)

    def _rows(self, section: _Section, shape: str) -> Iterator[tuple[int, ...]]:
        shape = self._order + shape
        whole = section.size - section.size % struct.calcsize(shape)
        return struct.iter_unpack(shape, self._bytes(section)[:whole])

    def _bytes(self, section: _Section) -> bytes:
        return self._data[section.offset : section.offset + section.size]

    def _name(self, at: int) -> bytes:
        return self._data[at : self._data.index(b"\0", at)]


def strings_of(data: bytes) -> Iterable[str]:
    """Give the printable strings of any data that end in NUL."""
    return (found.decode() for found in _STRING.findall(data))


def linkage(data: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Give the symbols that a module takes from elsewhere, and those that it offers. Raises ElfError as above."""
    if not data.startswith(MAGIC):
        raise ElfError("not an ELF file")
    try:
        if data[4] != _CLASS64:
            return frozenset(), frozenset()
        return _References(data, "<" if data[5] == _LITTLE else ">").linkage()
    except (struct.error, IndexError, ValueError, OverflowError) as e:
        raise ElfError(f"a damaged ELF file: {e}") from e
