"""hostbuild.formats.elf_symbols: what kernel and modules give one another, held against kmod and one another."""

import contextlib
import io
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.check.kernel import magic_in
from hostbuild.formats import elf
from hostbuild.formats.elf import ElfError
from hostbuild.formats.elf_sections import machine_of
from hostbuild.formats.elf_symbols import kernel_exports, linkage, modinfo, parse_symvers
from hostbuild.formats.modules.modfile import read_module
from hostbuild.formats.vmlinuz import kernel_of
from hostbuild.kernels.kernel import Kernel
from tests.support.komaker import EM_AARCH64, FakeModule, module_bytes
from tests.support.programs import require_program


@pytest.fixture(scope="module")
def vmlinux(debian_kernel: Kernel) -> bytes:
    """Debian's kernel, unpacked."""
    return kernel_of(debian_kernel.vmlinuz.read_bytes())


def test_modules_as_modprobe_sees_them(debian_kernel: Kernel) -> None:
    """The checksums that modules were built with are those that `modprobe --dump-modversions` prints."""
    assert debian_kernel.modules is not None
    paths = sorted(debian_kernel.modules.glob("kernel/drivers/virtio/*.ko*"))
    assert len(paths) > 2
    for path in paths:
        argv = [require_program("modprobe"), "--dump-modversions", str(path)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
        rows = [line.split() for line in said.splitlines()]
        module = read_module(path)
        assert linkage(module).versions == {name: int(crc, 16) for crc, name in rows}
        assert modinfo(module) == elf.modinfo(io.BytesIO(module))


@pytest.mark.slow
def test_the_kernel_gives_what_its_modules_were_built_with(debian_kernel: Kernel, vmlinux: bytes) -> None:
    """Each symbol of some hundred modules is the kernel's or another module's, with the very checksum."""
    assert debian_kernel.modules is not None
    exports = kernel_exports(vmlinux)
    links = [
        linkage(read_module(path)) for path in debian_kernel.modules.glob("kernel/drivers/[nu]*/**/*.ko*")
    ]
    assert len(exports) > 5000
    assert len(links) > 300
    given_by_modules = {name: crc for link in links for name, crc in link.gives.items()}
    known = 0
    for link in links:
        for name in link.takes & exports.keys():
            assert link.versions[name] == exports[name]
            known += 1
        for name in link.takes & given_by_modules.keys():
            assert link.versions[name] == given_by_modules[name]
            known += 1
    assert known > 10_000


def test_the_kernels_own_version_magic(debian_kernel: Kernel, vmlinux: bytes) -> None:
    """It stands in the kernel, and is that of its modules."""
    assert magic_in(vmlinux, debian_kernel.version).split() == debian_kernel.vermagic.split()


def test_symvers() -> None:
    """Rows of vmlinux count, 0 is no checksum, and what is no row is passed over."""
    text = "0x11\ta\tvmlinux\tEXPORT_SYMBOL\t\n0x00\tb\tvmlinux\tEXPORT_SYMBOL\n0x3\tc\tdrivers/x\tEXPORT_SYMBOL\nzz\n"
    assert parse_symvers(text) == {"a": 0x11, "b": None}


def test_a_made_up_module() -> None:
    """A module of another machine: what it takes and gives, with the checksum that stands in the symbol."""
    link = linkage(module_bytes(FakeModule("a-b", needs=["c"], machine=EM_AARCH64)))
    assert (link.machine, link.takes) == (EM_AARCH64, frozenset({"c_symbol"}))
    assert link.gives == {"a_b_symbol": 0x1234}


@given(st.integers(0, 2000), st.binary(max_size=64))
def test_damaged_files(at: int, noise: bytes) -> None:
    """Whatever is wrong with a file, it is an ElfError."""
    whole = module_bytes(FakeModule("a", needs=["b"]))
    for data in (whole[:at], whole[:at] + noise + whole[at + len(noise) :], noise):
        for read in (linkage, kernel_exports, modinfo, machine_of):
            with contextlib.suppress(ElfError):
                read(data)


def with_sections(names: dict[str, bytes]) -> bytes:
    """A module with some more sections: binutils puts them in."""
    with tempfile.TemporaryDirectory() as staging:
        place = Path(staging)
        (place / "a.ko").write_bytes(module_bytes(FakeModule("a", needs=["weak_one", "hard"])))
        argv = [require_program("objcopy")]
        for number, (name, data) in enumerate(names.items()):
            (place / str(number)).write_bytes(data)
            argv += ["--add-section", f"{name}={place / str(number)}"]
        argv += ["--weaken-symbol", "weak_one_symbol"]
        subprocess.run([*argv, place / "a.ko", place / "b.ko"], check=True, timeout=20, capture_output=True)
        return (place / "b.ko").read_bytes()


@pytest.mark.toolchain
def test_checksums_as_kernels_since_6_14_have_them() -> None:
    """Names of any length in one section, 32 bits each in another (kernel/module/version.c); both are read."""
    old = struct.pack("<Q56s", 0x11, b"hard_symbol") + struct.pack("<Q56s", 0x22, b"old_symbol")
    long = b"a_symbol_of_more_than_the_fifty_five_bytes_that_a_row_of_versions_has"
    link = linkage(
        with_sections(
            {
                "__versions": old,
                "__version_ext_names": b"hard_symbol\0" + long + b"\0",
                "__version_ext_crcs": struct.pack("<II", 0x33, 0xFFFFFFFF),
            }
        )
    )
    assert link.versions == {"hard_symbol": 0x33, "old_symbol": 0x22, long.decode(): 0xFFFFFFFF}
    assert link.takes == {"weak_one_symbol", "hard_symbol"}
    assert link.weak == {"weak_one_symbol"}


@pytest.mark.toolchain
def test_exports_of_another_shape_are_unknown() -> None:
    """A table of addresses, as 32-bit kernels have it, leads out of the strings: nothing is claimed of it."""
    table = struct.pack("<III", 0, 1 << 20, 0)
    data = with_sections({"__ksymtab_strings": b"printk\0", "__ksymtab": table})
    assert kernel_exports(data) == {}
    near = struct.pack("<iii", 0, -4, 0)  # the name, beside the word that says how far it is
    assert kernel_exports(with_sections({"__ksymtab_strings": b"printk\0", "__ksymtab_gpl": near})) == {
        "printk": None
    }


def test_a_row_of_symvers_that_is_none() -> None:
    """A checksum that is no number passes its row over, and no other."""
    assert parse_symvers("0xq\ta\tvmlinux\tE\n0x1\tb\tvmlinux\tE\n0x2\tc\n") == {"b": 1}
