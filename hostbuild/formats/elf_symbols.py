"""What a kernel and its modules give one another: symbols, each with the checksum of its declaration.

A module        undefined symbols of .symtab are what it takes; `__ksymtab_NAME` and `__crc_NAME` are what it gives.
                __versions holds the checksums that it was built with: 64 bytes a row, the checksum (a long) and the
                name; since 6.14 also __version_ext_crcs (32 bits each) and __version_ext_names (NUL-ended).
The kernel      has no .symtab when it is packed. __ksymtab and __ksymtab_gpl have three 32-bit words a symbol, the
                second of which is the distance to its name; __kcrctab and __kcrctab_gpl have its checksum at the
                same place.

Source: kernel/module/version.c, include/linux/export-internal.h, scripts/mod/modpost.c; kmod's libkmod-elf.c
(kmod_elf_get_symbols).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from hostbuild.formats.elf import parse_modinfo
from hostbuild.formats.elf_sections import ABSOLUTE, RESERVED, UNDEFINED, Sections, machine_of, read, word

_WEAK = 2  # the upper half of st_info
_ROW = 64  # of __versions
_CRC, _KSYMTAB = b"__crc_", b"__ksymtab_"

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


def machine_name(machine: int) -> str:
    """Return what people call a machine."""
    return EM_NAMES.get(machine, f"machine {machine}")


def linkage(data: bytes) -> Linkage:
    """Read a module. A 32-bit one takes and gives nothing that is known here. Raises ElfError for a damaged file."""
    machine = machine_of(data)
    return read(data, lambda file: _linkage(file, machine), Linkage(machine))


def modinfo(data: bytes) -> dict[str, tuple[str, ...]]:
    """Return a module's .modinfo, as elf.modinfo does, and faster. Raises ElfError."""
    return read(data, lambda file: parse_modinfo(file.bytes_of(file.named(b".modinfo"))), {})


def kernel_exports(vmlinux: bytes) -> dict[str, int | None]:
    """Give what a kernel's ELF file exports, with checksums; {} where it does not show. Raises ElfError."""
    return read(vmlinux, _kernel_exports, {})


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


def _linkage(file: Sections, machine: int) -> Linkage:
    gives: dict[str, int | None] = {}
    crcs: dict[str, int] = {}
    takes: set[str] = set()
    weak: set[str] = set()
    for at, binding, home, value in file.symbols():
        if not at:
            continue
        name = file.text(at)
        if home == UNDEFINED:
            takes.add(word(name))
            if binding == _WEAK:
                weak.add(word(name))
        elif name.startswith(_CRC):
            if home == ABSOLUTE:
                crcs[word(name[len(_CRC) :])] = value & 0xFFFFFFFF
            elif home < RESERVED:  # the symbol stands where the checksum does
                (crc,) = struct.unpack_from(file.order + "I", file.data, file.rows[home].offset + value)
                crcs[word(name[len(_CRC) :])] = crc
        elif name.startswith(_KSYMTAB):
            gives[word(name[len(_KSYMTAB) :])] = None
    return Linkage(machine, gives | crcs, frozenset(takes), frozenset(weak), _versions(file))


def _versions(file: Sections) -> dict[str, int]:
    rows = file.bytes_of(file.named(b"__versions"))
    found = {}
    for at in range(0, len(rows) - _ROW + 1, _ROW):
        (crc,) = struct.unpack_from(file.order + "Q", rows, at)
        found[word(rows[at + 8 : at + _ROW].partition(b"\0")[0])] = crc & 0xFFFFFFFF
    names = [name for name in file.bytes_of(file.named(b"__version_ext_names")).split(b"\0") if name]
    crcs = file.bytes_of(file.named(b"__version_ext_crcs"))
    for place, name in enumerate(names):
        (found[word(name)],) = struct.unpack_from(file.order + "I", crcs, 4 * place)
    return {name: crc for name, crc in found.items() if name}


def _kernel_exports(file: Sections) -> dict[str, int | None]:
    strings = file.named(b"__ksymtab_strings")
    found: dict[str, int | None] = {}
    if strings is None:
        return found
    for ending in (b"", b"_gpl"):
        table = file.named(b"__ksymtab" + ending)
        if table is None:
            continue
        crcs = file.bytes_of(file.named(b"__kcrctab" + ending))
        for place in range(table.size // 12):
            (distance,) = struct.unpack_from(file.order + "i", file.data, table.offset + 12 * place + 4)
            at = table.address + 12 * place + 4 + distance - strings.address
            if not 0 <= at < strings.size:
                return {}  # entries of another shape: of addresses, without PREL32
            crc = struct.unpack_from(file.order + "I", crcs, 4 * place)[0] if crcs else None
            found[word(file.text(strings.offset + at))] = crc
    return found
