"""make-image asks check's rules before it writes: what would not boot is refused, what would not work is a warning."""

from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.check.kernel import read_kernel_of
from hostbuild.check.read import view_image
from hostbuild.check.rules import check
from hostbuild.errors import InputError
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.modules.storage import Store
from hostbuild.ui import Silent
from tests.host.check.test_breaks import other_checksum
from tests.support.breakage import Parts, read_parts, write_parts
from tests.support.programs import require_program

pytestmark = pytest.mark.net
KERNEL = "deb:linux-image-amd64"


def with_overlay(directory: Path, files: dict[str, tuple[str, int]]) -> ImageOptions:
    """A small image with an overlay: path -> text, mode."""
    overlay = directory / "overlay"
    for name, (text, mode) in files.items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    return ImageOptions(kernel=KERNEL, modules="none", overlays=(overlay,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "its mode is 0644"),
        ("#!/bin/bash\n", 0o755, "its interpreter /bin/bash is not in the image"),
        ("#!/bin/sh\r\n", 0o755, "carriage return"),
        ("mount -a\n", 0o755, "neither an ELF program nor a script"),
    ],
)
def test_what_would_not_boot_is_refused(text: str, mode: int, reason: str, tmp_path: Path) -> None:
    """With place, reason and fix; and no image is written."""
    with pytest.raises(InputError, match=f"^the image would not boot: /init: .*{reason}") as refused:
        build_image(tmp_path / "x.img", with_overlay(tmp_path, {"init": (text, mode)}))
    assert refused.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["overlay"]


def test_a_program_of_another_architecture(tmp_path: Path) -> None:
    """It is the kernel's architecture that counts, also where /init's own interpreter is the wrong one."""
    options = with_overlay(tmp_path, {"usr/bin/busybox": ("", 0o755)})
    program = bytearray(Path(require_program("busybox")).read_bytes())
    program[18:20] = Arch.RISCV64.facts.elf.to_bytes(2, "little")
    (options.overlays[0] / "usr/bin/busybox").write_bytes(program)
    said = "/usr/bin/busybox: it is for .*, the kernel for x86-64"
    with pytest.raises(InputError, match=f"^the image would not boot: {said}"):
        build_image(tmp_path / "x.img", options)


@pytest.mark.slow
def test_what_would_not_work_is_a_warning(tmp_path: Path) -> None:
    """It stands in the manifest, which make-image prints; check of the image finds the same."""
    files = {
        "usr/bin/hello": ("#!/usr/bin/perl\n", 0o755),
        "etc/modprobe.d/x.conf": ("optoins a b=1\n", 0o644),
        "etc/modaliasd/policy.toml": ("[[rule]]\nactoin = 'deny'\n", 0o644),
    }
    built = build_image(tmp_path / "x.img", with_overlay(tmp_path, files))
    warnings = "\n".join(built.manifest["warnings"])
    assert "/usr/bin/hello: its interpreter /usr/bin/perl is not in the image" in warnings
    assert "everything is denied" in warnings
    assert warnings.count("optoins") == 1
    facts = read_kernel_of(built.image, built.manifest, Silent())[1]
    found = {one.id for one in check(view_image(open_image(built.image), facts, built.manifest))}
    assert {"interpreter-missing", "modprobe-d", "policy"} <= found


@pytest.mark.slow
def test_modules_in_a_squashfs(tmp_path: Path) -> None:
    """They are looked at as others are; a squashfs that cannot be read is a finding."""
    options = ImageOptions(kernel=KERNEL, modules="virtio", store=Store.SQUASHFS)
    built = build_image(tmp_path / "s.img", options)
    facts = read_kernel_of(built.image, built.manifest, Silent())[1]
    view = view_image(open_image(built.image), facts, built.manifest)
    assert view.tree is not None
    assert {one["name"] for one in built.manifest["modules"]} == {one.name for one in view.tree.modules}
    assert check(view) == []
    parts: Parts = read_parts(built.image)
    parts.change(".squashfs", lambda data: data[:5000])
    path = write_parts(tmp_path / "bad.img", parts)
    findings = check(view_image(open_image(path), facts, built.manifest))
    assert "module-unreadable" in {one.id for one in findings}


@pytest.mark.slow
def test_checksums_without_the_kernel(tmp_path: Path) -> None:
    """Where the kernel cannot be read, a module that differs from most others is found all the same."""
    built = build_image(tmp_path / "m.img", ImageOptions(kernel=KERNEL, modules="virtio"))
    parts = read_parts(built.image)
    assert check(view_image(open_image(built.image), None, built.manifest)) == []
    parts.change("/virtio_net.ko", lambda data: other_checksum(data, b"__fentry__"))
    path = write_parts(tmp_path / "bad.img", parts)
    [finding] = check(view_image(open_image(path), None, built.manifest))
    assert finding.id == "symbol-version"
