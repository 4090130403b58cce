"""formats/pe.py: sections added to EFI programs, read back by pefile's own eyes and by binutils'."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pefile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.apt import OWN
from hostbuild.arch import Arch
from hostbuild.formats.pe import PeError, Section, add_sections, sections_of
from hostbuild.image.uki import require_stub
from hostbuild.ui import Silent
from tests.support.fuzzing import examples
from tests.support.programs import require_program


@pytest.fixture(scope="module")
def stub() -> bytes:
    """Debian's stub of systemd."""
    return require_stub(Arch.AMD64, OWN, Silent()).read_bytes()


ADDED = [
    Section(".cmdline", b"quiet"),
    Section(".initrd", b"x" * 70_000),
    Section(".linux", b"MZ" + b"y" * 5_000),
]


def test_what_is_added_is_there(stub: bytes) -> None:
    """The stub's sections are as they were, ours behind them, byte by byte."""
    before = sections_of(stub)
    assert sections_of(add_sections(stub, ADDED)) == [*before, *ADDED]


def test_nothing_overlaps(stub: bytes) -> None:
    """In the file and in memory each section has its own room, within the image's size; a page begins with each."""
    made = pefile.PE(data=add_sections(stub, ADDED), fast_load=True)
    memory = [(one.VirtualAddress, one.VirtualAddress + one.Misc_VirtualSize) for one in made.sections]
    file = [
        (one.PointerToRawData, one.PointerToRawData + one.SizeOfRawData)
        for one in made.sections
        if one.SizeOfRawData
    ]
    for places in (memory, file):
        assert all(
            end <= begin for (_, end), (begin, _) in zip(sorted(places), sorted(places)[1:], strict=False)
        )
    assert made.OPTIONAL_HEADER.SizeOfImage >= memory[-1][1]
    assert all(begin % 4096 == 0 for begin, _ in memory[-len(ADDED) :])
    assert max(end for _, end in file) == len(add_sections(stub, ADDED))


@pytest.mark.toolchain
def test_binutils_sees_the_same(stub: bytes, tmp_path: Path) -> None:
    """objcopy takes out what was put in."""
    path = tmp_path / "x.efi"
    path.write_bytes(add_sections(stub, ADDED))
    for one in ADDED:
        out = tmp_path / "out"
        words = ["-O", "binary", f"--only-section={one.name}", str(path), str(out)]
        subprocess.run([require_program("objcopy"), *words], check=True, capture_output=True)
        assert out.read_bytes().rstrip(b"\0") == one.content


def test_the_headers_have_an_end(stub: bytes) -> None:
    """More sections than the headers have room for are refused."""
    with pytest.raises(PeError, match="no room for"):
        add_sections(stub, [Section(".x", b"x")] * 200)


def test_a_header_that_claims_countless_sections_is_refused_at_once() -> None:
    """65,535 took pefile seconds, for each look at the file; the format allows 96."""
    with pytest.raises(PeError, match="claims 65535 sections"):
        sections_of(_STUB[:70] + b"\xff\xff" + _STUB[72:])


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000))
def test_damage_is_said(noise: bytes, at: int) -> None:
    """Noise, and a file that was cut or overwritten, give an error of ours or sections, and nothing else."""
    for data in (
        noise,
        b"MZ" + noise,
        _STUB[: at + 64] + noise,
        _STUB[:at] + noise + _STUB[at + len(noise) :],
    ):
        with suppress(PeError):
            assert [one.name for one in sections_of(add_sections(data, ADDED[:1]))][-1] == ADDED[0].name


# a PE file as small as one can be: DOS header, PE header, one section
_STUB = (
    b"MZ".ljust(60, b"\0")
    + (64).to_bytes(4, "little")
    + b"PE\0\0"
    + bytes.fromhex("6486 0100 00000000 00000000 00000000 f000 0602")
    + bytes.fromhex(
        "0b02 0000 00020000 00000000 00000000 00100000 00100000 0000000000000000 00100000 00020000"
    )
    + bytes(16)
    + bytes.fromhex("00300000 00040000 00000000 0a00 0000")
    + bytes(32)
    + bytes.fromhex("00000000 10000000")
    + bytes(128)
    + b".text\0\0\0"
    + bytes.fromhex("00020000 00100000 00020000 00040000 00000000 00000000 0000 0000 20000060")
).ljust(1024, b"\0") + bytes(512)
