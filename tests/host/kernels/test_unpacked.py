"""hostbuild.kernels.unpacked: a kernel unpacked once, to be entered by PVH."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from hostbuild.formats.vmlinuz import has_pvh_entry, kernel_of
from hostbuild.kernels import unpacked
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.unpacked import unpacked_kernel
from tests.support.programs import require_program


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostbuild.debs.cache_directory", lambda: tmp_path)


@pytest.mark.toolchain
def test_debians_kernel_is_unpacked_once(
    debian_kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is the kernel inside, with the note that readelf sees; the second time it is taken from the cache."""
    found = unpacked_kernel(debian_kernel.vmlinuz)
    assert found is not None
    assert found.read_bytes() == kernel_of(debian_kernel.vmlinuz.read_bytes())
    argv = [require_program("readelf"), "-nW", str(found)]
    notes = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert any(
        line.split()[0] == "Xen" and "0x00000012" in line for line in notes.splitlines() if line.strip()
    )
    monkeypatch.setattr(unpacked, "kernel_of", lambda _: pytest.fail("unpacked again"))
    assert unpacked_kernel(debian_kernel.vmlinuz) == found


def test_what_cannot_be_entered_so_is_left_packed(tmp_path: Path) -> None:
    """An ELF file without the note, a text, and a file that is not there: none of them, and nothing is kept."""
    for content in (b"\x7fELF\x02\x01" + bytes(58), b"\x7fELF\x02\x01", b"text"):
        (tmp_path / "vmlinuz").write_bytes(content)
        assert not has_pvh_entry(content)
        assert unpacked_kernel(tmp_path / "vmlinuz") is None
    assert unpacked_kernel(tmp_path / "nowhere") is None
    assert list((tmp_path / "kernels").iterdir()) == []


def test_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four that were used last; each is 64 MB."""
    monkeypatch.setattr(unpacked, "kernel_of", lambda data: data)
    monkeypatch.setattr(unpacked, "has_pvh_entry", lambda _: True)
    made = []
    for number in range(6):
        (tmp_path / "vmlinuz").write_bytes(bytes([number]))
        found = unpacked_kernel(tmp_path / "vmlinuz")
        assert found is not None
        made.append(found)
        used = time.time() - 100 + number
        os.utime(found.parent.parent, (used, used))
    assert [path.is_file() for path in made] == [False, False, True, True, True, True]
