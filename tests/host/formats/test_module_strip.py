"""hostbuild.formats.modules.module_strip: what is left of a module is what it was, by binutils and by pyelftools."""

import io
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.modules.module_strip import signature_size, strip_module
from hostbuild.kernels.kernel import Kernel
from modaliasd.core.loading.signature import MARK
from tests.support.kernelfiles import plain_module
from tests.support.komaker import FakeModule, module_bytes
from tests.support.programs import require_program

GOING = (".debug", ".rela.debug", ".BTF", ".comment", ".group")
PROGRAM = """\
#include <stdio.h>
static int twice(int x) { return 2 * x; }
static int (*const table[])(int) = {twice, 0};
static char zeros[4096];
const char *greeting = "hello";
int main(void) { printf("%s %d %d\\n", greeting, table[0](21), zeros[7]); return 0; }
"""


def meaning(data: bytes) -> tuple[object, ...]:
    """What a linker, or the kernel, reads in a relocatable file: sections by name, symbols, relocations."""
    file = ELFFile(io.BytesIO(data))
    rows = list(file.iter_sections())
    table = file.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)

    def stays(name: str) -> bool:
        return bool(name) and not name.startswith(GOING)

    home = {number: row.name for number, row in enumerate(rows)}
    kept = [
        (row.name, row["sh_type"], row["sh_flags"], row["sh_addralign"], row["sh_entsize"], row.data())
        for row in rows
        if stays(row.name) and row["sh_type"] != "SHT_NOBITS"
    ]
    empty = [
        (row.name, row["sh_size"], row["sh_addralign"]) for row in rows if row["sh_type"] == "SHT_NOBITS"
    ]
    symbols = [
        (
            number,
            one.name,
            one["st_value"],
            one["st_size"],
            one["st_info"],
            home.get(one["st_shndx"], one["st_shndx"]),
        )
        for number, one in enumerate(table.iter_symbols())
    ]
    symbols = [one for one in symbols if not isinstance(one[5], str) or stays(one[5])]
    relocations = [
        (home[row["sh_info"]], one["r_offset"], one["r_info"], one.entry.get("r_addend"))
        for row in rows
        if isinstance(row, RelocationSection) and stays(row.name)
        for one in row.iter_relocations()
    ]
    return (kept, empty, [one for one in symbols if one[5]], relocations)


def sections(data: bytes) -> list[str]:
    return [row.name for row in ELFFile(io.BytesIO(data)).iter_sections() if row.name]


def compiled(tmp_path: Path, *options: str) -> Path:
    """A file of a compiler's, with debug sections in groups, relocated, and with weak alignments."""
    source, made = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text(PROGRAM)
    argv = [
        require_program("gcc"),
        "-c",
        "-O1",
        "-ffunction-sections",
        *options,
        "-o",
        str(made),
        str(source),
    ]
    subprocess.run(argv, check=True, timeout=60)
    return made


@pytest.mark.parametrize(
    "name", ["e1000", "virtio-gpu", "ext4", "xfs", "crc32c-intel", "snd-hda-intel", "nf_conntrack"]
)
@pytest.mark.slow
def test_a_module_keeps_its_meaning(name: str, debian_kernel: Kernel) -> None:
    """Sections, symbols and relocations are as before, by pyelftools; signature and type information are gone."""
    module = plain_module(debian_kernel, name)
    cut = strip_module(module)
    assert meaning(cut) == meaning(module)
    assert not cut.endswith(MARK)
    assert len(cut) < len(module)
    assert strip_module(cut) == cut


