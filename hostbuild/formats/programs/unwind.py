"""A program or library without its tables for unwinding the stack. Pure.

    .eh_frame       how each function's frame is undone (the LSB's core specification, "Exception Frames")
    .eh_frame_hdr   an index of them by address

Exceptions of C++, panics of Rust, pthread_cancel and backtraces read them, all by libgcc_s. A program in C needs none
of it, and has them all the same: 7 % of CPython's program, 9 % of libc.

The tables are overwritten by zeros in their places, so that no address changes. Whoever reads them after all finds them
empty: a length of 0 ends .eh_frame, and a header of version 0 is not looked at.
"""

from hostbuild.formats.elf import MAGIC, ElfError
from hostbuild.formats.elf_sections import Sections, read

_TABLES = (b".eh_frame", b".eh_frame_hdr")
_TYPE_AT = 16  # e_type, in the order of the file's bytes
_EXECUTABLE, _SHARED = 2, 3
_PROGBITS, _X86_64_UNWIND = (
    1,
    0x70000001,
)  # sh_type; the second is what the x86-64 ABI says, and few linkers write


def without_unwind_tables(data: bytes) -> bytes:
    """Return a 64-bit program or shared library with empty tables; the same bytes where it has none, or is none."""
    if not data.startswith(MAGIC):
        return data
    try:
        return read(data, _emptied, data)
    except ElfError:
        return data


def _emptied(file: Sections) -> bytes:
    kind = int.from_bytes(file.data[_TYPE_AT : _TYPE_AT + 2], "little" if file.order == "<" else "big")
    if kind not in (_EXECUTABLE, _SHARED):
        return file.data
    out = bytearray(file.data)
    for name in _TABLES:
        section = file.named(name)
        if section is None or section.kind not in (_PROGBITS, _X86_64_UNWIND):
            continue
        if section.offset + section.size > len(out):
            raise ElfError("a section is cut off")
        out[section.offset : section.offset + section.size] = bytes(section.size)
    return bytes(out)
