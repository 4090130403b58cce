"""kernels/image_kernel.py: an image finds its kernel after it was moved, renamed or carried to another machine."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostbuild import debs, main
from hostbuild.errors import WorldError
from hostbuild.formats.manifest import ManifestError, dump, kernel_path, manifest_path, read_manifest
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.kernels.image_kernel import require_vmlinuz
from hostbuild.kernels.kernel import Kernel
from tests.support.ledgers import Q35

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The smallest image of Debian's kernel, from its package. Read-only for tests."""
    path = tmp_path_factory.mktemp("small") / "micro.img"
    return build_image(path, ImageOptions(kernel="deb:linux-image-amd64", modules="none"))


def moved(built: BuiltImage, directory: Path, name: str = "micro.img") -> Path:
    """Copy an image with its company to a directory, under another name."""
    directory.mkdir(exist_ok=True)
    for ending in ("", ".manifest.json", ".vmlinuz"):
        shutil.copy(built.image.with_name(f"micro.img{ending}"), directory / f"{name}{ending}")
    return directory / name


def change_manifest(image: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    told = read_manifest(image)
    change(told)
    manifest_path(image).write_bytes(dump(told))
    return told


@pytest.mark.slow
def test_the_kernel_lies_beside_the_image(small: BuiltImage, debian_kernel: Kernel) -> None:
    """A build leaves three files: the image, its manifest, and the very kernel."""
    names = sorted(path.name for path in small.image.parent.iterdir())
    assert names == ["micro.img", "micro.img.manifest.json", "micro.img.vmlinuz"]
    assert kernel_path(small.image).read_bytes() == debian_kernel.vmlinuz.read_bytes()


def test_the_manifest_names_no_path_of_this_host(small: BuiltImage) -> None:
    """With a kernel from a package, no byte of the manifest depends on where the cache is."""
    assert str(debs.cache_directory()) not in manifest_path(small.image).read_text()
    assert small.manifest["kernel"]["package"]["path"] == f"boot/vmlinuz-{small.kernel.version}"


def test_a_moved_and_renamed_image_boots(
    small: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the cache gone and apt out of reach, the three files alone are enough for `run`."""
    image = moved(small, tmp_path / "elsewhere", "other.img")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert main.status_of(["run", str(image), "--dry-run", "--accel", "tcg"]) == 0
    assert f"-kernel {kernel_path(image)}" in capsys.readouterr().out


def test_a_symlink_to_an_image_finds_its_company(small: BuiltImage, tmp_path: Path) -> None:
    """`latest.img` that points to an image has the manifest and the kernel of what it points to."""
    image = moved(small, tmp_path / "there")
    link = tmp_path / "latest.img"
    link.symlink_to(image)
    assert require_vmlinuz(link, read_manifest(link)) == kernel_path(image)


def test_the_kernel_comes_from_its_package_again(
    small: BuiltImage, tmp_path: Path, debian_kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the kernel beside it, or with another one there, the package's is taken; the other one is told of."""
    image = moved(small, tmp_path)
    kernel_path(image).unlink()
    assert require_vmlinuz(image, read_manifest(image)) == debian_kernel.vmlinuz
    assert capsys.readouterr().err == ""
    kernel_path(image).write_bytes(b"another")
    assert require_vmlinuz(image, read_manifest(image)) == debian_kernel.vmlinuz
    said = capsys.readouterr().err
    assert f"{kernel_path(image)}: it is not the kernel that the image was made for" in said
    assert f"taking {debian_kernel.vmlinuz}" in said


@pytest.mark.slow
def test_a_package_that_left_the_cache_is_fetched(
    small: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with an empty cache, apt brings the package of that version and SHA-256."""
    image = moved(small, tmp_path)
    kernel_path(image).unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    found = require_vmlinuz(image, read_manifest(image))
    assert found.is_relative_to(tmp_path / "empty/hostbuild/packages")
    assert found.read_bytes() == kernel_path(small.image).read_bytes()


def test_all_that_was_tried_is_told(small: BuiltImage, tmp_path: Path) -> None:
    """Where the kernel is nowhere, the message names each place with its reason, and what to do."""
    image = moved(small, tmp_path)
    kernel_path(image).unlink()
    gone = {"version": "0.0.1-1"}
    told = change_manifest(image, lambda told: told["kernel"]["package"].update(gone))
    told["kernel"]["vmlinuz"] = str(tmp_path / "recorded")
    with pytest.raises(ManifestError) as caught:
        require_vmlinuz(image, told)
    first, *rest = str(caught.value).splitlines()
    assert first == f"the kernel {small.kernel.version}, which {image} was made for, cannot be found:"
    name = told["kernel"]["package"]["name"]
    assert rest == [
        f"  {kernel_path(image)}: it does not exist",
        f"  {tmp_path / 'recorded'}: it does not exist",
        f"  the package {name} 0.0.1-1: {name} 0.0.1-1 is not in apt's lists (any more)",
    ]
    assert caught.value.hint.startswith("--kernel VMLINUZ, or hostbuild make-image -o ")


@pytest.mark.slow
def test_a_kernel_named_by_its_path_is_found_there(
    small: BuiltImage, debian_kernel: Kernel, tmp_path: Path
) -> None:
    """The manifest keeps the path of a kernel that is from no package: the second place to look."""
    (tmp_path / "boot").mkdir()
    vmlinuz = tmp_path / "boot/vmlinuz"
    shutil.copy(debian_kernel.vmlinuz, vmlinuz)
    built = build_image(tmp_path / "x.img", ImageOptions(kernel=str(vmlinuz), modules="none"))
    assert require_vmlinuz(built.image, built.manifest) == kernel_path(built.image)
    kernel_path(built.image).unlink()
    assert require_vmlinuz(built.image, built.manifest) == vmlinuz
    vmlinuz.write_bytes(b"another")
    with pytest.raises(
        ManifestError, match=r"boot/vmlinuz: it is not the kernel that the image was made for"
    ):
        require_vmlinuz(built.image, built.manifest)


def test_an_image_renamed_alone_learns_where_its_manifest_is(
    small: BuiltImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `mv micro.img other.img` the message says which two files to rename, too; then it boots."""
    image = moved(small, tmp_path)
    other = image.rename(tmp_path / "other.img")
    assert main.status_of(["run", str(other), "--dry-run"]) == 100
    said = capsys.readouterr().err
    assert "other.img is for: it has no manifest other.img.manifest.json" in said
    assert (
        f"mv {manifest_path(image)} {manifest_path(other)}; mv {kernel_path(image)} {kernel_path(other)}"
        in said
    )
    manifest_path(image).rename(manifest_path(other))
    kernel_path(image).rename(kernel_path(other))
    assert main.status_of(["run", str(other), "--dry-run", "--accel", "tcg"]) == 0


def test_without_a_manifest_the_kernel_has_to_be_named(
    small: BuiltImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image without a manifest is refused; the kernel beside it is proposed, and boots it."""
    image = moved(small, tmp_path)
    manifest_path(image).unlink()
    for command in ("run", "ram"):
        assert main.status_of([command, str(image)]) == 100
        assert f"hint: --kernel {kernel_path(image)}" in capsys.readouterr().err
    argv = ["run", str(image), "--dry-run", "--accel", "tcg", "--kernel", str(kernel_path(image))]
    assert main.status_of(argv) == 0


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no kernel": lambda told: told.pop("kernel"),
    "a kernel that is a string": lambda told: told.update(kernel="6.1"),
    "no hash": lambda told: told["kernel"].pop("sha256"),
    "another modprobe": lambda told: told.update(modprobe="toybox"),
    "a module that is a number": lambda told: told.update(modules=[5]),
    "a module without a size": lambda told: told.update(modules=[{"name": "x"}]),
    "files that are a number": lambda told: told.update(files=3),
    "a package outside the cache": lambda told: told["kernel"]["package"].update(name="../../x"),
    "a file outside the package": lambda told: told["kernel"]["package"].update(path="../../../etc/passwd"),
    "a package without a version": lambda told: told["kernel"]["package"].pop("version"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_manifest_is_called_so(
    name: str, small: BuiltImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON of another shape is refused at the door: exit status 100, the manifest's name, no traceback."""
    image = moved(small, tmp_path)
    change_manifest(image, DAMAGE[name])
    for argv in (["run", str(image), "--dry-run"], ["ram", str(image)]):
        assert main.status_of(argv) == 100
        assert f"the manifest {manifest_path(image)} is damaged: its " in capsys.readouterr().err
    report = ["report", str(Q35), "-o", str(tmp_path / "x.html"), "--manifest", str(manifest_path(image))]
    assert main.status_of(report) == 100
    assert f"the manifest {manifest_path(image)} is damaged: its " in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=["empty", "cut", "binary", "deep"]
)
def test_a_manifest_that_is_not_json(text: bytes, small: BuiltImage, tmp_path: Path) -> None:
    """What is not JSON at all is called damaged, too."""
    image = moved(small, tmp_path)
    manifest_path(image).write_bytes(text)
    with pytest.raises(ManifestError, match="is damaged: it is not JSON"):
        read_manifest(image)


def test_another_format_is_refused(small: BuiltImage, tmp_path: Path) -> None:
    """A manifest of a later hostbuild is not guessed at."""
    image = moved(small, tmp_path)
    manifest_path(image).write_text(json.dumps({"format": 2}))
    with pytest.raises(ManifestError, match="is not of format 1"):
        read_manifest(image)


@pytest.mark.slow
def test_the_kernel_is_replaced_with_the_image(
    small: BuiltImage, debian_kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build under a name that is in use replaces all three files; one that fails replaces none."""
    image = moved(small, tmp_path)
    kernel_path(image).write_bytes(b"of yesterday")

    def refuse(*_: object) -> bytes:
        raise WorldError("no more room")

    with monkeypatch.context() as patch:
        patch.setattr("hostbuild.image.pack._read_kernel", refuse)
        with pytest.raises(WorldError):
            build_image(image, ImageOptions(kernel=str(debian_kernel.vmlinuz), modules="none"))
    assert kernel_path(image).read_bytes() == b"of yesterday"
    assert len(list(tmp_path.iterdir())) == 3
    build_image(image, ImageOptions(kernel=str(debian_kernel.vmlinuz), modules="none"))
    assert kernel_path(image).read_bytes() == debian_kernel.vmlinuz.read_bytes()
