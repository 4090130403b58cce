"""hostbuild.formats.modules.kmodindex: modules.dep.bin as depmod writes it."""

import contextlib
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.modules import kmodindex
from hostbuild.kernels.kernel import Kernel
from modaliasd.core.kmod.names import module_name
from tests.support.komaker import FakeModule, make_tree
from tests.support.programs import require_program


def require_the_same_layout() -> None:
    """Skip where depmod puts an index's nodes into another order: readers take both, but the bytes differ."""
    said = subprocess.run(
        [require_program("depmod"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    version = said.split()[2]
    if int(version.partition(".")[0]) > 30:
        pytest.skip(f"the bytes are those of kmod 30; here is kmod {version}")


def _entries(dep: str) -> dict[str, str]:
    return {module_name(line.partition(":")[0]): line for line in dep.splitlines()}


def test_the_same_bytes_as_depmod_of_all_modules(debian_kernel: Kernel) -> None:
    """Of Debian's 4,000 modules the index is, byte for byte, the one that depmod wrote."""
    require_the_same_layout()
    assert debian_kernel.indexes is not None
    entries = _entries((debian_kernel.indexes / "modules.dep").read_text())
    assert len(entries) > 3000
    assert kmodindex.build(entries) == (debian_kernel.indexes / "modules.dep.bin").read_bytes()


@pytest.mark.parametrize("names", [(), ("a",), ("ab", "abc"), ("abc", "ab", "abd", "b"), ("x_1", "x-2")])
def test_the_same_bytes_as_depmod_of_few(names: tuple[str, ...], tmp_path: Path) -> None:
    """One key, keys that begin alike, a key that is the beginning of another, none at all: as depmod has them."""
    require_the_same_layout()
    tree = make_tree(tmp_path, "6.1.0-t", [FakeModule(name) for name in names])
    entries = _entries((tree / "modules.dep").read_text())
    assert kmodindex.build(entries) == (tree / "modules.dep.bin").read_bytes()


def test_a_key_that_cannot_be_one_is_refused() -> None:
    """Keys with NUL, and those that are not ASCII, would make an index that nobody reads as it was meant."""
    for key in ("a\0b", "ä"):
        with pytest.raises(ValueError, match=r"NUL|ascii"):
            kmodindex.build({key: ""})


@pytest.mark.parametrize("name", ["modules.dep", "modules.alias", "modules.symbols", "modules.builtin"])
def test_what_depmod_wrote_is_read(name: str, debian_kernel: Kernel) -> None:
    """Each of Debian's indexes holds what depmod wrote into the text beside it."""
    assert debian_kernel.indexes is not None
    read = kmodindex.read((debian_kernel.indexes / f"{name}.bin").read_bytes())
    text = (debian_kernel.indexes / name).read_text().splitlines()
    assert len(read) > 100
    if name == "modules.dep":
        assert dict(read) == _entries("\n".join(text))
    elif name == "modules.builtin":
        assert {key for key, _ in read} == {module_name(line) for line in text}
    else:  # in brackets a dash stays
        lines = [line.rpartition(" ") for line in text if line.startswith("alias ")]
        pairs = {(before.removeprefix("alias ").replace("-", "_"), module) for before, _, module in lines}
        assert {(key.replace("-", "_"), value) for key, value in read} == pairs


@given(st.dictionaries(st.text("ab_-01", min_size=1, max_size=6), st.text("xyz/: ", max_size=8)))
def test_what_is_built_is_read(entries: dict[str, str]) -> None:
    """Reading gives what was written, by key."""
    assert kmodindex.read(kmodindex.build(entries)) == sorted(entries.items())


@given(st.binary(max_size=200), st.integers(0, 60))
def test_a_damaged_index_is_an_error(noise: bytes, at: int) -> None:
    """Whatever stands in it: it is read, or refused, and reading ends."""
    whole = kmodindex.build({"abc": "x", "abd": "y", "b": "z"})
    for data in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        with contextlib.suppress(kmodindex.IndexFileError):
            kmodindex.read(data)


def test_an_index_that_leads_in_a_circle_is_refused() -> None:
    """A node with itself for a child is read to no end by who trusts it."""
    root = 0x20000000 | 12  # children
    circle = struct.pack(">III", 0xB007F457, 0x00020001, root) + b"aa" + struct.pack(">I", root)
    with pytest.raises(kmodindex.IndexFileError, match="in a circle"):
        kmodindex.read(circle)
