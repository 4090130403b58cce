"""kernels/tarball.py: kernels in tar archives, as make packs them; and archives that somebody made to hurt."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.formats.deb import DebError, place_of_files
from hostbuild.fs.stretch import open_stretch
from hostbuild.kbuild.configfile import read_config_of
from hostbuild.kernels import find
from hostbuild.kernels.kernel import KernelError, require_kernel
from hostbuild.ui import Silent
from tests.support.hostiledebs import CONTROL, Entry, ar, deb, tar
from tests.support.imagetree import MAGIC, VERSION, write_vmlinuz
from tests.support.komaker import FakeModule, make_tree
from tests.support.programs import require_program

CONFIG = "CONFIG_RD_GZIP=y\n"
MODULE = FakeModule("aa", aliases=["pci:v00001234d*"], vermagic=MAGIC)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.compress,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any kernel, and a cache of its own; gives where tarballs are unpacked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(find, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(platform, "release", lambda: VERSION)
    return tmp_path / "cache/hostbuild/kernel/tarballs"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What buildtar packs: boot/ and lib/, the kernel with its symbols, and links to the build."""
    root = tmp_path_factory.mktemp("built")
    write_vmlinuz(root).rename(root / f"boot/vmlinuz-{VERSION}")
    (root / f"boot/config-{VERSION}").write_text(CONFIG)
    (root / f"boot/vmlinux-{VERSION}").write_bytes(b"\x7fELF" + bytes(2 << 20))
    tree = make_tree(root, VERSION, [MODULE])
    for name in ("build", "source"):
        (tree / name).symlink_to("/home/somebody/linux")
    return root


def packed(root: Path, *names: str) -> bytes:
    """The archive that tar makes of some of a directory."""
    argv = [require_program("tar"), "-c", "-C", str(root), "--owner=root", "--group=root", *names]
    return subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("names", [("boot", "lib"), (".",)], ids=["tree", "dot"])
def test_a_kernel_that_make_has_packed(
    ending: str, names: tuple[str, ...], built: Path, cache: Path, tmp_path: Path
) -> None:
    """Version, modules, aliases and configuration are the build's, by each compressor; it is unpacked once.

    The kernel with its symbols, and the links to the build on another machine, stay out.
    """
    archive = tmp_path / f"linux-{VERSION}-x86.{ending}"
    archive.write_bytes(PACKERS[ending](packed(built, *names)))
    kernel = require_kernel(str(archive), None, Silent())
    assert (kernel.version, kernel.origin) == (VERSION, str(archive))
    assert kernel.vmlinuz.read_bytes() == (built / f"boot/vmlinuz-{VERSION}").read_bytes()
    assert kernel.modules is not None
    assert (kernel.modules / MODULE.file).read_bytes() == (
        built / "lib/modules" / VERSION / MODULE.file
    ).read_bytes()
    assert kernel.indexes is not None
    assert "pci:v00001234d*" in (kernel.indexes / "modules.alias").read_text()
    assert kernel.read_config() == read_config_of(str(archive))[0] == CONFIG
    [final] = cache.iterdir()
    assert not list(final.rglob("vmlinux-*")) + list(final.rglob("build")) + list(final.rglob("source"))
    before = kernel.vmlinuz.stat()
    assert require_kernel(str(archive), None, Silent()).vmlinuz.stat() == before


def test_a_package_of_arch(built: Path, tmp_path: Path) -> None:
    """A kernel in its own module directory below usr/, with the package's own files beside."""
    root = tmp_path / "package"
    tree = make_tree(root / "usr", VERSION, [MODULE])
    (tree / "vmlinuz").write_bytes((built / f"boot/vmlinuz-{VERSION}").read_bytes())
    (root / ".PKGINFO").write_text("pkgname = linux\n")
    archive = tmp_path / "linux-6.1.0-x86_64.pkg.tar.zst"
    archive.write_bytes(zstandard.compress(packed(root, ".PKGINFO", "usr")))
    kernel = require_kernel(str(archive), None, Silent())
    assert kernel.version == VERSION
    assert kernel.modules == kernel.vmlinuz.parent


