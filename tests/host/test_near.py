"""What the command line says to a word or a file that is not what was asked for: what it is, and what is near."""

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hostbuild import main, near
from hostbuild.errors import ToolMissingError
from hostbuild.formats.initramfs import newc
from hostbuild.formats.sniff import Kind, kind_of, kind_of_file, use_of
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.machine import NAMED_MACHINES
from hostbuild.run import require_program
from tests.support.places import DATA


def archive() -> bytes:
    """An archive that is larger than what is looked at."""
    out = bytearray()
    writer = newc.Writer(out.extend)
    writer.add(newc.Member("init", 0o100755, ino=1), bytes(range(256)) * 4096)
    writer.close()
    return bytes(out)


def tarball() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as tar:
        tar.addfile(tarfile.TarInfo("linux-6.1/Makefile"))
    return out.getvalue()


CONFIG = b"#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_64BIT=y\n"
SAMPLES: dict[str, tuple[Kind, bytes]] = {
    "nothing": (Kind.EMPTY, b""),
    "newc": (Kind.IMAGE, archive()),
    "newc after NULs": (Kind.IMAGE, bytes(512) + archive()),
    "gzip": (Kind.IMAGE, gzip.compress(archive())),
    "xz": (Kind.IMAGE, lzma.compress(archive())),
    "zstd": (Kind.IMAGE, zstandard.compress(archive())),
    "lz4": (Kind.PACKED, b"\x02\x21\x4c\x18" + bytes(100)),
    "gzip cut short": (Kind.PACKED, gzip.compress(b"x")[:9]),
    "gzipped text": (Kind.PACKED, gzip.compress(b"hello")),
    "tar": (Kind.TARBALL, tarball()),
    ".config": (Kind.CONFIG, CONFIG),
    "config.gz": (Kind.CONFIG, gzip.compress(CONFIG)),
    "ledger": (Kind.LEDGER, (DATA / "q35-boot.jsonl").read_bytes()),
    "a ledger's beginning": (Kind.LEDGER, b'{"type":"start","t_us":1}\n'),
    "umockdev": (Kind.CAPTURE, b"P: /devices/x\nE: SUBSYSTEM=pci\n"),
    "machine": (Kind.MACHINE, (NAMED_MACHINES / "q35.toml").read_bytes()),
    "policy": (Kind.TEXT, b'default = "deny"\n'),
    "page": (Kind.PAGE, b"<!doctype html>\n<title>x</title>"),
    "script": (Kind.TEXT, b"#!/bin/sh\nexit 0\n"),
    "JSON": (Kind.TEXT, b'{"a": 1}'),
    "JSON of a list": (Kind.TEXT, b"[1, 2]"),
    "deb": (Kind.PACKAGE, b"!<arch>\ndebian-binary   "),
    "boot sector": (Kind.DISK, bytes(510) + b"\x55\xaa" + bytes(512)),
    "noise": (Kind.DATA, b"\x00\xff\x80" * 100),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_what_a_file_is(name: str) -> None:
    """A file's kind is told by its first bytes, through compression where there is some."""
    kind, data = SAMPLES[name]
    assert kind_of(data) is kind


@given(st.binary(max_size=600))
def test_no_bytes_confuse(data: bytes) -> None:
    """Any bytes have a kind."""
    kind_of(data)
    kind_of(b"\x1f\x8b" + data)
    kind_of(b"{" + data)


def test_this_machines_own_files(tmp_path: Path) -> None:
    """A program is an ELF file, a directory a directory, and a FIFO is not waited for."""
    import os
    import sys

    os.mkfifo(tmp_path / "fifo")
    assert kind_of_file(Path(sys.executable).resolve()) is Kind.ELF
    assert kind_of_file(tmp_path) is Kind.DIRECTORY
    assert kind_of_file(tmp_path / "fifo") is Kind.DATA
    assert kind_of_file(tmp_path / "absent") is Kind.DATA


@pytest.mark.net
def test_debians_kernel_is_a_kernel(debian_kernel: Kernel) -> None:
    """So is Debian's, and its configuration a configuration."""
    assert kind_of_file(debian_kernel.vmlinuz) is Kind.KERNEL
    assert debian_kernel.config is not None
    assert kind_of_file(debian_kernel.config) is Kind.CONFIG


def test_near_words_come_once_and_in_their_order() -> None:
    """The likeliest is the first, a word that is there twice is named once, and `-` and `_` are alike."""
    known = ["make-image", "run", "virtio_net", "virtio-net", "virtio", "virtio", "E1000"]
    assert near.near("make-imag", known) == ["make-image"]
    assert near.near("virtio_nte", known) == ["virtio_net", "virtio"]
    assert near.near("e1001", known) == ["E1000"]
    assert near.near("nonsense", known) == []
    assert near.did_you_mean("e100", ["e1000", "e1000e"]) == "; did you mean e1000 or e1000e?"
    assert near.did_you_mean("zzz", ["e1000"]) == ""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one file of each kind, which is the working directory."""
    (tmp_path / "micro.img").write_bytes(gzip.compress(archive()))
    (tmp_path / "boot.jsonl").write_bytes((DATA / "q35-boot.jsonl").read_bytes())
    (tmp_path / "mine.toml").write_text('machine = "q35"\n')
    (tmp_path / "machine").write_text('machine = "q35"\n')
    (tmp_path / "kernel.config").write_bytes(CONFIG)
    (tmp_path / "notes.txt").write_text("hello\n")
    header = bytearray(0x800)
    header[0x202:0x206] = b"HdrS"
    (tmp_path / "vmlinuz").write_bytes(header)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The command line, what it says, and its hint ("" where none is asked for).
WRONG: list[tuple[str, str, str]] = [
    # images
    ("run boot.jsonl", "boot.jsonl is a ledger, not an initramfs image", "hostbuild report boot.jsonl"),
    ("run vmlinuz", "vmlinuz is a kernel, not an initramfs image", "--kernel vmlinuz"),
    ("run mine.toml", "mine.toml is a machine file, not an initramfs image", "--machine mine.toml"),
    ("run notes.txt", "notes.txt is a text file, not an initramfs image", ""),
    ("run .", ". is a directory, not an initramfs image", ""),
    (
        "run mirco.img",
        "cannot read the image mirco.img: No such file or directory; did you mean micro.img?",
        "",
    ),
    ("ram boot.jsonl", "boot.jsonl is a ledger, not an initramfs image", ""),
    ("prove vmlinuz --ledger boot.jsonl", "vmlinuz is a kernel, not an initramfs image", ""),
    ("inspect boot.jsonl", "boot.jsonl is a ledger, not an initramfs image", ""),
    ("predict boot.jsonl --image vmlinuz", "vmlinuz is a kernel, not an initramfs image", ""),
    ("report boot.jsonl --image vmlinuz -o x.html", "vmlinuz is a kernel, not an initramfs image", ""),
    # kernels
    (
        "run micro.img --kernel micro.img",
        "micro.img is an initramfs image, not a kernel",
        "hostbuild run micro.img",
    ),
    ("run micro.img --kernel boot.jsonl", "boot.jsonl is a ledger, not a kernel", ""),
    ("ram micro.img --kernel mine.toml", "mine.toml is a machine file, not a kernel", ""),
    (
        "make-image -o x.img --kernel linux-image-cloud-amd64",
        "cannot read the kernel linux-image-cloud-amd64: there is no such file",
        "a package's kernel is named by deb:linux-image-cloud-amd64",
    ),
    ("run micro.img --kernel linux-image-amd64", "there is no such file", "deb:linux-image-amd64"),
    ("make-image -o x.img --kernel runing", "there is no such file; did you mean running?", "deb:PACKAGE"),
    ("make-image -o x.img --kernel micro.img", "micro.img is an initramfs image, not a kernel", ""),
    (
        "predict boot.jsonl --kernel kernel.config",
        "kernel.config is a kernel configuration, not a kernel",
        "",
    ),
    ("kernel check mykernel", "there is no kernel or configuration mykernel", "name a .config, a vmlinuz"),
    ("kernel check linux-image-amd64", "there is no kernel or configuration", "deb:linux-image-amd64"),
    ("kernel check micro.img", "micro.img is an initramfs image, not a kernel, and no configuration", ""),
    ("kernel check boot.jsonl", "boot.jsonl is a ledger, not a kernel, and no configuration", ""),
    ("kernel check runing", "did you mean running?", ""),
    ("kernel fetch micro.img", "micro.img is an initramfs image, not a tar archive of a kernel's source", ""),
    (
        "kernel fetch linux-source-6.1",
        "there is no kernel source",
        "a package is named by deb:linux-source-6.1",
    ),
    # ledgers
    ("tree micro.img", "micro.img is an initramfs image, not a ledger", "hostbuild run micro.img"),
    ("report vmlinuz --format text", "vmlinuz is a kernel, not a ledger", ""),
    ("diff boot.jsonl mine.toml", "mine.toml is a machine file, not a ledger", ""),
    ("tree boot.json", "No such file or directory; did you mean boot.jsonl?", ""),
    ("predict micro.img", "micro.img is an initramfs image, not a capture of a machine", ""),
    ("make-image -o x.img --learn micro.img", "micro.img is an initramfs image, not a capture", ""),
    (
        "watch micro.img --timeout 1",
        "micro.img is an initramfs image, not a ledger",
        "hostbuild run micro.img",
    ),
    ("inspect .", ". is a directory, not an initramfs image", ""),
    # overlays, modules of Python, configurations
    (
        "make-image -o x.img --overlay boot.jsonl",
        "the overlay boot.jsonl is a ledger, not a directory",
        "",
    ),
    ("make-image -o x.img --overlay boot.json", "boot.json does not exist; did you mean boot.jsonl?", ""),
    ("kernel build --config kernel.confg", "kernel.confg; did you mean kernel.config?", ""),
    # machines, devices
    ("run micro.img --kernel vmlinuz --machine q53", "there is no machine 'q53'; did you mean q35?", ""),
    ("run micro.img --kernel vmlinuz --machine machine", "but a file machine", "--machine ./machine"),
    ("run micro.img --kernel vmlinuz --machine mine", "but a file mine.toml", "--machine ./mine.toml"),
    ("run micro.img --kernel vmlinuz --machine micro.img", "is an initramfs image, not a machine file", ""),
    ("run micro.img --kernel vmlinuz --machine ./micro.img", "is an initramfs image, not a machine file", ""),
    (
        "run micro.img --kernel vmlinuz --device help",
        "no device is called help",
        "hostbuild run --list-devices",
    ),
    ("run micro.img --kernel vmlinuz --device e1000,help", "no device is called help", "--list-devices"),
    # commands
    ("make-imag", "No such command 'make-imag'; did you mean make-image?", ""),
    ("micro.img", "micro.img is an initramfs image, not a command; hostbuild run micro.img", ""),
    ("kernel chek", "No such command 'chek'; did you mean check?", ""),
    # what is written
    (
        "report boot.jsonl -o a.pdf",
        "cannot tell a format from the name a.pdf; known endings are .trace.json,",
        "--format html",
    ),
    ("report boot.jsonl -o page", "cannot tell a format from the name page", "--format html"),
    ("report boot.jsonl -o x.html --manifest vmlinuz", "vmlinuz is a kernel, not an image's manifest", ""),
]


@pytest.mark.parametrize(("line", "said", "hint"), WRONG, ids=[line for line, _, _ in WRONG])
def test_what_was_given_and_what_was_expected(
    line: str, said: str, hint: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong word ends with status 100; the message says what it is and what was wanted, and nothing is written."""
    before = sorted(files.iterdir())
    assert main.status_of(line.split()) == 100
    captured = capsys.readouterr()
    assert said in captured.err
    assert hint in captured.err.partition(said)[2]
    assert captured.out == ""
    assert sorted(files.iterdir()) == before


def test_a_manifest_in_the_images_place(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run micro.img.manifest.json`, as a shell completes it, is answered with the image."""
    manifest = files / "micro.img.manifest.json"
    manifest.write_text('{\n "format": 1,\n "image": {},\n "kernel": {}\n}\n')
    assert main.status_of(["run", "micro.img.manifest.json"]) == 100
    assert (
        "is an image's manifest, not an initramfs image\nhint: the image is micro.img\n"
        in capsys.readouterr().err
    )
    assert use_of(files / "other.manifest.json", Kind.MANIFEST) == ""


def test_an_explicit_format_counts_more_than_the_name(files: Path) -> None:
    """--format writes what it says to a file of any name; endings count in capitals, too."""
    assert main.status_of(["report", "boot.jsonl", "-o", "a.pdf", "--format", "svg"]) == 0
    assert (files / "a.pdf").read_text().startswith("<svg")
    assert main.status_of(["report", "boot.jsonl", "-o", "B.HTML"]) == 0
    assert kind_of_file(files / "B.HTML") is Kind.PAGE


@pytest.mark.net
def test_a_module_of_python_that_does_not_exist(
    debian_kernel: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--python with a typing error is answered with the library's near names."""
    argv = [
        "make-image",
        "-o",
        str(tmp_path / "x.img"),
        "--kernel",
        str(debian_kernel.vmlinuz),
        "--modules",
        "none",
    ]
    assert main.status_of([*argv, "--python", "jsn"]) == 100
    assert "standard library has no module jsn; did you mean json?" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.net
def test_packages_that_apt_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error is answered with near packages, and with apt's own words; options are no packages."""
    argv = ["make-image", "-o", str(tmp_path / "x.img"), "--kernel"]
    assert main.status_of([*argv, "deb:linux-image-amd46"]) == 100
    said = capsys.readouterr().err
    assert "apt does not know the package linux-image-amd46; did you mean linux-image-amd64" in said
    assert "(apt-cache says: " in said
    for name in ("", "--help", "../x", "-o=Dir=/tmp"):
        assert main.status_of([*argv, f"deb:{name}"]) == 100
        assert "is not a valid Debian package name" in capsys.readouterr().err
    assert main.status_of([*argv, "deb:cpio"]) == 100
    assert "holds no kernel (no vmlinuz in /boot" in capsys.readouterr().err


@pytest.mark.net
def test_without_package_lists_the_machine_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where apt has no lists at all, the status is 111 and the hint apt-get update."""
    (tmp_path / "state/lists/partial").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "state/status").touch()
    places = {"State": "state", "Cache": "cache", "State::status": "state/status"}
    lines = [f'Dir::{key} "{tmp_path}/{place}";\n' for key, place in places.items()]
    (tmp_path / "apt.conf").write_text("".join(lines))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert (
        main.status_of(["make-image", "-o", str(tmp_path / "x.img"), "--kernel", "deb:linux-image-nope"])
        == 111
    )
    said = capsys.readouterr().err
    assert "it has no package lists" in said
    assert "hint: sudo apt-get update" in said


def test_a_program_is_looked_for_before_it_is_wrapped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What setpriv is to start is looked for first: the hint names QEMU's package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="qemu-system-x86_64 is not installed") as caught:
        require_program("qemu-system-x86_64")
    assert caught.value.hint.endswith(" qemu-system-x86")


@pytest.mark.net
def test_without_qemu(
    files: Path, debian_kernel: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` without QEMU names the package, and ends with 111, with KVM or without."""
    import shutil

    (files / "bin").mkdir()
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    (files / "bin/setpriv").symlink_to(setpriv)
    monkeypatch.setenv("PATH", str(files / "bin"))
    argv = ["run", "micro.img", "--kernel", str(debian_kernel.vmlinuz), "--accel"]
    for accel in ("tcg", "auto"):
        assert main.status_of([*argv, accel]) == 111
        said = capsys.readouterr().err
        assert "the program qemu-system-x86_64 is not installed" in said
        assert "hint: sudo apt-get install --no-install-recommends qemu-system-x86\n" in said
