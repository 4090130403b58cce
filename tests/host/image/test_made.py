"""image/made.py: an image of which nothing has changed is not made again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.formats.manifest import kernel_path, manifest_path
from hostbuild.image.build import ImageOptions
from hostbuild.image.made import make_image
from hostbuild.kernels.bzimage import KernelError
from hostbuild.kernels.kernel import Kernel

OPTIONS = ImageOptions(kernel="deb:linux-image-amd64", modules="none")


def write_to(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


CHANGES: dict[str, Callable[[Path], object]] = {
    "the image": write_to,
    "its manifest": lambda image: write_to(manifest_path(image)),
    "its kernel": lambda image: kernel_path(image).unlink(),
    "only the kernel's time": lambda image: os.utime(kernel_path(image), (1, 1)),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.mark.slow
def test_the_second_time_it_lies_there(place: Path) -> None:
    """The same bytes, with the time of now; the same in its manifest; another option makes another image."""
    image = place / "x.img"
    first, lay_there = make_image(image, OPTIONS)
    assert not lay_there
    data = image.read_bytes()
    os.utime(image, (1, 1))
    again, lay_there = make_image(image, OPTIONS)
    assert not lay_there, "its time was changed by somebody"
    again, lay_there = make_image(image, OPTIONS)
    assert lay_there
    assert image.stat().st_mtime > 1
    assert (image.read_bytes(), again.manifest) == (data, first.manifest)
    assert again.kernel == first.kernel
    assert not make_image(image, OPTIONS, again=True)[1]
    assert make_image(image, OPTIONS)[1]


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.slow
def test_what_somebody_has_changed_is_made_anew(place: Path, change: Callable[[Path], object]) -> None:
    """The image, what lies beside it, or only when it was written."""
    image = place / "y.img"
    make_image(image, OPTIONS)
    data = [path.read_bytes() for path in (image, manifest_path(image), kernel_path(image))]
    assert make_image(image, OPTIONS)[1]
    change(image)
    assert not make_image(image, OPTIONS)[1]
    assert [path.read_bytes() for path in (image, manifest_path(image), kernel_path(image))] == data


def test_the_kernel_is_the_options_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For another architecture or release it is that one's, and not the one that no option names."""
    asked: list[tuple[Arch | None, str]] = []

    def find(*_: object, arch: Arch | None, release: str) -> Kernel:
        asked.append((arch, release))
        raise KernelError("found")

    monkeypatch.setattr("hostbuild.image.build.require_kernel", find)
    with pytest.raises(KernelError, match="found"):
        make_image(place / "w.img", ImageOptions(arch=Arch.RISCV64, release="sid", modules="none"))
    assert asked == [(Arch.RISCV64, "sid")]


@pytest.mark.slow
def test_other_inputs_are_seen(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlay's content, and the time that files shall have, decide about the bytes."""
    image, overlay = place / "z.img", tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "note").write_text("one")
    laid = ImageOptions(kernel=OPTIONS.kernel, modules="none", overlays=(overlay,))
    make_image(image, laid)
    assert make_image(image, laid)[1]
    (overlay / "note").write_text("two")
    assert not make_image(image, laid)[1]
    assert make_image(image, laid)[1]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert not make_image(image, laid)[1]