@pytest.mark.parametrize("packing", ["none", "gzip", "xz", "zstd"])
def test_a_package_that_make_has_written(packing: str, built: Path, cache: Path, tmp_path: Path) -> None:
    """dpkg-deb's file, by each of its compressors, is the kernel that the tar archive is."""
    root = tmp_path / "package"
    shutil.copytree(built, root, symlinks=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_bytes(CONTROL)
    (root / "usr/share/doc/x").mkdir(parents=True)
    file = tmp_path / f"linux-image-{VERSION}_1_amd64.deb"
    argv = [
        require_program("dpkg-deb"),
        "--root-owner-group",
        f"-Z{packing}",
        "-z1",
        "-b",
        str(root),
        str(file),
    ]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    kernel = require_kernel(str(file), None, Silent())
    assert (kernel.version, kernel.origin) == (VERSION, str(file))
    assert kernel.modules is not None
    assert (kernel.modules / MODULE.file).is_file()
    assert kernel.read_config() == read_config_of(str(file))[0] == CONFIG
    [final] = cache.iterdir()
    assert not list(final.rglob("doc")) + list(final.rglob("vmlinux-*"))


def test_packages_without_a_kernel(tmp_path: Path) -> None:
    """linux-headers and the like are refused, and what has the kernel is named."""
    file = tmp_path / "linux-headers-6.1.deb"
    file.write_bytes(deb([Entry("./usr/src/linux/Makefile")]))
    with pytest.raises(KernelError, match="is a Debian package without a kernel") as caught:
        require_kernel(str(file), None, Silent())
    assert "linux-image-" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (deb([])[:-40], "it is cut short"),
        (deb([], sizes=["4", "-1"]), "damaged, or has no data.tar"),
        (deb([], sizes=["4", "9999999999"]), "it is cut short"),
        (ar([("debian-binary", b"2.0\n")]), "damaged, or has no data.tar"),
        (ar([("debian-binary", b"2.0\n"), ("data.tar.xz", b"x")]), "cannot unpack"),
        (ar([("debian-binary", b"2.0\n"), ("debian-binary", b"2.0\n")]), "not its first member"),
        (ar([("debian-binary", b"2.0\n")] + [("_more", b"")] * 40), "damaged, or has no data.tar"),
        (deb([Entry("../../etc/passwd")]), "which is outside of it"),
        (deb([Entry("/boot/vmlinuz-1")]), "which is outside of it"),
    ],
)  # fmt: skip
def test_packages_that_hurt(data: bytes, said: str, cache: Path, tmp_path: Path) -> None:
    """What is cut short, lies about sizes, or names a place outside is refused with its reason; nothing is kept."""
    file = tmp_path / "linux-image.deb"
    file.write_bytes(data)
    with pytest.raises(KernelError, match=said):
        require_kernel(str(file), None, Silent())
    assert not list(cache.glob("*"))


@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_package_with_any_byte_changed(at: int, value: int) -> None:
    """Its files are found inside, or it is refused: nothing else comes out of it."""
    data = bytearray(deb([Entry("./boot/x")]))
    data[at % len(data)] = value
    with contextlib.suppress(DebError):
        begin, length = place_of_files(lambda place, size: bytes(data[place : place + size]), len(data))
        assert 0 < begin <= begin + length <= len(data)


@given(
    data=st.binary(max_size=200), begin=st.integers(0, 200), steps=st.lists(st.integers(0, 60), max_size=10)
)
def test_a_stretch_of_a_file(data: bytes, begin: int, steps: list[int]) -> None:
    """It reads and seeks as those bytes by themselves do."""
    length = max(0, len(data) - begin) // 2
    stretch, alone = open_stretch(io.BytesIO(data), begin, length), io.BytesIO(data[begin : begin + length])
    for step in steps:
        if step % 3 == 0:
            assert stretch.seek(step) == alone.seek(step)
        assert stretch.read(step) == alone.read(step)
    assert stretch.read() == alone.read()
    assert stretch.seek(-length, io.SEEK_END) == 0
    assert stretch.read() == data[begin : begin + length]


def test_an_archive_in_several_streams(built: Path, tmp_path: Path) -> None:
    """pigz and pixz pack in parts, one behind the other."""
    plain = packed(built, "boot", "lib")
    archive = tmp_path / "linux.tar.gz"
    archive.write_bytes(gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]))
    assert require_kernel(str(archive), None, Silent()).version == VERSION


