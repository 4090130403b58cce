"""hostbuild.image.modules.firmware: names, places, what is missing and for whom."""

import lzma
import os
from pathlib import Path

import pytest
import zstandard

from hostbuild.image.modules.firmware import find_firmware
from hostbuild.kernels.kernel_modules import builtin_values
from tests.support.imagetree import MAGIC, VERSION, find_kernel, pack_modules
from tests.support.komaker import FakeModule, make_tree


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and no firmware of this host."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("hostbuild.image.modules.firmware.SYSTEM_FIRMWARE", tmp_path / "nothing")


def write(path: Path, data: bytes) -> None:
    """Write a file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_the_kernels_places_in_its_order(tmp_path: Path) -> None:
    """updates/V, updates, V, the directory itself; all of them plain, then .zst, then .xz (firmware_loader/main.c)."""
    places = [f"updates/{VERSION}", "updates", VERSION, ""]
    order = [tmp_path / place / f"a.bin{ending}" for ending in ("", ".zst", ".xz") for place in places]
    for path in reversed(order):
        write(path, b"")
    for path in order:
        assert find_firmware("a.bin", [tmp_path], VERSION) == {"a.bin": path}
        path.unlink()
    assert find_firmware("a.bin", [tmp_path], VERSION) == {}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x[1].bin", ["x[1].bin"]),
        ("x[2].bin", []),
        ("*.bin", ["1.bin", "x[1].bin"]),
        ("star*.bin", ["star*.bin"]),
        ("d/fw-?.hcd", ["d/fw-1.hcd", "d/fw-2.hcd"]),
        ("*/fw-1.hcd", ["d/fw-1.hcd"]),
        ("**/fw-1.hcd", ["d/fw-1.hcd"]),
        ("**/deep.bin", []),
        ("/1.bin", ["1.bin"]),
        ("", []),
        ("/", []),
        ("/*(DEBLOBBED)*/", []),
        ("../secret", []),
        ("d/../../secret", []),
        ("d/./fw-1.hcd", []),
        ("*/../../secret", []),
        ("d", []),
        ("d/", []),
        ("pipe", []),
        ("a\0b", []),
        ("\udcff*", []),
        ("x" * 5000, []),
        ("x" * 5000 + "/*", []),
        ("[", []),
        ("[!*", []),
    ],
)
def test_names(name: str, found: list[str], tmp_path: Path) -> None:
    """Names are literal first, then `*` and `?` stand within one part; none fails, none leaves the directory."""
    folder = tmp_path / "firmware"
    for inside in ("1.bin", "x[1].bin", "star*.bin", "d/fw-1.hcd", "d/fw-2.hcd.xz", "d/e/deep.bin"):
        write(folder / inside, lzma.compress(b"x") if inside.endswith(".xz") else b"x")
    if name == "*.bin":
        (folder / "star*.bin").unlink()
    write(tmp_path / "secret", b"secret")
    os.mkfifo(folder / "pipe")
    assert list(find_firmware(name, [folder], VERSION)) == found


def test_what_is_there_comes_plain_and_what_is_missing_is_told(tmp_path: Path) -> None:
    """Compressed files are unpacked; drivers inside the kernel ask, too; what overlays bring needs nothing more."""
    tree = make_tree(
        tmp_path / "k",
        VERSION,
        [
            FakeModule("one", firmware=["a.bin", "gone.bin"], vermagic=MAGIC),
            FakeModule("two", firmware=["gone.bin", "laid.bin"], vermagic=MAGIC),
        ],
    )
    (tree / "modules.builtin.modinfo").write_bytes(
        b"in-side.firmware=b.bin\0in-side.license=GPL\0x.firmware=no.bin\0"
    )
    assert builtin_values(find_kernel(tmp_path / "k").modules, "firmware") == {
        "in_side": ("b.bin",),
        "x": ("no.bin",),
    }
    write(tmp_path / "fw/a.bin.zst", zstandard.ZstdCompressor().compress(b"A"))
    write(tmp_path / f"k/lib/firmware/{VERSION}/b.bin.xz", lzma.compress(b"B"))  # beside the kernel's modules
    write(tmp_path / "ov/lib/firmware/updates/laid.bin", b"L")
    packed = pack_modules(
        tmp_path / "k", "all", firmware=[tmp_path / "fw"], overlays=[tmp_path / "ov"], for_kmod=False
    )
    assert packed.tree["usr/lib/firmware/a.bin"].read() == b"A"
    assert packed.tree["usr/lib/firmware/b.bin"].read() == b"B"
    assert packed.firmware.present == ["a.bin", "b.bin", "laid.bin"]
    assert packed.firmware.wanted_by == {"gone.bin": ["one", "two"], "no.bin": ["x"]}
