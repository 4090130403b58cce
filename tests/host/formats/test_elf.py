"""ELF: libraries against ldd and readelf, .modinfo against the fields of a real module."""

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.formats import elf
from hostbuild.formats.elf import ElfError
from hostbuild.formats.modules.modfile import read_module
from hostbuild.kernels.kernel import Kernel
from tests.support.fuzzing import examples
from tests.support.programs import require_program

BINARIES = ["/usr/bin/bash", "/usr/bin/cpio", "/usr/bin/bsdtar", "/usr/bin/xz", "/usr/bin/kmod"]


def ldd(program: str) -> dict[str, str]:
    """Ask the loader: soname -> path; the loader itself under its own name, no vDSO."""
    text = subprocess.run(["ldd", program], capture_output=True, check=True, timeout=10, text=True).stdout
    found = {}
    for line in text.splitlines():
        if match := re.match(r"\s*(\S+) => (\S+) \(0x", line):
            found[match[1]] = match[2]
        elif match := re.match(r"\s*(/\S+) \(0x", line):
            found[Path(match[1]).name] = match[1]
    return found


@pytest.mark.parametrize("program", BINARIES, ids=lambda p: Path(p).name)
def test_closure_is_what_the_loader_maps(program: str) -> None:
    """The closure over DT_NEEDED names exactly the libraries that ldd names."""
    expected = ldd(program)
    closed = elf.closure(
        [Path(program)], lambda soname: Path(expected[soname]) if soname in expected else None
    )
    assert set(closed) == set(expected)


@pytest.mark.toolchain
@pytest.mark.parametrize("program", BINARIES[:2], ids=lambda p: Path(p).name)
def test_interpreter_is_what_readelf_prints(program: str) -> None:
    """The program's loader is the one that readelf -l reads."""
    text = subprocess.run(
        [require_program("readelf"), "-l", program], capture_output=True, check=True, timeout=10, text=True
    )
    match = re.search(r"program interpreter: (\S+)\]", text.stdout)
    assert match is not None
    with Path(program).open("rb") as stream:
        assert elf.interpreter(stream) == match[1]


def test_static_program_needs_nothing() -> None:
    """busybox-static has neither a loader nor libraries."""
    with Path("/usr/bin/busybox").open("rb") as stream:
        assert elf.interpreter(stream) is None
        assert elf.needed(stream) == ()


def test_missing_library_is_named() -> None:
    """The error names the program and the library."""
    with pytest.raises(ElfError, match=r"/usr/bin/bash needs the library lib\S+"):
        elf.closure([Path("/usr/bin/bash")], lambda _soname: None)


def parsed(parse: Callable[[BinaryIO], object], data: bytes) -> object:
    """Give what `parse` makes of the bytes, None if it refuses them."""
    try:
        return (parse(io.BytesIO(data)),)
    except ElfError:
        return None


@settings(max_examples=examples(50), deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    """Arbitrary bytes, also behind an ELF magic, end in ElfError and in no other exception."""
    for parse in (elf.needed, elf.interpreter, elf.modinfo):
        assert parsed(parse, data) is None or data.startswith(elf.MAGIC)
        parsed(parse, elf.MAGIC + b"\2\1\1" + data)


def test_parse_modinfo() -> None:
    """Fields may come again, may be empty, and may be padded with NULs."""
    assert elf.parse_modinfo(b"license=GPL\0\0\0alias=a=b\0depends=\0alias=c\0noise\0") == {
        "license": ("GPL",),
        "alias": ("a=b", "c"),
        "depends": ("",),
    }


@pytest.mark.net
def test_modinfo_of_a_real_module_is_what_modinfo_prints(debian_kernel: Kernel) -> None:
    """kmod's modinfo prints the same aliases, dependencies and vermagic for e1000."""
    assert debian_kernel.modules is not None
    path = next(debian_kernel.modules.glob("kernel/drivers/net/ethernet/intel/e1000/e1000.ko*"))
    fields = elf.modinfo(io.BytesIO(read_module(path)))
    for name in ("alias", "vermagic", "license"):
        argv = [require_program("modinfo"), "-F", name, str(path)]
        printed = subprocess.run(
            argv, capture_output=True, check=True, timeout=10, text=True
        ).stdout.splitlines()
        assert sorted(fields[name]) == sorted(printed)
