"""formats/microcode.py: updates of Intel and AMD, and where a kernel finds them in an image."""

import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.initramfs import newc
from hostbuild.formats.microcode import (
    MicrocodeError,
    Vendor,
    join,
    parse_microcode,
)
from hostbuild.image.filetree import FileTree
from hostbuild.image.pack import members
from tests.support.earlycpio import find_early
from tests.support.microcodefiles import amd_container, intel_update

INTEL = intel_update(1) + intel_update(2, 4048) + intel_update(3, 1024, extended=1024)
AMD = amd_container(b"one" * 20, b"two" * 20) + amd_container(b"three" * 9)


def early(**files: bytes) -> bytes:
    """An archive as it stands in front of an image."""
    tree = FileTree()
    for name, data in files.items():
        tree.file(f"kernel/x86/microcode/{name}.bin", data, group="microcode", origin="test")
    out = bytearray()
    archive = newc.Writer(out.extend)
    for member, data in members(tree):
        archive.add(member, data, aligned=16)
    archive.close()
    return bytes(out)


def test_updates_are_counted() -> None:
    """Intel's with the sizes of old ones, with others, with an extended table; AMD's over several containers."""
    assert (parse_microcode(INTEL).vendor, parse_microcode(INTEL).updates) == (Vendor.INTEL, 3)
    assert (parse_microcode(AMD).vendor, parse_microcode(AMD).updates) == (Vendor.AMD, 3)


def test_those_of_a_vendor_are_one_file() -> None:
    """In their order, the same file once, Intel's before AMD's."""
    one, two = intel_update(1), intel_update(2)
    joined = join(map(parse_microcode, (two, AMD, one, two)))
    assert [(each.vendor, each.data, each.updates) for each in joined] == [
        (Vendor.INTEL, two + one, 2),
        (Vendor.AMD, AMD, 3),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n" * 20, "not CPU microcode"),
        (b"short", "not CPU microcode"),
        (INTEL[:-1], "cut short"),
        (INTEL + b"\0", "cut short"),
        (INTEL[:60] + b"\xff" + INTEL[61:], "checksum"),
        (INTEL[:2048] + bytes(48), "no header"),
        (AMD[:-1], "cut short"),
        (AMD + b"\7" * 8, "neither a patch"),
        (b"DMA\0" + bytes(8), "no table"),
        (b"DMA\0", "cut short"),
    ],
)
def test_what_is_none_is_told(data: bytes, why: str) -> None:
    """By what is wrong with it; a kernel would pass over it in silence."""
    with pytest.raises(MicrocodeError, match=why):
        parse_microcode(data)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: INTEL[:2048] + tail))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    """Whatever a file holds, it is microcode, or the error says that it is not; the search in an image ends."""
    with suppress(MicrocodeError):
        parse_microcode(data)
    find_early(data, Vendor.INTEL.path)


def test_a_kernel_finds_it_in_front() -> None:
    """At a multiple of 16 from the beginning, whatever follows; cpio lists the same archive."""
    archive = early(GenuineIntel=INTEL, AuthenticAMD=AMD)
    image = archive + b"\x28\xb5\x2f\xfd and so on"
    for vendor, data in ((Vendor.INTEL, INTEL), (Vendor.AMD, AMD)):
        assert find_early(image, vendor.path) == data
        assert image.index(data) % 16 == 0
    listed = subprocess.run(
        ["cpio", "--quiet", "-t"], input=archive, capture_output=True, check=True, timeout=10
    )
    assert listed.stdout.decode().split() == [
        "kernel",
        "kernel/x86",
        "kernel/x86/microcode",
        Vendor.AMD.path,
        Vendor.INTEL.path,
    ]


def test_a_kernel_does_not_find_it_behind_a_packed_archive() -> None:
    """find_cpio_data stops at the first byte that begins no header."""
    archive = early(GenuineIntel=INTEL)
    assert find_early(archive, Vendor.AMD.path) is None
    assert find_early(b"\x28\xb5\x2f\xfd" + archive, Vendor.INTEL.path) is None
    assert find_early(bytes(8) + archive, Vendor.INTEL.path) == INTEL
    assert find_early(archive[:-3000], Vendor.INTEL.path) is None
