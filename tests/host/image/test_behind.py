"""CPU microcode before an image, other images behind it: written as the kernel takes them, told, checked, refused."""

import gzip
import hashlib
import io
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs import newc
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.initramfs.segments import padding_between
from hostbuild.formats.microcode import Vendor
from hostbuild.image.behind import read_behind
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.made import make_image
from hostbuild.image.microcode import check_words, lacking, read_microcode, read_path
from hostbuild.main import status_of
from hostbuild.ui import Silent
from tests.support.earlycpio import find_early
from tests.support.microcodefiles import amd_container, intel_update

INTEL, AMD = intel_update(5), amd_container(b"patch" * 8)


def archive(files: dict[str, bytes], *, links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    writer = newc.Writer(out.write)
    names = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    for name in sorted(names):
        writer.add(newc.Member(name, stat.S_IFDIR | 0o755))
    for name, data in files.items():
        writer.add(newc.Member(name, stat.S_IFREG | 0o755), data)
    for name, target in (links or {}).items():
        writer.add(newc.Member(name, stat.S_IFLNK | 0o777), target.encode())
    writer.close()
    return out.getvalue()


def packed(data: bytes) -> bytes:
    """By gzip, and NULs after which a plain archive may follow."""
    done = gzip.compress(data)
    return done + bytes(padding_between(len(done), Compressor.GZIP))


def with_bootconfig(data: bytes) -> bytes:
    text = b"kernel.x = 1\n\0\0\0"
    return data + text + struct.pack("<II", len(text), sum(text)) + b"#BOOTCONFIG\n"


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """A directory as /lib/firmware, with what lies beside microcode there, and one file packed."""
    for name, data in {
        "intel-ucode/06-01-01": INTEL,
        "amd-ucode/microcode_amd.bin.gz": gzip.compress(AMD),
        "amd-ucode/README": b"about",
        "other/huge.bin": b"x",
    }.items():
        path = tmp_path / "firmware" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "firmware"


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize(
    "compressor", [Compressor.LZ4, Compressor.ZSTD, Compressor.NONE], ids=lambda one: one.value
)
def test_before_and_behind(compressor: Compressor, firmware: Path, tmp_path: Path) -> None:
    """A kernel finds the microcode before it unpacks; what comes later holds; the manifest tells what there is then."""
    one, two = tmp_path / "one.img", tmp_path / "two.img"
    one.write_bytes(gzip.compress(archive({"etc/motd": b"one\n", "etc/odd": b"x"})))
    two.write_bytes(with_bootconfig(archive({"etc/motd": b"two\n"})))
    options = ImageOptions(
        kernel="deb:linux-image-amd64",
        modules="none",
        compressor=compressor,
        microcode=(str(firmware),),
        behind=(one, two),
    )
    built, lay_there = make_image(tmp_path / "x.img", options)
    assert not lay_there
    data = built.image.read_bytes()
    for vendor, microcode in ((Vendor.INTEL, INTEL), (Vendor.AMD, AMD)):
        assert find_early(data, vendor.path) == microcode
    found = open_image(built.image).require_whole()
    assert [segment.compressor for segment in found.segments] == [
        Compressor.NONE,
        *([compressor] if compressor is not Compressor.NONE else [Compressor.NONE]),
        Compressor.GZIP,
        Compressor.NONE,
    ]
    assert found.bootconfig
    assert found.read(["etc/motd"]) == {"etc/motd": b"two\n"}
    told = built.manifest
    rows = {row["path"]: (row["mode"], row["size"]) for row in told["files"]}
    assert rows == {path: (f"{node.mode:06o}", node.size) for path, node in found.root.walk()}
    by_path = {row["path"]: row for row in told["files"]}
    assert [by_path[path]["origin"] for path in ("etc/motd", "etc/odd")] == ["two.img", "one.img"]
    assert by_path[Vendor.AMD.path]["group"] == "microcode"
    assert told["groups"]["appended"] == {"files": 2, "size": 5}
    assert [row["sha256"] for row in told["image"]["appended"]] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two)
    ]
    assert told["image"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert told["image"]["unpacked"] == sum(segment.unpacked for segment in found.segments)
    assert make_image(built.image, options)[1], "nothing has changed"
    two.write_bytes(archive({"etc/motd": b"three\n"}))
    assert not make_image(built.image, options)[1]
    (firmware / "intel-ucode/06-01-02").write_bytes(INTEL)
    assert not make_image(built.image, options)[1]


@pytest.mark.net
def test_what_an_image_behind_breaks_is_refused(tmp_path: Path) -> None:
    """The whole tree is checked, not ours alone: a directory in the place of the link /lib takes the loader away."""
    broken = tmp_path / "broken.img"
    broken.write_bytes(archive({}, links={"init": "/nowhere"}))
    options = ImageOptions(kernel="deb:linux-image-amd64", modules="none", behind=(broken,))
    with pytest.raises(InputError, match=r"^the image would not boot: /init"):
        build_image(tmp_path / "x.img", options)
    assert not (tmp_path / "x.img").exists()


def test_what_a_kernel_would_not_unpack_is_refused(tmp_path: Path) -> None:
    """No image at all, a compressor that the configuration leaves out, a bootconfig that would stand in the middle."""
    text, gzipped, last = tmp_path / "text", tmp_path / "packed.img", tmp_path / "last.img"
    text.write_text("hello\n")
    gzipped.write_bytes(gzip.compress(archive({"x": b"1"})))
    last.write_bytes(with_bootconfig(archive({"x": b"1"})))
    with pytest.raises(InputError, match=r"is a text file|not an initramfs image"):
        read_behind([text], None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):  # and nothing waits for it
        read_behind([tmp_path / "pipe"], None)
    with pytest.raises(UsageError, match="CONFIG_RD_GZIP is off"):
        read_behind([gzipped], {"RD_ZSTD": "y"})
    with pytest.raises(InputError, match="ends with a bootconfig"):
        read_behind([last, gzipped], None)
    assert len(read_behind([gzipped, last], {"RD_GZIP": "y"})) == 2


def test_one_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    """The bytes that were looked at are the bytes that are written."""
    path = tmp_path / "x.img"
    path.write_bytes(archive({"x": b"1"}))
    [behind] = read_behind([path], None)
    assert b"".join(behind.pieces()) == path.read_bytes()
    path.write_bytes(archive({"x": b"2"}))
    with pytest.raises(InputError, match="has changed"):
        b"".join(behind.pieces())


@pytest.mark.parametrize("size", range(5))
def test_padding(size: int) -> None:
    """Up to a multiple of 4; behind lz4's frame, which has no end of its own, at least 4 NULs."""
    assert (size + padding_between(size, Compressor.ZSTD)) % 4 == 0
    assert padding_between(size, Compressor.ZSTD) < 4
    assert (size + padding_between(size, Compressor.LZ4)) % 4 == 0
    assert 4 <= padding_between(size, Compressor.LZ4) < 8


def test_microcode_that_cannot_be(firmware: Path, tmp_path: Path) -> None:
    """Another architecture, a directory without any, a file that is none, a kernel that does not look for it."""
    with pytest.raises(UsageError, match="for amd64"):
        check_words(["intel"], Arch.ARM64)
    with pytest.raises(InputError, match="no CPU microcode in") as refused:
        read_path(firmware / "other")
    assert "intel-ucode" in refused.value.hint
    with pytest.raises(InputError, match=r"README cannot be put in front of the image: not CPU microcode"):
        read_path(firmware / "amd-ucode/README")
    with pytest.raises(InputError, match="No such file"):
        read_path(firmware / "gone")
    found = read_microcode([str(firmware)], Silent())
    assert lacking({"MICROCODE": "y"}, found) == lacking(None, found) == []
    assert "CONFIG_MICROCODE is off" in lacking({}, found)[0]
    assert "CONFIG_MICROCODE_AMD is off" in lacking({"MICROCODE": "y", "MICROCODE_AMD": "n"}, found)[0]


def test_a_package_that_apt_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The component that it lies in is named, and the way without it."""
    from hostbuild import debs

    def unknown(names: list[str], **_: object) -> None:
        raise InputError(f"apt does not know the package {names[0]}")

    monkeypatch.setattr(debs, "describe", unknown)
    with pytest.raises(
        InputError, match="amd64-microcode, which Debian has in its component non-free-firmware"
    ) as told:
        read_microcode(["amd"], Silent())
    assert "apt-get update" in told.value.hint


def test_a_package_that_apt_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is read where the package has it, and it is named as the origin."""
    from hostbuild import debs

    package = debs.Package("intel-microcode", "3.1", "amd64", "0" * 64, 1, ())
    place = tmp_path / "usr/lib/firmware/intel-ucode"
    place.mkdir(parents=True)
    monkeypatch.setattr(debs, "describe", lambda *_, **__: [package])
    monkeypatch.setattr(debs, "require_unpacked", lambda *_: tmp_path)
    with pytest.raises(InputError, match=r"intel-microcode 3.1 holds no CPU microcode"):
        read_microcode(["intel"], Silent())
    (place / "06-01-01").write_bytes(INTEL)
    (place / "06-01-02.initramfs").write_bytes(intel_update(6))
    found = read_microcode(["intel"], Silent())
    assert found.packages == (package,)
    assert found.origins == ((Vendor.INTEL, "intel-microcode 3.1"),)
    assert [(one.data, one.updates) for one in found.each] == [(INTEL + intel_update(6), 2)]


def test_an_output_is_no_input(tmp_path: Path) -> None:
    """An image that is appended, and microcode, are not written over."""
    path = tmp_path / "x.img"
    path.write_bytes(archive({"x": b"1"}))
    before = path.read_bytes()
    assert status_of(["make-image", "-o", str(path), "--append-image", str(path)]) == 100
    assert status_of(["make-image", "-o", str(path), "--microcode", str(path)]) == 100
    assert path.read_bytes() == before


def test_microcode_where_no_kernel_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a packed archive, or behind one: inspect and check say so; behind another plain one it is found."""
    early = archive({Vendor.AMD.path: AMD})
    other = archive({"init": b"#!/bin/sh\n"})
    for data, found in (
        (early + other, True),
        (other + bytes(64) + early, True),
        (packed(early) + other, False),
        (packed(other) + early, False),
    ):
        path = tmp_path / "x.img"
        path.write_bytes(data)
        assert (find_early(data, Vendor.AMD.path) is not None) == found
        assert status_of(["inspect", str(path)]) == 0
        assert (": CPU microcode, AuthenticAMD\n" in capsys.readouterr().out) == found
        status_of(["check", str(path)])
        assert ("[microcode-late]" in capsys.readouterr().out) != found


def test_cpio_reads_the_archive_in_front(firmware: Path, tmp_path: Path) -> None:
    """GNU cpio, too, takes names with more than one NUL behind them."""
    from hostbuild.image.pack import members

    tree = read_microcode([str(firmware)], Silent()).tree()
    out = io.BytesIO()
    writer = newc.Writer(out.write)
    for member, data in members(tree):
        writer.add(member, data, aligned=16)
    writer.close()
    argv = ["cpio", "--quiet", "-idm"]
    subprocess.run(argv, cwd=tmp_path, input=out.getvalue(), check=True, capture_output=True, timeout=10)
    assert (tmp_path / Vendor.INTEL.path).read_bytes() == INTEL