@pytest.mark.toolchain
def test_as_small_as_binutils_makes_it(debian_kernel: Kernel, tmp_path: Path) -> None:
    """`strip --strip-debug` without BTF and .comment leaves the same, but for empty rows; readelf does not complain."""
    module = plain_module(debian_kernel, "e1000")
    path = tmp_path / "e1000.ko"
    path.write_bytes(module)
    argv = [require_program("strip"), "--strip-debug", "-R", ".BTF", "-R", ".comment", str(path)]
    subprocess.run(argv, check=True, timeout=60)
    theirs, ours = path.read_bytes(), strip_module(module)
    assert [one for one in sections(ours) if one not in sections(theirs)] == []
    assert 0 <= len(ours) - len(theirs) < 512
    path.write_bytes(ours)
    done = subprocess.run(
        [require_program("readelf"), "-aW", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_a_module_that_registers_functions_for_bpf_keeps_its_types(debian_kernel: Kernel) -> None:
    """nf_conntrack has .BTF_ids: without .BTF its init would fail (missing module BTF, cannot register kfuncs)."""
    assert {".BTF", ".BTF_ids"} <= set(sections(strip_module(plain_module(debian_kernel, "nf_conntrack"))))
    assert ".BTF" not in sections(strip_module(plain_module(debian_kernel, "e1000")))


@pytest.mark.toolchain
@pytest.mark.parametrize("options", [["-g3"], ["-g3", "-gz=zlib"], ["-g", "-fdebug-types-section"], ["-g0"]])
def test_what_is_left_links_and_runs(options: list[str], tmp_path: Path) -> None:
    """A compiler's file without its debug sections becomes the same program."""
    made = compiled(tmp_path, *options)
    before = made.read_bytes()
    cut = strip_module(before)
    assert not [one for one in sections(cut) if ".debug" in one]
    assert meaning(cut) == meaning(before)
    made.write_bytes(cut)
    program = tmp_path / "a.out"
    subprocess.run([require_program("gcc"), "-o", str(program), str(made)], check=True, timeout=60)
    assert subprocess.run([program], capture_output=True, check=True, timeout=10).stdout == b"hello 42 0\n"


@pytest.mark.toolchain
def test_what_runs_and_what_is_foreign_stays_whole(tmp_path: Path) -> None:
    """A program, whose segments say where things lie, and a 32-bit file are not cut."""
    program = tmp_path / "a.out"
    subprocess.run(
        [require_program("gcc"), "-g", "-o", str(program), str(compiled(tmp_path, "-g"))],
        check=True,
        timeout=60,
    )
    for data in (program.read_bytes(), b"\x7fELF\x01\x01" + bytes(60), b"text", b""):
        assert strip_module(data) == data


@pytest.mark.parametrize(
    ("kind", "signer", "size", "cut"),
    [(2, 0, 100, 100), (1, 0, 100, 0), (2, 5, 100, 0), (2, 0, 10**6, 0), (2, 0, 0, 0)],
)
def test_a_signature_is_what_the_kernel_takes_for_one(kind: int, signer: int, size: int, cut: int) -> None:
    """mod_check_sig, kernel/module_signature.c: PKCS#7, no signer, no longer than the module; else it is left."""
    module = module_bytes(FakeModule("a"))
    trailer = bytes([0, 0, kind, signer, 0, 0, 0, 0]) + size.to_bytes(4, "big") + MARK
    signed = module + b"s" * 100 + trailer
    assert signature_size(signed) == (cut + len(trailer) if cut or size == 0 else 0)
    assert strip_module(signed) == signed[: len(signed) - signature_size(signed)]


@pytest.mark.slow
@given(data=st.data())
def test_damaged_modules_are_left_alone(data: st.DataObject, debian_kernel: Kernel) -> None:
    """Whatever is changed in a module or cut off it, nothing is raised, and no more than sections goes."""
    module = bytearray(plain_module(debian_kernel, "crc32c-intel"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(st.integers(0, 63), st.integers(0, len(module) - 1)))
        module[at] = data.draw(st.integers(0, 255))
    module = module[: data.draw(st.one_of(st.just(len(module)), st.integers(0, len(module))))]
    assert len(strip_module(bytes(module))) <= len(module)


@pytest.mark.parametrize("align", [1 << 15, 1 << 40, (1 << 64) - 1])
def test_an_alignment_takes_no_memory(align: int, debian_kernel: Kernel) -> None:
    """A section that would have to begin at a multiple of a terabyte: its module is left alone, and none grows."""
    module = bytearray(plain_module(debian_kernel, "crc32c-intel"))
    (table,) = struct.unpack_from("<Q", module, 40)
    (rows,) = struct.unpack_from("<H", module, 60)
    for number in range(1, rows):
        struct.pack_into("<Q", module, table + number * 64 + 48, align)
    assert len(strip_module(bytes(module))) <= len(module)
