"""Which modules are inside a CPython interpreter, read from its program.

    PyImport_Inittab            points to rows of two words, the name and a function; a row of zeros ends them
                                (Include/cpython/import.h, struct _inittab): what is built in
    _PyImport_FrozenBootstrap, _PyImport_FrozenStdlib, _PyImport_FrozenTest
                                point to rows of three words, the name, the code, its size and whether it is a package;
                                of four in 3.11, which has a function besides (struct _frozen): what is frozen

They are exported. A program that lies anywhere in memory has these words in its relocations (elf(5), R_*_RELATIVE).
"""

from collections.abc import Iterator
from typing import BinaryIO

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from hostbuild.formats.elf import ElfError, foreign

_WORD = 8
_MOST = 1000  # rows
_FROZEN = ("_PyImport_FrozenBootstrap", "_PyImport_FrozenStdlib", "_PyImport_FrozenTest")
_RELATIVE = {8, 1027, 3}  # R_X86_64_RELATIVE, R_AARCH64_RELATIVE, R_RISCV_RELATIVE


def builtin_modules(program: BinaryIO) -> frozenset[str]:
    """Return the names of the modules that are compiled into an interpreter. Raises ElfError."""
    return frozenset(_names(program, ["PyImport_Inittab"], 2))


def frozen_modules(program: BinaryIO, version: str) -> frozenset[str]:
    """Return the names of the modules whose bytecode is inside. version: "3.11". Raises ElfError."""
    return frozenset(_names(program, _FROZEN, 4 if version == "3.11" else 3))


def _names(program: BinaryIO, pointers: list[str] | tuple[str, ...], words: int) -> list[str]:
    try:
        memory = _Memory(ELFFile(program))
        return [name for pointer in pointers for name in memory.table(pointer, words)]
    except foreign() as e:
        raise ElfError(f"not a CPython program, or a damaged one: {e or type(e).__name__}") from e


class _Memory:
    """The program as it would lie in memory."""

    def __init__(self, elf: ELFFile) -> None:
        self._elf = elf
        self._loaded = [one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD"]
        self._relocated = {
            row["r_offset"]: row["r_addend"]
            for section in elf.iter_sections()
            if isinstance(section, RelocationSection) and section.is_RELA()
            for row in section.iter_relocations()
            if row["r_info_type"] in _RELATIVE
        }

    def table(self, pointer: str, words: int) -> Iterator[str]:
        """Give the names in the rows that an exported pointer leads to; they are of so many words."""
        at = self._word(self._symbol(pointer))
        for _ in range(_MOST):
            name = self._word(at)
            if not name:
                return
            yield self._text(name)
            at += words * _WORD
        raise ElfError(f"{pointer}'s table has no end")

    def _symbol(self, name: str) -> int:
        table = self._elf.get_section_by_name(".dynsym")
        found = (table.get_symbol_by_name(name) if isinstance(table, SymbolTableSection) else None) or []
        if not found:
            raise ElfError(f"not a CPython program: it exports no {name}")
        return int(found[0]["st_value"])

    def _word(self, address: int) -> int:
        if address in self._relocated:
            return int(self._relocated[address])
        return int.from_bytes(self._bytes(address, _WORD), "little")

    def _text(self, address: int) -> str:
        text, end, _ = self._bytes(address, 256).partition(b"\0")
        if not end:
            raise ElfError("a name in its tables has no end")
        return text.decode("ascii", "replace")

    def _bytes(self, address: int, most: int) -> bytes:
        """Read what lies at an address: up to `most` bytes, zeros behind what the file has of it."""
        for segment in self._loaded:
            start, size = segment["p_vaddr"], segment["p_filesz"]
            if start <= address < start + segment["p_memsz"]:
                self._elf.stream.seek(segment["p_offset"] + address - start)
                data: bytes = self._elf.stream.read(max(0, min(most, start + size - address)))
                return data.ljust(most, b"\0") if len(data) < most else data
        raise ElfError(f"its tables lead to {address:#x}, where nothing is")
