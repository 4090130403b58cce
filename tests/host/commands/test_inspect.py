"""Images by other tools: each compressor by its own program, and several archives in one file."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild import main
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs.archive import ImageError, Segment, group_of, open_image, read_image
from tests.support.fuzzing import examples

PROGRAMS = {
    Compressor.NONE: ["cat"],
    Compressor.GZIP: ["gzip", "-9"],
    Compressor.ZSTD: ["zstd", "-q", "-19", "--long=27"],
    Compressor.XZ: ["xz", "--check=crc32", "--lzma2=dict=1MiB"],
    Compressor.LZ4: ["lz4", "-q", "-l"],  # the kernel's own build calls it with -l
    Compressor.BZIP2: ["bzip2"],
}


def cpio(directory: Path, files: dict[str, bytes]) -> bytes:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)  # whatever the umask is
    listed = subprocess.run(["find", "."], cwd=directory, capture_output=True, check=True, timeout=10).stdout
    argv = ["cpio", "--quiet", "-o", "-H", "newc"]
    return subprocess.run(
        argv, cwd=directory, input=listed, capture_output=True, check=True, timeout=10
    ).stdout


def segments_of(path: Path, image: bytes) -> list[Segment]:
    path.write_bytes(image)
    return read_image(path)


@pytest.fixture
def early(tmp_path: Path) -> bytes:
    return cpio(tmp_path / "early", {"kernel/x86/microcode/GenuineIntel.bin": b"microcode"})


@pytest.fixture
def main_archive(tmp_path: Path) -> bytes:
    return cpio(tmp_path / "main", {"init": b"#!/bin/sh\n", "usr/lib/modules/6.1.0-x/kernel/a.ko": b"12345"})


@pytest.mark.parametrize("compressor", PROGRAMS, ids=lambda c: c.value)
def test_microcode_before_a_packed_archive(
    compressor: Compressor, early: bytes, main_archive: bytes, tmp_path: Path
) -> None:
    """Distributions put a plain archive before the packed one; both are read, whatever the compressor."""
    packed = subprocess.run(
        PROGRAMS[compressor], input=main_archive, capture_output=True, check=True, timeout=20
    ).stdout
    path = tmp_path / "initrd"
    path.write_bytes(early + packed)
    first, second = read_image(path)
    assert (first.offset, first.compressor) == (0, Compressor.NONE)
    assert "kernel/x86/microcode/GenuineIntel.bin" in {member.name for member in first.members}
    assert (second.offset, second.compressor) == (len(early), compressor)
    assert {member.name: member.size for member in second.members}["init"] == 10


def test_several_streams_and_padding(early: bytes, main_archive: bytes, tmp_path: Path) -> None:
    """Plain, gzip, zstd one after the other, with NULs between them, as the kernel takes them."""
    image = bytes(512) + early + bytes(8)
    for compressor in (Compressor.GZIP, Compressor.ZSTD):
        image += subprocess.run(
            PROGRAMS[compressor], input=main_archive, capture_output=True, check=True, timeout=20
        ).stdout
        image += bytes(4)
    assert [s.compressor for s in segments_of(tmp_path / "x", image)] == [
        Compressor.NONE,
        Compressor.GZIP,
        Compressor.ZSTD,
    ]


def test_two_archives_in_one_stream(early: bytes, main_archive: bytes, tmp_path: Path) -> None:
    """One compressed stream may hold two archives."""
    packed = subprocess.run(["gzip"], input=early + main_archive, capture_output=True, check=True, timeout=20)
    first, second = segments_of(tmp_path / "x", packed.stdout)
    assert first.offset == second.offset == 0
    assert first.packed == second.packed == len(packed.stdout)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b"garbage", "invalid magic at start of compressed archive"),
        (b"\x1f\x8bgarbage", "gzip data"),
        (b"070701", "cut short"),
    ],
)
def test_trailing_garbage_is_refused(early: bytes, tmp_path: Path, tail: bytes, said: str) -> None:
    """Bytes behind the last archive that the kernel would complain about are an error with their offset."""
    path = tmp_path / "initrd"
    path.write_bytes(early + tail)
    with pytest.raises(ImageError, match=said):
        read_image(path)


@pytest.mark.parametrize("content", [b"", bytes(100), b"ELF or anything"], ids=["empty", "nuls", "text"])
def test_no_image(tmp_path: Path, content: bytes) -> None:
    """A file that is no image is said to be none."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="not an initramfs image"):
        read_image(path)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"070701", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9"])
)
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bytes) -> None:
    """Arbitrary bytes end in an error of ours or in no archive at all."""
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(magic + data)
    found = open_image(path)
    assert found.trouble is not None or not (magic + data).strip(b"\0")
    with pytest.raises(ImageError):
        found.require_whole()


def test_json_and_text(
    early: bytes, main_archive: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command tells kernels, groups and files; --files prints one line a file."""
    path = tmp_path / "initrd"
    path.write_bytes(early + main_archive)
    assert main.status_of(["inspect", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kernels"] == ["6.1.0-x"]
    assert told["groups"]["modules"] == {"files": 1, "size": 5}
    assert told["groups"]["microcode"] == {"files": 1, "size": 9}
    assert [archive["compressor"] for archive in told["archives"]] == ["none", "none"]
    assert main.status_of(["inspect", "--files", str(path)]) == 0
    listed = capsys.readouterr().out
    assert "-rw-r--r--          5 usr/lib/modules/6.1.0-x/kernel/a.ko" in listed
    assert len(listed.splitlines()) == len(told["files"])
    assert main.status_of(["inspect", str(path)]) == 0
    assert "modules for: 6.1.0-x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("./usr/lib/modules/6.1/kernel/a.ko.xz", "modules"),
        ("lib/modules/6.1/modules.dep", "indexes"),
        ("usr/lib/python3.11/os.pyc", "python"),
        ("lib/x86_64-linux-gnu/libc.so.6", "libraries"),
        ("usr/sbin/modprobe", "programs"),
        ("lib/firmware/a.bin", "firmware"),
        ("etc/passwd", "other"),
    ],
)
def test_groups(name: str, group: str) -> None:
    """Paths of any distribution's images are told apart."""
    assert group_of(name) == group
