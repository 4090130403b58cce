"""hostbuild.formats.programs.unwind: tables that nobody reads are empty, and the program is the same."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.programs.unwind import without_unwind_tables

TRUE = Path(shutil.which("true") or "/bin/true").read_bytes()
TABLES = (".eh_frame", ".eh_frame_hdr")


def tables_of(data: bytes) -> list[tuple[int, int]]:
    """Where pyelftools finds the tables: offsets and sizes."""
    found = [ELFFile(io.BytesIO(data)).get_section_by_name(name) for name in TABLES]
    return [(section["sh_offset"], section["sh_size"]) for section in found if section is not None]


def test_nothing_but_the_tables_changes() -> None:
    """They are zeros, of the same length; every other byte is as it was; and a second time changes nothing."""
    made = without_unwind_tables(TRUE)
    places = tables_of(TRUE)
    assert places
    expected = bytearray(TRUE)
    for offset, size in places:
        expected[offset : offset + size] = bytes(size)
    assert made == expected != TRUE
    assert without_unwind_tables(made) == made


def test_programs_run_without_them(tmp_path: Path) -> None:
    """This interpreter imports, raises and catches, and ends a thread, and a program of C runs."""
    program = tmp_path / "true"
    program.write_bytes(without_unwind_tables(TRUE))
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == 0
    real = Path(sys.executable).resolve()
    copy = tmp_path / "python"
    copy.write_bytes(without_unwind_tables(real.read_bytes()))
    copy.chmod(0o755)
    script = (
        "import json, threading\n"
        "t = threading.Thread(target=json.loads, args=('[1]',)); t.start(); t.join()\n"
        "try: json.loads('[')\n"
        "except ValueError: print('caught')\n"
    )
    done = subprocess.run(
        [copy, "-c", script], env={"PYTHONHOME": sys.base_prefix}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"caught\n"), done.stderr


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(60), TRUE[:5000]])
def test_what_is_no_program_stays(data: bytes) -> None:
    """Scripts, and files that are cut off or damaged, are the same afterwards."""
    assert without_unwind_tables(data) == data


def test_an_object_file_stays() -> None:
    """A module's tables are relocated with it: only what is linked, programs and libraries, is taken."""
    data = bytearray(TRUE)
    data[16:18] = (1).to_bytes(2, "little")  # ET_REL
    assert without_unwind_tables(bytes(data)) == data


@given(at=st.integers(0, len(TRUE) - 1), value=st.integers(0, 255), end=st.integers(0, len(TRUE)))
def test_no_damage_makes_it_fail(at: int, value: int, end: int) -> None:
    """Of a file with any byte changed, cut off anywhere, something of the same length comes out."""
    data = bytearray(TRUE)
    data[at] = value
    assert len(without_unwind_tables(bytes(data[:end]))) == end
