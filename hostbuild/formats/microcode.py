"""CPU microcode: the files of Intel's and AMD's updates, and where they lie in an image. Pure.

Intel  updates one after the other, each with a header of 48 bytes (Intel's manual, volume 3, 10.11.1;
       arch/x86/include/asm/microcode.h, struct microcode_header_intel). Its 32-bit words add up to 0.
AMD    containers one after the other: "DMA\\0", a table of equivalent CPUs (section type 0), patches (type 1)
       (arch/x86/kernel/cpu/microcode/amd.c).

A kernel loads them before it unpacks anything, so they lie plain in the image's first archive, under two names
(Documentation/arch/x86/microcode.rst, lib/earlycpio.c).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from hostbuild.errors import InputError

DIRECTORY = "kernel/x86/microcode"

# header's version, revision, date, signature, checksum, loader's version, flags, bytes of data, bytes in total
_INTEL = struct.Struct("<IiIIIIIII")
_INTEL_HEADER = 48
_INTEL_USUAL = 2000, 2048  # of data and in total, where the header says 0
_AMD_MAGIC = b"DMA\0"
_TABLE, _PATCH = 0, 1


class MicrocodeError(InputError):
    """Bytes are not microcode that a kernel would take."""


class Vendor(Enum):
    """Whose CPUs it is for; the value is the name of the file that a kernel looks for."""

    INTEL = "GenuineIntel.bin"
    AMD = "AuthenticAMD.bin"

    @property
    def path(self) -> str:
        """Where it lies in an image."""
        return f"{DIRECTORY}/{self.value}"


@dataclass(frozen=True, slots=True)
class Microcode:
    """What a file holds. updates: how many."""

    vendor: Vendor
    data: bytes
    updates: int


def parse_microcode(data: bytes) -> Microcode:
    """Check a file's bytes by the rules of the kernel's loaders. Raises MicrocodeError."""
    if data.startswith(_AMD_MAGIC):
        return Microcode(Vendor.AMD, data, _patches(data))
    return Microcode(Vendor.INTEL, data, _intel_updates(data))


def join(each: Iterable[Microcode]) -> list[Microcode]:
    """Put those of a vendor one after the other, in their order; a kernel takes the newest that is for its CPU."""
    found: dict[Vendor, dict[bytes, int]] = {}
    for one in each:
        found.setdefault(one.vendor, {})[one.data] = one.updates  # the same file twice counts once
    return [
        Microcode(vendor, b"".join(found[vendor]), sum(found[vendor].values()))
        for vendor in Vendor
        if vendor in found
    ]


def _intel_updates(data: bytes) -> int:
    count = at = 0
    while at < len(data):
        if len(data) - at < _INTEL_HEADER:
            raise MicrocodeError(_cut(at) if count else "not CPU microcode, of Intel or of AMD")
        version, _, _, _, _, loader, _, size, total = _INTEL.unpack_from(data, at)
        if (version, loader) != (1, 1):
            raise MicrocodeError(
                f"at offset {at} is no header of an update"
                if count
                else "not CPU microcode, of Intel or of AMD"
            )
        if size == 0:
            size, total = _INTEL_USUAL
        if size % 4 or total % 4 or size + _INTEL_HEADER > total:
            raise MicrocodeError(f"the update at offset {at} has impossible sizes ({size} of {total} bytes)")
        if total > len(data) - at:
            raise MicrocodeError(_cut(at))
        words = struct.unpack_from(f"<{(size + _INTEL_HEADER) // 4}I", data, at)
        if sum(words) & 0xFFFFFFFF:
            raise MicrocodeError(f"the update at offset {at} has a wrong checksum")
        at += total
        count += 1
    if not count:
        raise MicrocodeError("it is empty")
    return count


def _patches(data: bytes) -> int:
    count = at = 0
    while at < len(data):
        if data[at : at + 4] == _AMD_MAGIC:
            kind, size = _section(data, at + 4)
            if kind != _TABLE or size == 0:
                raise MicrocodeError(f"the container at offset {at} has no table of CPUs")
            at += 12 + size
            continue
        kind, size = _section(data, at)
        if kind != _PATCH:
            raise MicrocodeError(f"at offset {at} is neither a patch nor a container")
        at += 8 + size
        count += 1
    if at > len(data):
        raise MicrocodeError("it is cut short")
    return count


def _section(data: bytes, at: int) -> tuple[int, int]:
    if at + 8 > len(data):
        raise MicrocodeError("it is cut short")
    kind, size = struct.unpack_from("<II", data, at)
    return kind, size


def _cut(at: int) -> str:
    return f"the update at offset {at} is cut short"
