"""Can this kernel run that program? Judged by its first bytes: an ELF file for this machine, or a script.

fs/binfmt_elf.c, fs/binfmt_script.c, elf(5).
"""

from __future__ import annotations

from _struct import Struct

_HEADER = Struct(
    "<16xHHIQQQIHHH"
)  # type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum
_SEGMENT = Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
PT_INTERP = 3
HEAD = 4096  # bytes that are looked at
MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "arm64", 243: "riscv"}


def interpreter_of(head: bytes) -> str:
    """Return the program that runs it: the loader of an ELF file, what a script's first line names; "" for none."""
    if head[:2] == b"#!":
        words = head[2:].partition(b"\n")[0].split()
        return words[0].decode("utf-8", "surrogateescape") if words else ""
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return ""
    fields = _HEADER.unpack_from(head)
    start, size, count = fields[4], fields[8], fields[9]
    for at in range(start, start + size * count, size or 56):
        if at + 56 > len(head):
            break
        segment = _SEGMENT.unpack_from(head, at)
        if segment[0] == PT_INTERP:
            path = head[segment[2] : segment[2] + segment[5]]
            return path.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return ""


def why_not_run(head: bytes, machine: bytes) -> str:
    """Return why it cannot be run; "" if nothing speaks against it. machine: e_machine of a program that can."""
    if head[:2] == b"#!":
        return "" if interpreter_of(head) else "its first line names no interpreter"
    if head[:4] != b"\x7fELF":
        return "it is empty" if not head else "it is not a program: neither ELF nor a script"
    if head[18:20] != machine:
        return f"it is a program for {_name(head[18:20])}, and this machine is {_name(machine)}"
    return ""


def _name(machine: bytes) -> str:
    number = int.from_bytes(machine, "little")
    return MACHINES.get(number, f"machine {number}")
