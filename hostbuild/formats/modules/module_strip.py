"""A kernel module without what it can do without: its signature, its type information (BTF), debug sections. Pure.

Where a kernel checks signatures, it hashes each module whole and then computes with a key of 4,096 bits, and it reads a
module's BTF through: time that only somebody gains from who wants the one or the other.

    signature   behind the module: a PKCS#7 message, struct module_signature, a line (signature.py). Without it the
                kernel is tainted (E), or refuses the module if it is told to (kernels/signing.py)
    .BTF        what BPF programs know of the module's types and functions. A module with .BTF_ids keeps it: such a one
                registers functions for BPF, and that fails without (kernel/bpf/btf.c, "missing module BTF")
    .debug_*    for debuggers; and .comment and the like, which nothing reads
    symbols     stay: the kernel's messages name functions by them

A section that goes leaves an empty row in the table of sections (SHT_NULL), which the kernel passes over
(elf_validity_check in kernel/module/main.c); so no number that a symbol, a relocation or another section refers to
changes, and there is nothing to be rewritten. What lies behind moves up, aligned as its row says.
"""

import re
import struct

from hostbuild.formats.elf import ElfError
from hostbuild.formats.elf_sections import Section, Sections, read
from modaliasd.core.loading.signature import MARK

_TRAILER = struct.Struct(">5B3xI")  # struct module_signature (include/linux/module_signature.h)
_PKCS7 = 2  # its id_type
_RELOCATABLE = 1  # e_type
_HEADER_SIZE, _ROW_SIZE = 64, 64  # Elf64_Ehdr, Elf64_Shdr
_SHNUM_AT, _PHNUM_AT, _SHENTSIZE_AT, _SHOFF_AT = 60, 56, 58, 40
_OFFSET_IN_ROW, _ALIGN_IN_ROW = 24, 48
_MOST_ALIGNED = 1 << 16  # bytes; a page of 64 KiB is the largest that any kernel has
_NULL, _NOBITS, _GROUP = 0, 8, 17  # sh_type
_WORD = 4  # Elf64_Word
_ALLOC = 2  # SHF_ALLOC: the kernel takes the section
_UNUSED = re.compile(
    rb"(?:\.rela?)?\.(?:z?debug_.*|debug|stab.*|gdb_index|gnu_debug(?:alt)?link|comment|GCC\.command\.line|llvm_addrsig)"
)
_BTF = re.compile(rb"(?:\.rela?)?\.BTF(?:\.base|\.ext)?")
_BTF_IDS = b".BTF_ids"


def strip_module(data: bytes) -> bytes:
    """Return a module without signature, BTF and debug sections; the same bytes where it has none of them.

    What is no 64-bit module, or not laid out as linkers do it, loses its signature only.
    """
    body = data[: len(data) - signature_size(data)]
    try:
        return read(body, _without_sections, body)
    except ElfError:
        return body


def signature_size(data: bytes) -> int:
    """Return how many bytes at a module's end are its signature, 0 if it has none that the kernel would look at."""
    end = len(data) - len(MARK) - _TRAILER.size
    if end < 0 or not data.endswith(MARK):
        return 0
    *_, kind, signer, key, size = _TRAILER.unpack_from(data, end)
    if kind != _PKCS7 or signer or key or size >= end:
        return 0
    return len(data) - end + int(size)


def _without_sections(file: Sections) -> bytes:
    data = file.data
    (kind,) = struct.unpack_from(f"{file.order}H", data, 16)
    (segments,) = struct.unpack_from(f"{file.order}H", data, _PHNUM_AT)
    (row_size,) = struct.unpack_from(f"{file.order}H", data, _SHENTSIZE_AT)
    going = _going(file)
    if not going or kind != _RELOCATABLE or segments or row_size != _ROW_SIZE:
        return data
    (table,) = struct.unpack_from(f"{file.order}Q", data, _SHOFF_AT)
    rows = [data[table + n * _ROW_SIZE : table + (n + 1) * _ROW_SIZE] for n in range(len(file.rows))]
    out = bytearray(data[:_HEADER_SIZE])
    before = _HEADER_SIZE
    for number in sorted(range(1, len(rows)), key=lambda n: (file.rows[n].offset, n)):
        section = file.rows[number]
        if number in going:
            rows[number] = bytes(_ROW_SIZE)
            continue
        content = b"" if section.kind in (_NOBITS, _NULL) else file.bytes_of(section)
        if content and (section.offset < before or len(content) != section.size):
            raise ElfError("sections overlap, or are cut off")
        before = max(before, section.offset + len(content))
        if section.kind == _GROUP:
            content = _members_left(file, section, going)
        (align,) = struct.unpack_from(f"{file.order}Q", rows[number], _ALIGN_IN_ROW)
        if align > _MOST_ALIGNED:
            raise ElfError("a section with an impossible alignment")
        if section.kind != _NULL:
            out += bytes(-len(out) % max(align, 1))
            row = bytearray(rows[number])
            size = len(content) or section.size
            struct.pack_into(f"{file.order}QQ", row, _OFFSET_IN_ROW, len(out), size)
            rows[number] = bytes(row)
        out += content
    out += bytes(-len(out) % 8)
    struct.pack_into(f"{file.order}Q", out, _SHOFF_AT, len(out))
    made = bytes(out + b"".join(rows))
    return made if len(made) < len(data) else data


def _going(file: Sections) -> set[int]:
    """Give the numbers of the sections that are cut out, and of the groups that nothing is left of."""
    keeps_btf = any(row.name == _BTF_IDS for row in file.rows)
    going = {
        number
        for number, row in enumerate(file.rows)
        if not row.flags & _ALLOC
        and (_UNUSED.fullmatch(row.name) or (not keeps_btf and _BTF.fullmatch(row.name)))
    }
    groups = {number for number, row in enumerate(file.rows) if row.kind == _GROUP}
    empty = {number for number in groups if len(_members_left(file, file.rows[number], going)) <= _WORD}
    return going | empty if going else going


def _members_left(file: Sections, group: Section, going: set[int]) -> bytes:
    """Give what a group holds without what goes: its flags, then the numbers of its sections."""
    flags, *members = (number for (number,) in file.rows_of(group, "I"))
    left = [flags, *(number for number in members if number not in going)]
    return struct.pack(f"{file.order}{len(left)}I", *left)
