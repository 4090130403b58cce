"""What a kernel module refers to: the symbols that it takes from others, and the strings that it hands to them.

A .ko is a relocatable ELF file (elf(5)): a call of another module's function is a relocation against an undefined
symbol, and the address of a string that the function is given, a few instructions before, is one against a section of
strings and an offset in it. That holds for x86-64 as for arm64, so no instruction has to be read.

Pure. Of 64-bit files of either byte order; others refer to nothing that is known here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hostbuild.formats.elf_sections import RESERVED, UNDEFINED, Section, Sections, read, word

_RELA, _PROGBITS = 4, 1
_ALLOC, _EXECUTABLE = 2, 4
_RELOCATION = "QQq"
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


def references(data: bytes, followed: re.Pattern[str], reach: int = 96) -> References:
    """Read a module. followed: matches the symbols for which `handed` is wanted. Raises ElfError for a damaged file."""
    return read(data, lambda file: _References(file).read(followed, reach), NOTHING)


class _References:
    def __init__(self, file: Sections) -> None:
        self._file = file

    def read(self, followed: re.Pattern[str], reach: int) -> References:
        file = self._file
        symbols = list(file.symbols())
        if not symbols:
            return NOTHING
        undefined = {
            number: word(file.text(name))
            for number, (name, _, home, _) in enumerate(symbols)
            if name and home == UNDEFINED
        }
        wanted = {number: name for number, name in undefined.items() if followed.fullmatch(name)}
        strings: set[str] = set()
        for section in file.rows:
            if section.kind == _PROGBITS and _holds_strings(section):
                strings.update(text.decode() for text in _STRING.findall(file.bytes_of(section)))
        return References(
            frozenset(undefined.values()),
            frozenset(strings),
            self._handed(symbols, wanted, reach) if wanted else {},
        )

    def _handed(
        self, symbols: list[tuple[int, int, int, int]], wanted: dict[int, str], reach: int
    ) -> dict[str, tuple[tuple[str, ...], ...]]:
        places: dict[str, list[tuple[str, ...]]] = {}
        for section in self._file.rows:
            if section.kind != _RELA or not self._file.rows[section.info].flags & _EXECUTABLE:
                continue
            taken: list[tuple[int, str]] = []  # near the last place: offset, string
            for offset, info, addend in sorted(self._file.rows_of(section, _RELOCATION)):
                number = info >> 32
                if number in wanted:
                    near = tuple(dict.fromkeys(text for at, text in taken if at >= offset - reach))
                    places.setdefault(wanted[number], []).append(near)
                    taken = []
                    continue
                _, _, home, value = symbols[number]
                if not UNDEFINED < home < RESERVED or not _holds_strings(self._file.rows[home]):
                    continue
                if text := self._string(self._file.rows[home], value + addend):
                    taken = [one for one in taken if one[0] >= offset - reach]
                    taken.append((offset, text))
        return {name: tuple(found) for name, found in places.items()}

    def _string(self, section: Section, at: int) -> str:
        """Give the string that begins at an offset of a section, or a few bytes behind."""
        data = self._file.data
        for start in (at, at + _BEHIND):
            if not 0 <= start < section.size:
                continue
            if start and data[section.offset + start - 1]:
                continue  # in the middle of one
            if found := _STRING.match(data, section.offset + start):
                return found[0].decode()
        return ""


def _holds_strings(section: Section) -> bool:
    if section.flags & (_ALLOC | _EXECUTABLE) != _ALLOC:
        return False
    return not section.name.startswith(_NOT_STRINGS)


def strings_of(data: bytes) -> Iterable[str]:
    """Give the printable strings of any data that end in NUL."""
    return (found.decode() for found in _STRING.findall(data))
