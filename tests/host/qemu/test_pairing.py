"""hostbuild.qemu.pairing: an image is booted by a kernel that it has modules for, or not at all."""

import json
import struct
from pathlib import Path

import pytest

from hostbuild.errors import InputError
from hostbuild.formats.manifest import FORMAT, manifest_path
from hostbuild.formats.newc import Member, Writer
from hostbuild.main import status_of
from hostbuild.qemu.pairing import read_manifest_if_any, require_kernel_for

OURS = "6.1.0-1-amd64"
DIRECTORY, FILE = 0o40755, 0o100644


def write_kernel(path: Path, version: str) -> Path:
    """Write the beginning of a bzImage: the boot header, and the version that it points to."""
    data = bytearray(4096)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x400)
    text = f"{version} (somebody@somewhere) #1\0".encode()
    data[0x600 : 0x600 + len(text)] = text
    path.write_bytes(data)
    return path


def write_image(path: Path, names: dict[str, int]) -> Path:
    """Write an image of these members, path -> mode."""
    with path.open("wb") as out:
        archive = Writer(out.write)
        for number, (name, mode) in enumerate(names.items(), 1):
            archive.add(Member(name, mode, ino=number))
        archive.close()
    return path


def pair(image: Path, kernel: Path) -> Path:
    return require_kernel_for(image, read_manifest_if_any(image), str(kernel))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image for OURS without a manifest."""
    return write_image(tmp_path / "x.img", {f"usr/lib/modules/{OURS}": DIRECTORY, "init": FILE})


def test_the_kernel_of_the_modules_is_taken(image: Path, tmp_path: Path) -> None:
    """The kernel whose version the image has modules for boots it."""
    kernel = write_kernel(tmp_path / "vmlinuz", OURS)
    assert pair(image, kernel) == kernel


def test_another_kernel_is_refused_without_a_manifest(image: Path, tmp_path: Path) -> None:
    """Another version is refused by what lies in the image itself, and the message has both and the fix."""
    kernel = write_kernel(tmp_path / "vmlinuz", "6.1.0-1-cloud-amd64")
    with pytest.raises(InputError, match=f"is 6.1.0-1-cloud-amd64, but .* are for {OURS}") as caught:
        pair(image, kernel)
    assert caught.value.exit_status == 100
    assert f"hostbuild make-image --kernel {kernel} -o {image}" in caught.value.hint
    assert "leave --kernel out" not in caught.value.hint, "nothing else names a kernel"


@pytest.mark.parametrize("stale", [False, True])
def test_the_manifest_counts_while_it_is_the_images_own(image: Path, tmp_path: Path, stale: bool) -> None:
    """A manifest saves reading the image; one of another image, by its size, is not believed."""
    manifest = {
        "format": FORMAT,
        "image": {"size": image.stat().st_size + stale},
        "kernel": {"version": "5.0-other", "vmlinuz": "/nowhere", "sha256": "", "origin": "/nowhere"},
        "append": "",
        "groups": {},
        "modules": [],
        "files": [],
    }
    manifest_path(image).write_text(json.dumps(manifest), encoding="ascii")
    ours, other = (write_kernel(tmp_path / version, version) for version in (OURS, "5.0-other"))
    right, wrong = (ours, other) if stale else (other, ours)
    assert pair(image, right) == right
    with pytest.raises(InputError, match="none of them could be loaded") as caught:
        pair(image, wrong)
    assert "leave --kernel out" in caught.value.hint


def test_modules_in_a_squashfs(tmp_path: Path) -> None:
    """Modules that lie in a file system of their own are those of its name."""
    names = {f"usr/lib/modules/{OURS}.squashfs": FILE}
    image = write_image(tmp_path / "s.img", names)
    assert pair(image, write_kernel(tmp_path / "right", OURS))
    with pytest.raises(InputError, match=f"are for {OURS}: none"):
        pair(image, write_kernel(tmp_path / "wrong", "1.2.3"))


def test_several_kernels_in_one_image(tmp_path: Path) -> None:
    """An image for several kernels is booted by each of them."""
    image = write_image(tmp_path / "m.img", {f"lib/modules/{one}": DIRECTORY for one in ("1.0", "2.0")})
    for version in ("1.0", "2.0"):
        assert pair(image, write_kernel(tmp_path / version, version))
    with pytest.raises(InputError, match=r"are for 1\.0, 2\.0"):
        pair(image, write_kernel(tmp_path / "3.0", "3.0"))


def test_an_image_without_modules_goes_with_any_kernel(tmp_path: Path) -> None:
    """Where there is nothing to load, nothing can be refused."""
    image = write_image(tmp_path / "none.img", {"init": FILE})
    assert pair(image, write_kernel(tmp_path / "any", "9.9"))


@pytest.mark.parametrize("command", [["run"], ["ram"]])
def test_no_machine_is_started(
    command: list[str], image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that boot refuse it with status 100, before any QEMU."""
    kernel = write_kernel(tmp_path / "vmlinuz", "1.2.3")
    assert status_of([*command, str(image), "--kernel", str(kernel)]) == 100
    said = capsys.readouterr().err
    assert "is 1.2.3, but the modules in" in said
    assert "hint: make the image for this kernel" in said
