"""What a kernel and its modules give one another: symbols, each with the checksum of its declaration.

A module        undefined symbols of .symtab are what it takes; `__ksymtab_NAME` and `__crc_NAME` are what it gives.
                __versions holds the checksums that it was built with: 64 bytes a row, the checksum (a long) and the
                name; since 6.14 also __version_ext_crcs (32 bits each) and __version_ext_names (NUL-ended).
The kernel      has no .symtab when it is packed. __ksymtab and __ksymtab_gpl have three 32-bit words a symbol, the
                second of which is the distance to its name; __kcrctab and __kcrctab_gpl have its checksum at the
                same place.

By struct alone, as in elf_references: pyelftools takes a second a module. Source: kernel/module/version.c,
include/linux/export-internal.h, scripts/mod/modpost.c; kmod's libkmod-elf.c (kmod_elf_get_symbols).
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hostbuild.formats.elf import MAGIC, ElfError, parse_modinfo

_CLASS64, _LITTLE = 2, 1  # e_ident[4], [5]
_SYMTAB = 2
_UNDEFINED, _RESERVED, _ABSOLUTE = 0, 0xFF00, 0xFFF1  # st_shndx
_WEAK = 2  # the upper half of st_info
_SECTION = "IIQQQQIIQQ"
_SYMBOL = "IBBHQQ"
_ROW = 64  # of __versions
_CRC, _KSYMTAB = b"__crc_", b"__ksymtab_"

_Value = TypeVar("_Value")

EM_NAMES = {3: "i386", 40: "arm", 62: "x86-64", 183: "arm64", 243: "RISC-V"}  # e_machine, elf(5)


@dataclass(frozen=True, slots=True)
class Linkage:
    """What a module takes and gives.

    machine: e_machine. gives: symbol -> checksum, None where it has none. takes: names. weak: those of them that may
    be absent. versions: symbol -> the checksum that it was built with.
    """

    machine: int
    gives: Mapping[str, int | None] = field(default_factory=dict)
    takes: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()
    versions: Mapping[str, int] = field(default_factory=dict)


def machine_of(data: bytes) -> int:
    """Return e_machine of an ELF file, by its first 20 bytes. Raises ElfError for others."""
    if not data.startswith(MAGIC) or len(data) < 20:
        raise ElfError("not an ELF file")
    return int.from_bytes(data[18:20], "little" if data[5] == _LITTLE else "big")


def machine_name(machine: int) -> str:
    """Return what people call a machine."""
    return EM_NAMES.get(machine, f"machine {machine}")


def linkage(data: bytes) -> Linkage:
    """Read a module. A 32-bit one takes and gives nothing that is known here. Raises ElfError for a damaged file."""
    machine = machine_of(data)
    if data[4] != _CLASS64:
        return Linkage(machine)
    return _guarded(lambda: _linkage(_Sections(data), machine))


def modinfo(data: bytes) -> dict[str, tuple[str, ...]]:
    """Return a module's .modinfo, as elf.modinfo does, and faster. Raises ElfError."""
    if machine_of(data) and data[4] != _CLASS64:
        return {}
    return _guarded(lambda: parse_modinfo(_Sections(data).bytes_of(b".modinfo")))


def kernel_exports(vmlinux: bytes) -> dict[str, int | None]:
    """Give what a kernel's ELF file exports, with checksums; {} where it does not show. Raises ElfError."""
    if machine_of(vmlinux) and vmlinux[4] != _CLASS64:
        return {}
    return _guarded(lambda: _kernel_exports(_Sections(vmlinux)))


def parse_symvers(text: str) -> dict[str, int | None]:
    """Parse a Module.symvers: checksum, symbol, where it is, and more, between tabs. Only what is in vmlinux counts."""
    found: dict[str, int | None] = {}
    for line in text.split("\n"):
        words = line.split("\t")
        if len(words) > 2 and words[2] == "vmlinux" and words[0].startswith("0x"):
            try:
                crc = int(words[0], 16)
            except ValueError:
                continue
            found[words[1]] = crc or None  # 0 without CONFIG_MODVERSIONS
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    name: bytes
    kind: int
    address: int
    offset: int
    size: int
    link: int