VMLINUZ = Entry(f"boot/vmlinuz-{VERSION}", content=b"x")
HOSTILE = {
    "absolute": ([Entry("/boot/vmlinuz-1", content=b"x")], "'/boot/vmlinuz-1', which is outside"),
    "upwards": ([Entry("boot/../../x", content=b"x")], "'boot/../../x', which is outside"),
    "upwards, where nothing is kept": ([Entry("../x", content=b"x")], "'../x', which is outside"),
    "a device": ([Entry("boot/sda", tarfile.BLKTYPE, device=(8, 0))], "a device, boot/sda"),
    "a terminal": ([Entry("dev/tty", tarfile.CHRTYPE, device=(5, 0))], "a device, dev/tty"),
    "a FIFO": ([Entry("lib/modules/1/x.ko", tarfile.FIFOTYPE)], "a FIFO, lib/modules/1/x.ko"),
    "an unknown kind": ([Entry("boot/x", b"Z")], "unknown kind b'Z', boot/x"),
    "a link out": (
        [VMLINUZ, Entry("boot/x", tarfile.SYMTYPE, target="../../../etc")],
        "leads out of it, boot/x ->",
    ),
    "a hard link out": ([Entry("boot/x", tarfile.LNKTYPE, target="/etc/passwd")], "'/etc/passwd', which is"),
    "a hard link to nothing": ([Entry("boot/x", tarfile.LNKTYPE, target="boot/y")], "not hold before"),
    "a file above": ([VMLINUZ, Entry(f"{VMLINUZ.name}/x", content=b"x")], "a file above"),
    "a file for a directory": (
        [Entry("lib/modules/1/x", content=b"x"), Entry("lib/modules/1", content=b"x")],
        "as a directory, and as a file",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_no_kernel_has_is_refused(kind: str, cache: Path, tmp_path: Path) -> None:
    """It is said what and where; nothing of it is kept, and nothing is written beside."""
    entries, words = HOSTILE[kind]
    archive = tmp_path / "linux.tar"
    archive.write_bytes(tar(entries))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KernelError) as caught:
        require_kernel(str(archive), None, Silent())
    assert words in str(caught.value)
    assert str(archive) in str(caught.value)
    assert list(cache.iterdir()) == []
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "cache"] == before


def test_nothing_is_written_through_a_link(cache: Path, tmp_path: Path) -> None:
    """A link, and a file behind it, as the oldest of attacks has it: the file becomes the archive's own."""
    outside = tmp_path / "outside"
    outside.mkdir()
    entries = [
        Entry("lib/modules/1", tarfile.SYMTYPE, target=str(outside)),
        Entry("lib/modules/1/x.ko", content=b"x"),
        VMLINUZ,
    ]
    (tmp_path / "linux.tar").write_bytes(tar(entries))
    with pytest.raises(KernelError):  # its vmlinuz is none
        require_kernel(str(tmp_path / "linux.tar"), None, Silent())
    assert list(outside.iterdir()) == []
    [final] = cache.iterdir()
    assert (final / "root/lib/modules/1/x.ko").read_bytes() == b"x"
    assert not (final / "root/lib/modules/1").is_symlink()


@pytest.mark.parametrize("ending", PACKERS)
def test_an_archive_cut_short(ending: str, built: Path, cache: Path, tmp_path: Path) -> None:
    """Wherever it ends, it is an error: tarfile alone would take a header that is cut for the end of it all."""
    whole = PACKERS[ending](packed(built, "boot", "lib"))
    archive = tmp_path / f"linux.{ending}"
    last = len(whole.rstrip(b"\0")) // 512 * 512  # of a plain one
    for length in {len(whole) // 3, len(whole) // 2, last, last - 100}:
        archive.write_bytes(whole[: min(length, len(whole) - 40)])
        with pytest.raises(KernelError) as caught:
            require_kernel(str(archive), None, Silent())
        assert str(archive) in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_damaged_header(built: Path, cache: Path, tmp_path: Path) -> None:
    """A header in the middle that says nothing is not the end of the archive."""
    data = bytearray(packed(built, "boot", "lib"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        place = archive.getmember("lib/modules").offset
    data[place + 3] ^= 0xFF
    (tmp_path / "linux.tar").write_bytes(data)
    with pytest.raises(KernelError, match="damaged"):
        require_kernel(str(tmp_path / "linux.tar"), None, Silent())
    assert list(cache.iterdir()) == []


def test_a_name_without_end(cache: Path, tmp_path: Path) -> None:
    """A member's name of 2 GiB, packed into some kilobytes, is not read into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 30
    (tmp_path / "linux.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20)))
    with pytest.raises(KernelError, match="a header of more than 1 MiB"):
        require_kernel(str(tmp_path / "linux.tar.gz"), None, Silent())
    assert list(cache.iterdir()) == []


NO_KERNELS = {
    "a source": ([Entry("linux-6.1/Kconfig", content=b"x")], "source of a kernel", "kernel build --source"),
    "another archive": ([Entry("home/x", content=b"x")], "without a kernel", "make targz-pkg"),
    "two kernels": (
        [VMLINUZ, Entry("boot/vmlinuz-2", content=b"x")],
        f"has 2 kernels, boot/vmlinuz-2 and {VMLINUZ.name}",
        "--kernel",
    ),
}


@pytest.mark.parametrize("kind", NO_KERNELS)
def test_an_archive_of_something_else(kind: str, tmp_path: Path) -> None:
    """What it is, and what takes it."""
    entries, words, hint = NO_KERNELS[kind]
    archive = tmp_path / "linux.tar"
    archive.write_bytes(tar(entries))
    with pytest.raises(KernelError) as caught:
        require_kernel(str(archive), None, Silent())
    assert words in str(caught.value)
    assert hint in caught.value.hint
    assert os.fspath(archive) in str(caught.value)
