"""Images that are kept by what they are made of: hostbuild/image/kept.py."""

import os
import time
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.apt import Lists
from hostbuild.fs import sealed
from hostbuild.image import kept
from hostbuild.image.build import ImageOptions
from hostbuild.kernels.kernel import Kernel

DAY_S = 86400


def test_images_that_nobody_asked_for_in_a_long_time_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one makes room: images and records of old go, with their locks; what was used lately stays."""
    monkeypatch.setattr("hostbuild.debs.cache_directory", lambda: tmp_path)
    monkeypatch.setattr(kept, "key_of", lambda options, _kernel: options.modules)

    def build(_directory: Path, final: Path, *_more: object) -> Path:
        (sealed.root_of(final) / "image").mkdir(parents=True)
        return final

    monkeypatch.setattr(kept, "_build", build)
    monkeypatch.setattr(sealed, "find", lambda final: final if final.is_dir() else None)
    kernel = Kernel(tmp_path / "vmlinuz", "6.1", "", "")
    for key in ("old", "young"):
        kept.require_image(ImageOptions(modules=key), kernel=kernel)
    images = kept.images_directory()
    (images / f"old{kept.RECORD}").write_text("{}")
    (images / f"young{kept.RECORD}").write_text("{}")
    long_ago = time.time() - 365 * DAY_S
    for name in ("old", f"old{kept.RECORD}"):
        os.utime(images / name, (long_ago, long_ago))
    assert kept.find_image("absent") is None
    kept.require_image(ImageOptions(modules="new"), kernel=kernel)
    left = {path.name for path in images.iterdir()}
    assert left == {"young", "young.lock", f"young{kept.RECORD}", "new", "new.lock"}


def test_a_kernel_of_another_release_is_another_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest says in which release the package is found: who asks for one image is not given the other."""
    monkeypatch.setattr(kept, "_lists_key", lambda *_: "")
    keys = set()
    for release in ("", "bookworm"):
        package = debs.Package("linux-image-6.1", "1", "amd64", "0" * 64, 1, (), lists=Lists(release, ""))
        kernel = Kernel(tmp_path / "vmlinuz", "6.1", "", "", package=package)
        keys.add(kept.key_of(ImageOptions(), kernel))
    assert len(keys) == 2