class _Sections:
    """The sections of a 64-bit ELF file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = order = "<" if data[5] == _LITTLE else ">"
        (start,) = struct.unpack_from(order + "Q", data, 40)
        size, count, names = struct.unpack_from(order + "HHH", data, 58)
        rows = [struct.unpack_from(order + _SECTION, data, start + n * size) for n in range(count)]
        at = rows[names][4] if rows else 0
        self.rows = [_Row(self.text(at + r[0]), r[1], r[3], r[4], r[5], r[6]) for r in rows]
        self._named = {row.name: row for row in self.rows}

    def text(self, at: int) -> bytes:
        return self.data[at : self.data.index(b"\0", at)]

    def named(self, name: bytes) -> _Row | None:
        return self._named.get(name)

    def bytes_of(self, name: bytes) -> bytes:
        row = self.named(name)
        return b"" if row is None else self.data[row.offset : row.offset + row.size]

    def symbols(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Give name, binding, section and value of each symbol that has a name."""
        table = next((row for row in self.rows if row.kind == _SYMTAB), None)
        if table is None:
            return
        shape = self.order + _SYMBOL
        whole = table.size - table.size % struct.calcsize(shape)
        strings = self.rows[table.link].offset
        data, index = self.data, self.data.index
        for name, info, _, home, value, _ in struct.iter_unpack(
            shape, data[table.offset : table.offset + whole]
        ):
            if name:
                at = strings + name
                yield data[at : index(b"\0", at)], info >> 4, home, value


def _linkage(file: _Sections, machine: int) -> Linkage:
    gives: dict[str, int | None] = {}
    crcs: dict[str, int] = {}
    takes: set[str] = set()
    weak: set[str] = set()
    for name, binding, home, value in file.symbols():
        if home == _UNDEFINED:
            takes.add(_word(name))
            if binding == _WEAK:
                weak.add(_word(name))
        elif name.startswith(_CRC):
            if home == _ABSOLUTE:
                crcs[_word(name[len(_CRC) :])] = value & 0xFFFFFFFF
            elif home < _RESERVED:  # the symbol stands where the checksum does
                (crc,) = struct.unpack_from(file.order + "I", file.data, file.rows[home].offset + value)
                crcs[_word(name[len(_CRC) :])] = crc
        elif name.startswith(_KSYMTAB):
            gives[_word(name[len(_KSYMTAB) :])] = None
    return Linkage(machine, gives | crcs, frozenset(takes), frozenset(weak), _versions(file))


def _versions(file: _Sections) -> dict[str, int]:
    rows = file.bytes_of(b"__versions")
    found = {}
    for at in range(0, len(rows) - _ROW + 1, _ROW):
        (crc,) = struct.unpack_from(file.order + "Q", rows, at)
        found[_word(rows[at + 8 : at + _ROW].partition(b"\0")[0])] = crc & 0xFFFFFFFF
    names = [name for name in file.bytes_of(b"__version_ext_names").split(b"\0") if name]
    crcs = file.bytes_of(b"__version_ext_crcs")
    for place, name in enumerate(names):
        (found[_word(name)],) = struct.unpack_from(file.order + "I", crcs, 4 * place)
    return {name: crc for name, crc in found.items() if name}


def _kernel_exports(file: _Sections) -> dict[str, int | None]:
    strings = file.named(b"__ksymtab_strings")
    found: dict[str, int | None] = {}
    if strings is None:
        return found
    for ending in (b"", b"_gpl"):
        table = file.named(b"__ksymtab" + ending)
        if table is None:
            continue
        crcs = file.bytes_of(b"__kcrctab" + ending)
        for place in range(table.size // 12):
            (distance,) = struct.unpack_from(file.order + "i", file.data, table.offset + 12 * place + 4)
            at = table.address + 12 * place + 4 + distance - strings.address
            if not 0 <= at < strings.size:
                return {}  # entries of another shape: of addresses, without PREL32
            crc = struct.unpack_from(file.order + "I", crcs, 4 * place)[0] if crcs else None
            found[_word(file.text(strings.offset + at))] = crc
    return found


def _word(name: bytes) -> str:
    return name.decode("ascii", "replace")


def _guarded(read: Callable[[], _Value]) -> _Value:
    try:
        return read()
    except (struct.error, IndexError, ValueError, OverflowError) as e:
        raise ElfError(f"a damaged ELF file: {e}") from e
