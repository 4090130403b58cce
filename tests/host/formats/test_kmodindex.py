"""hostbuild.formats.kmodindex: modules.dep.bin as depmod writes it."""

import subprocess
from pathlib import Path

import pytest

from hostbuild.formats import kmodindex
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
