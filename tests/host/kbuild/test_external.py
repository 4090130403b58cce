"""hostbuild.kbuild.external: drivers of one's own, compiled against Debian's headers that nobody installed."""

from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.arch import Arch, is_foreign
from hostbuild.errors import InputError, WorldError
from hostbuild.formats.elf import modinfo
from hostbuild.kbuild.external import build_overlay
from hostbuild.kernels.kernel import Kernel

SOURCE = """#include <linux/module.h>
static int __init begin(void) { return 0; }
module_init(begin);
MODULE_ALIAS("test:alias");
MODULE_LICENSE("GPL");
"""


def driver(directory: Path, source: str = SOURCE) -> Path:
    directory.mkdir()
    (directory / "own.c").write_text(source)
    (directory / "Makefile").write_text("obj-m := own.o\n")
    return directory


@pytest.mark.net
@pytest.mark.toolchain
def test_a_module_is_built_for_the_kernel(debian_kernel: Kernel, tmp_path: Path) -> None:
    """It has the kernel's version magic and its own alias, lies where make-image looks, and its source is untouched."""
    source, overlay = driver(tmp_path / "own"), tmp_path / "overlay"
    overlay.mkdir()
    before = sorted(source.iterdir())
    assert build_overlay(source, debian_kernel, overlay) == overlay
    module = overlay / f"usr/lib/modules/{debian_kernel.version}/extra/own.ko"
    with module.open("rb") as stream:
        found = modinfo(stream)
    assert found["vermagic"] == (debian_kernel.vermagic,)
    assert found["alias"] == ("test:alias",)
    assert sorted(source.iterdir()) == before


@pytest.mark.net
@pytest.mark.toolchain
def test_a_mistake_is_the_compilers_to_tell(debian_kernel: Kernel, tmp_path: Path) -> None:
    """What does not compile is the caller's input, and the compiler's words are in the message."""
    source = driver(tmp_path / "own", "int x = nonsense;\n")
    with pytest.raises(InputError, match=r"own does not compile:[\s\S]*nonsense"):
        build_overlay(source, debian_kernel, tmp_path)


def test_no_makefile(tmp_path: Path) -> None:
    """A directory that is no external module is refused with what it lacks."""
    kernel = Kernel(tmp_path / "vmlinuz", "6.1.0", "00", "here")
    with pytest.raises(InputError, match="has no Makefile"):
        build_overlay(tmp_path, kernel, tmp_path)


def test_a_kernel_of_another_architecture(tmp_path: Path) -> None:
    """The headers' programs would be that one's: it is said before anything is fetched."""
    foreign = next(arch for arch in Arch if is_foreign(arch))
    kernel = Kernel(tmp_path / "vmlinuz", "6.1.0", "00", "linux-image", arch=foreign)
    with pytest.raises(WorldError, match=f"linux-image is for {foreign}") as caught:
        build_overlay(driver(tmp_path / "own"), kernel, tmp_path)
    assert foreign.facts.cross in caught.value.hint


def test_a_kernel_without_headers(debian_kernel: Kernel, tmp_path: Path) -> None:
    """For a kernel that is from no package, there are no headers to fetch."""
    source = driver(tmp_path / "own")
    with pytest.raises(WorldError, match="is not from a package"):
        build_overlay(source, replace(debian_kernel, package=None), tmp_path)
