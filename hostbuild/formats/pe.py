"""Sections added to a PE file, as a unified kernel image is made of systemd's stub. Pure.

Sources: Microsoft's "PE Format"; the UAPI group's "Unified Kernel Image (UKI)". pefile knows the headers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pefile

from hostbuild.errors import InputError

MAGIC = b"MZ"
_PAGE = 4096
_MOST_ALIGNED = 1 << 16  # FileAlignment, by Microsoft's document
# By the same document; pefile makes an object of each, and the 65,535 of a damaged header take seconds.
_MOST_SECTIONS = 96
_LIMIT = 1 << 32  # what the headers can say of addresses and sizes
_DATA_READ_ONLY = 0x40000040  # IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ


class PeError(InputError):
    """A file is not PE, or damaged, or its headers have no room for another section."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its name, at most eight bytes of ASCII, and its content."""

    name: str
    content: bytes


def sections_of(data: bytes) -> list[Section]:
    """Return the sections of a PE file, in the order of their headers. Raises PeError."""
    found = []
    for one in _parse(data).sections:
        content = one.get_data()[: one.Misc_VirtualSize]
        found.append(Section(one.Name.rstrip(b"\0").decode("ascii", "replace"), content))
    return found


def add_sections(data: bytes, added: Sequence[Section]) -> bytes:
    """Return a PE file with further sections behind its own; in memory they follow one another. Raises PeError."""
    pe = _parse(data)
    header = pe.OPTIONAL_HEADER
    alignment = max(header.SectionAlignment, _PAGE)  # a kernel is started where it lies
    last = pe.sections[-1]
    place = last.get_file_offset() + last.sizeof()
    if place + len(added) * last.sizeof() > header.SizeOfHeaders:
        raise PeError(f"the PE file has no room for {len(added)} more section headers")
    address = max(one.VirtualAddress + one.Misc_VirtualSize for one in pe.sections)
    headers: list[pefile.SectionStructure] = []
    body = bytearray()
    end = _up(len(data), header.FileAlignment)
    for one in added:
        address = _up(address, alignment)
        section = pefile.SectionStructure(pe.__IMAGE_SECTION_HEADER_format__, pe=pe)
        section.__unpack__(bytes(section.sizeof()))
        section.Name = one.name.encode("ascii").ljust(8, b"\0")
        section.Misc_VirtualSize = len(one.content)
        section.VirtualAddress = address
        section.SizeOfRawData = _up(len(one.content), header.FileAlignment)
        section.PointerToRawData = end + len(body)
        section.Characteristics = _DATA_READ_ONLY
        headers.append(section)
        body += one.content.ljust(section.SizeOfRawData, b"\0")
        address += len(one.content)
    pe.FILE_HEADER.NumberOfSections += len(added)
    header.SizeOfImage = _up(address, alignment)
    if header.SizeOfImage >= _LIMIT or end + len(body) >= _LIMIT:
        raise PeError("not a PE file, or a damaged one: its sections lead beyond 4 GiB")
    header.CheckSum = 0  # nobody checks it in an EFI program
    head = bytearray(data)
    for section in headers:
        head[place : place + section.sizeof()] = section.__pack__()
        place += section.sizeof()
    for structure in (pe.FILE_HEADER, header):
        head[structure.get_file_offset() : structure.get_file_offset() + structure.sizeof()] = (
            structure.__pack__()
        )
    return bytes(head).ljust(end, b"\0") + bytes(body)


def _parse(data: bytes) -> pefile.PE:
    header = int.from_bytes(data[60:64], "little")  # e_lfanew
    if (count := int.from_bytes(data[header + 6 : header + 8], "little")) > _MOST_SECTIONS:
        raise PeError(f"not a PE file, or a damaged one: it claims {count} sections")
    try:
        pe = pefile.PE(data=data, fast_load=True)
    except pefile.PEFormatError as e:
        raise PeError(f"not a PE file, or a damaged one: {e}") from e
    header = pe.OPTIONAL_HEADER
    if not pe.sections:
        raise PeError("not a PE file, or a damaged one: it has no sections")
    if not 0 < header.FileAlignment <= _MOST_ALIGNED or not 0 < header.SectionAlignment <= _LIMIT >> 2:
        raise PeError("not a PE file, or a damaged one: impossible alignments")
    return pe


def _up(number: int, alignment: int) -> int:
    return -(-number // alignment) * alignment
