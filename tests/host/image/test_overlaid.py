"""Overlays' modules and modprobe.d count like the kernel's own: image/modules/overlaid.py, configured.py, check.py."""

import lzma
import os
import subprocess
from pathlib import Path

import pytest

from hostbuild.image.modules.configured import words_of_command
from tests.support.imagetree import MAGIC, VERSION, pack_modules
from tests.support.komaker import FakeModule, make_tree, module_bytes
from tests.support.programs import require_program

INSIDE = f"lib/modules/{VERSION}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A kernel of six modules."""
    more = {"vfio_pci": ["vfio"]}
    names = ("e1000", "vfio", "vfio_pci", "helper", "later", "rng")
    make_tree(tmp_path / "k", VERSION, [FakeModule(n, needs=more.get(n, ()), vermagic=MAGIC) for n in names])
    return tmp_path / "k"


def lay(overlay: Path, path: str, content: bytes | str) -> Path:
    """Write a file of an overlay; give the overlay."""
    file = overlay / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return overlay


def test_a_module_of_an_overlay_has_its_lines(root: Path, tmp_path: Path) -> None:
    """It is in modules.dep and modules.alias, what it needs comes along, and compressed it is converted."""
    mine = FakeModule("mine", needs=["vfio-pci"], aliases=["usb:v1d*"], vermagic=MAGIC)
    overlay = lay(tmp_path / "ov", f"{INSIDE}/extra/mine.ko.xz", lzma.compress(module_bytes(mine)))
    packed = pack_modules(root, "rng", overlays=[overlay])
    assert "extra/mine.ko: kernel/vfio_pci.ko kernel/vfio.ko" in packed.dep
    assert b"alias usb:v1d* mine" in packed.files["modules.alias"]
    assert packed.modules == ["extra/mine.ko", "kernel/rng.ko", "kernel/vfio.ko", "kernel/vfio_pci.ko"]
    alone = pack_modules(root, "none", overlays=[overlay])
    assert alone.modules == ["extra/mine.ko", "kernel/vfio.ko", "kernel/vfio_pci.ko"]


def test_it_takes_the_place_of_the_kernels(root: Path, tmp_path: Path) -> None:
    """A module of the same name is the overlay's, wherever the kernel's own lies; only one is carried."""
    newer = FakeModule("rng", aliases=["new:*"], vermagic=MAGIC)
    overlay = lay(tmp_path / "ov", f"usr/{INSIDE}/updates/rng.ko", module_bytes(newer))
    packed = pack_modules(root, "rng", overlays=[overlay])
    assert packed.modules == ["updates/rng.ko"]
    assert packed.dep == ["updates/rng.ko:"]


def test_indexes_of_an_overlay_do_not_count(root: Path, tmp_path: Path) -> None:
    """A whole module tree laid over the image brings its modules; its modules.dep would lack the kernel's."""
    lay(tmp_path / "ov", f"{INSIDE}/modules.dep", "kernel/none.ko:\n")
    overlay = lay(
        tmp_path / "ov", f"{INSIDE}/kernel/mine.ko", module_bytes(FakeModule("mine", vermagic=MAGIC))
    )
    packed = pack_modules(root, "rng", overlays=[overlay])
    assert packed.dep == ["kernel/mine.ko:", "kernel/rng.ko:"]
    assert any("modules.dep is left out" in warning for warning in packed.warnings)


def test_what_is_no_module_is_told_of(root: Path, tmp_path: Path) -> None:
    """A FIFO, a link to nowhere and a damaged file get no line, and are named."""
    overlay = lay(tmp_path / "ov", "etc/x", "")
    folder = overlay / INSIDE
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.ko")
    (folder / "gone.ko").symlink_to("/opt/gone.ko")
    packed = pack_modules(root, "rng", overlays=[overlay])
    assert packed.dep == ["kernel/rng.ko:"]
    assert len(packed.warnings) == 2
    (folder / "text.ko").write_text("text")
    packed = pack_modules(root, "rng", overlays=[overlay])
    assert packed.dep == ["kernel/rng.ko:"]
    (told,) = (one for one in packed.warnings if "text.ko" in one)
    assert "is damaged: it is not an ELF file; it is laid as it is" in told


@pytest.mark.parametrize(
    "line",
    [
        "softdep e1000 pre: vfio-pci",
        "softdep e1* post: vfio-pci",
        "install e1000 /sbin/modprobe -q vfio-pci; /sbin/modprobe --ignore-install e1000",
        "alias wanted vfio_pci\nsoftdep e1000 pre: wanted",
    ],
)
def test_modprobe_d_counts_for_what_goes_along(line: str, root: Path, tmp_path: Path) -> None:
    """All that kmod would insert or run for a module, by that modprobe.d, is in the image."""
    overlay = lay(tmp_path / "ov", "etc/modprobe.d/vfio.conf", f"{line}\noptions vfio-pci ids=8086:100e\n")
    where: list[str | Path] = ["-C", overlay / "etc/modprobe.d", "-d", root, "-S", VERSION]
    command = [require_program("modprobe"), *where, "-D", "e1000"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    assert "vfio" in said
    packed = pack_modules(root, "e1000", overlays=[overlay])
    assert packed.modules == ["kernel/e1000.ko", "kernel/vfio.ko", "kernel/vfio_pci.ko"]
    assert packed.warnings == []


def test_weakdeps_aliases_and_blacklists_of_an_overlay(root: Path, tmp_path: Path) -> None:
    """A weakdep and an alias's module come along; a blacklist keeps nothing out, which may be loaded by name."""
    text = "weakdep e1000 later\nalias pci:v00001* helper\nblacklist e1000\n"
    overlay = lay(tmp_path / "ov", "usr/lib/modprobe.d/a.conf", text)
    packed = pack_modules(root, "e1000", overlays=[overlay])
    assert packed.modules == ["kernel/e1000.ko", "kernel/helper.ko", "kernel/later.ko"]


def test_what_comes_to_nothing_is_told_of(root: Path, tmp_path: Path) -> None:
    """A softdep or an alias that leads nowhere, and a line that is none, each with its place; a hidden file is none."""
    text = "softdep e1000 pre: nobody\nalias x:* neither\nnonsense\n"
    overlay = lay(tmp_path / "ov", "etc/modprobe.d/a.conf", text)
    lay(overlay, "lib/modprobe.d/a.conf", "softdep e1000 pre: hidden\n")
    warnings = pack_modules(root, "e1000", overlays=[overlay]).warnings
    assert [warning.split(": ")[0] for warning in warnings] == [
        f"/etc/modprobe.d/a.conf:{line}" for line in (3, 1, 2)
    ]


def test_words_of_a_command() -> None:
    """Of an install line the modules count that its modprobes are given, not the programs and options beside them."""
    command = "/sbin/modprobe -q --ignore-install a && { modprobe b-c d; } || echo loop | /bin/true"
    assert words_of_command(command) == ["a", "b-c", "d"]
