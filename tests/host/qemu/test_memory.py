"""hostbuild.qemu.memory and memory_probe: estimates against limits found by booting, and the search for them."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import UsageError
from hostbuild.formats.initramfs import newc
from hostbuild.formats.vmlinuz import init_size
from hostbuild.image.build import BuiltImage
from hostbuild.main import status_of
from hostbuild.qemu.memory import MIB, Bound, ImageSize, estimate, in_pages, require_enough
from hostbuild.qemu.memory_probe import find_least, read_estimate, read_size

_DEBIAN = 66682880  # init_size of Debian's 6.1.0-56-amd64
_TINY = 14757888  # of tinyconfig with the guest's fragment, 6.1.192


def _size(packed: float, unpacked: float, *, ramfs: bool = False) -> ImageSize:
    return ImageSize(int(packed * MIB), int(unpacked * MIB), 600, ramfs)


# Bisected on QEMU 7.2, machine virtio, to 1 or 2 MiB: packed and unpacked size in MiB, kernel, true limit.
_TRUTH = {
    "virtio selection": (_size(5.97, 16.48), _DEBIAN, 106),
    "default, zstd": (_size(11.40, 43.68), _DEBIAN, 159),
    "default, xz": (_size(9.25, 43.68), _DEBIAN, 157),
    "default, plain": (_size(43.11, 43.68), _DEBIAN, 192),
    "default, ramfs": (_size(11.40, 43.68, ramfs=True), _DEBIAN, 145),
    "tiny kernel": (_size(5.71, 15.04), _TINY, 51),
    "all modules, squashfs": (_size(74.78, 82.53, ramfs=True), _DEBIAN, 247),
    "all modules, zstd": (_size(93.74, 117.25), _DEBIAN, 395),
    "tiny kernel, ramfs": (_size(5.71, 15.04, ramfs=True), _TINY, 48),
}


@pytest.mark.parametrize(("image", "init_size", "truth"), _TRUTH.values(), ids=_TRUTH)
def test_predictions_hold(image: ImageSize, init_size: int, truth: int) -> None:
    """The prediction is within 5 % of the limit that boots have shown."""
    assert estimate(image, init_size).least == pytest.approx(truth, rel=0.05)


@given(st.integers(0, 1 << 31), st.integers(0, 1 << 31), st.booleans())
def test_both_conditions_hold_at_the_prediction(packed: int, unpacked: int, ramfs: bool) -> None:
    """What the rows name fits, and the unpacked image into half of what kernel and packed image leave."""
    found = estimate(ImageSize(packed, unpacked, 0, ramfs), _DEBIAN)
    rows = dict(found.rows)
    assert sum(rows.values()) <= found.least * MIB
    if not ramfs:
        taken = rows["kernel"] + rows["page descriptors"] + rows["firmware's holes"] + packed
        assert (found.least * MIB - taken) // 2 >= unpacked
    assert found.comfortable >= found.least + 64
    assert found.comfortable % 32 == 0


def test_the_bound_is_named() -> None:
    """A large image is bound by the tmpfs's half; as ramfs only by what there is."""
    assert estimate(_size(60, 400), _DEBIAN).bound is Bound.HALF
    assert estimate(_size(60, 400, ramfs=True), _DEBIAN).bound is Bound.WHOLE


def test_a_kernel_that_says_nothing_counts_as_a_large_one() -> None:
    """Without init_size the reckoning is that of a distribution's kernel."""
    assert estimate(_size(10, 40), None).least == pytest.approx(estimate(_size(10, 40), _DEBIAN).least, abs=2)


def test_less_than_needed_is_refused_with_the_reason() -> None:
    """The error says how much is needed and which condition fails; what is enough passes."""
    prediction = estimate(_size(11.4, 43.7), _DEBIAN)
    with pytest.raises(UsageError, match=r"128 MiB is too little .* needs 159: .* half"):
        require_enough(prediction, 128)
    require_enough(prediction, prediction.least)


@pytest.mark.parametrize("truth", [5, 88, 100, 112, 113, 140, 400])
def test_the_search_finds_the_limit(truth: int) -> None:
    """Wherever the limit is, inside the first interval or not, it is found to the step, in few boots."""
    boots: list[int] = []

    def booted(memory: int) -> bool:
        boots.append(memory)
        return memory >= truth

    assert truth <= find_least(booted, 88, 112, 1) < truth + 1
    assert len(boots) <= 20


def test_files_take_whole_pages() -> None:
    """A file of a byte takes a page, an empty one none."""
    assert in_pages([0, 1, 4096, 4097]) == 4 * 4096


def test_an_image_without_manifest_is_read_itself(tmp_path: Path) -> None:
    """The sizes of an image by another tool come out of its archive."""
    out = io.BytesIO()
    writer = newc.Writer(lambda data: out.write(data) and None)
    for number, size in enumerate((10, 5000)):
        writer.add(newc.Member(f"f{number}", 0o100644, ino=number + 1, nlink=1, mtime=0), bytes(size))
    writer.close()
    image = tmp_path / "x.img"
    image.write_bytes(out.getvalue())
    assert read_size(image, {}) == ImageSize(len(out.getvalue()), 3 * 4096, 2)
    assert read_size(image, {}, "quiet rootfstype=ramfs").ramfs


def test_what_is_unpacked_counts_not_what_is_packed(tmp_path: Path) -> None:
    """A file with two names takes room once; one that is written over, or has no directory, takes none."""
    out = io.BytesIO()
    for members in (
        [("a", 1, 2, 0), ("b", 1, 2, 5000), ("c", 2, 1, 40_000)],
        [("c", 3, 1, 10), ("no/directory", 4, 1, 40_000)],
    ):
        writer = newc.Writer(lambda data: out.write(data) and None)
        for name, ino, nlink, size in members:
            writer.add(newc.Member(name, 0o100644, ino=ino, nlink=nlink, mtime=0), bytes(size))
        writer.close()
    image = tmp_path / "x.img"
    image.write_bytes(out.getvalue())
    assert read_size(image, {}) == ImageSize(len(out.getvalue()), 3 * 4096, 2)


def test_manifest_and_archive_agree(image: BuiltImage) -> None:
    """The manifest's figures, which are quick to read, are the archive's."""
    assert read_size(image.image, image.manifest) == read_size(image.image, {})
    found = read_estimate(image.image, image.manifest, image.kernel.vmlinuz)
    reserved = init_size(image.kernel.vmlinuz.read_bytes())
    assert found == estimate(read_size(image.image, {}), reserved)


def test_the_command_says_what_the_memory_goes_for(
    image: BuiltImage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, sum and the bound's name, as JSON and as a table; they agree with the prediction."""
    found = read_estimate(image.image, image.manifest, image.kernel.vmlinuz)
    assert status_of(["ram", str(image.image), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "least": found.least,
        "auto": found.comfortable,
        "bound": "half",
        "rows": dict(found.rows),
        "proved": None,
    }
    assert status_of(["ram", str(image.image)]) == 0
    table = capsys.readouterr().out
    assert f"{found.least} MiB: {found.bound.value}" in table


@pytest.mark.slow
def test_run_refuses_what_cannot_do(image: BuiltImage, capsys: pytest.CaptureFixture[str]) -> None:
    """hostbuild run with too little memory starts nothing, and says how much it takes."""
    assert status_of(["run", str(image.image), "--memory", "64M"]) == 100
    said = capsys.readouterr().err
    assert "64 MiB is too little for this image" in said
    assert "--memory auto" in said
