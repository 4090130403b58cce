"""image/kept.py: a key that changes with whatever goes into an image, and with nothing else."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.errors import InputError
from hostbuild.image.build import ImageOptions
from hostbuild.image.kept import key_of
from hostbuild.kernels.kernel import Kernel
from hostbuild.testing.images import options_of
from hostbuild.testing.marks import ImageWish


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "a.ko").write_bytes(b"a")
    return Kernel(tmp_path / "vmlinuz", "6.1.0", "00", "here", modules=modules)


def test_the_same_gives_the_same(kernel: Kernel, tmp_path: Path) -> None:
    """An overlay of the same content elsewhere, and the kernel named in another way, change nothing."""
    overlays = []
    for name in ("one", "two"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/x").write_text("x")
        overlays.append(tmp_path / name)
    keys = {
        key_of(ImageOptions(kernel=spec, overlays=(laid,)), kernel)
        for spec in ("a", "b")
        for laid in overlays
    }
    assert len(keys) == 1


def test_whatever_goes_in_changes_it(kernel: Kernel, tmp_path: Path) -> None:
    """Options, an overlay's content and modes, a module built anew, firmware, another kernel: each another image."""
    plain = ImageOptions()
    overlay, firmware = tmp_path / "overlay", tmp_path / "firmware"
    for directory in (overlay, firmware):
        directory.mkdir()
        (directory / "x").write_text("x")
    laid = replace(plain, overlays=(overlay,))
    fed = replace(plain, firmware_dirs=(firmware,))
    keys = [key_of(one, kernel) for one in (plain, replace(plain, modules="none"), laid, fed)]
    keys.append(key_of(plain, replace(kernel, sha256="01")))
    (overlay / "x").write_text("y")
    keys.append(key_of(laid, kernel))
    (overlay / "x").chmod(0o755)
    keys.append(key_of(laid, kernel))
    assert kernel.modules is not None
    os.utime(kernel.modules / "a.ko", ns=(1, 1))
    keys.append(key_of(plain, kernel))
    (firmware / "x").write_text("longer")
    keys.append(key_of(fed, kernel))
    assert len(set(keys)) == len(keys)


def test_wishes_are_options() -> None:
    """What a mark says arrives as make-image has it; a word that it does not know is refused."""
    wish = ImageWish(modules="none", modprobe="kmod", extras=("network",), overlay=(Path("x"),))
    options = options_of(wish, "deb:x")
    assert (options.kernel, options.modules, options.overlays) == ("deb:x", "none", (Path("x"),))
    assert (options.modprobe.value, [one.value for one in options.extras]) == ("kmod", ["network"])
    with pytest.raises(InputError, match="did you mean network"):
        options_of(replace(wish, extras=("netwrok",)), None)
