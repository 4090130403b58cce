"""make-image on Debian's real kernel: the same bytes twice, a true manifest, errors that leave nothing."""

import gzip
import hashlib
import json
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild import main
from hostbuild.errors import HostbuildError
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs.archive import open_image, read_image
from hostbuild.formats.manifest import kernel_path, read_manifest
from hostbuild.formats.modules.module_strip import strip_module
from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.image.modules.storage import DRIVERS_DIRECTORY as STORE
from hostbuild.image.modules.storage import Store
from hostbuild.kernels.kernel import Kernel, parse_version
from modaliasd.core.loading.signature import MARK
from tests.support.kernelfiles import plain_module

pytestmark = pytest.mark.net


def unpacked(image: Path, into: Path) -> Path:
    """Unpack an image by bsdtar, which knows every compressor."""
    into.mkdir()
    argv = ["bsdtar", "-C", str(into), "-xf", str(image), "--exclude", "^dev/*"]  # nodes need root
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return into


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(image: BuiltImage, tmp_path: Path) -> None:
    """A second build of the default image has the same bytes, and its manifest but for the name."""
    again = build_image(tmp_path / "again.img", ImageOptions(kernel="deb:linux-image-amd64"))
    assert again.image.read_bytes() == image.image.read_bytes()
    first, second = dict(image.manifest), dict(again.manifest)
    assert {**first, "image": {}} == {**second, "image": {}}


@pytest.mark.slow
def test_manifest_is_true(image: BuiltImage) -> None:
    """Sizes, digests, files and modules of the manifest are those of the archive, read back."""
    told = image.manifest
    data = image.image.read_bytes()
    assert told["image"]["size"] == len(data)
    assert told["image"]["sha256"] == hashlib.sha256(data).hexdigest()
    [segment] = read_image(image.image)
    assert told["image"]["unpacked"] == segment.unpacked
    found = {member.name: (f"{member.mode:06o}", member.size) for member in segment.members}
    assert {row["path"]: (row["mode"], row["size"]) for row in told["files"]} == found
    assert all((member.uid, member.gid, member.mtime) == (0, 0, 0) for member in segment.members)
    base = f"usr/lib/modules/{told['kernel']['version']}"
    inside = {name for name in found if name.endswith(".ko")}
    assert {f"{base}/{row['path']}" for row in told["modules"]} == inside
    assert sum(group["size"] for group in told["groups"].values()) == sum(size for _, size in found.values())
    assert read_manifest(image.image) == told
    assert hashlib.sha256(kernel_path(image.image).read_bytes()).hexdigest() == told["kernel"]["sha256"]


def test_the_images_indexes_hold(image: BuiltImage, tmp_path: Path) -> None:
    """kmod resolves modules within the unpacked image alone, and busybox finds each file of modules.dep."""
    root = unpacked(image.image, tmp_path / "root")
    version = image.kernel.version
    base = root / "usr/lib/modules" / version
    for line in (base / "modules.dep").read_text().splitlines():
        for path in line.replace(":", "").split():
            assert (base / path).is_file(), path
    aliases = (base / "modules.alias").read_text()
    assert "alias pci:v00001AF4d*" in aliases or "alias virtio:d00000001v* virtio_net" in aliases
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        assert (base / name).stat().st_size > 0


def test_python_of_the_image_runs_the_daemon(image: BuiltImage, tmp_path: Path) -> None:
    """In a chroot of the unpacked image, the start script's interpreter imports the daemon's core."""
    root = unpacked(image.image, tmp_path / "root")
    script = (root / "usr/bin/modaliasd").read_text()
    python = script.splitlines()[0].removeprefix("#!").split()
    loader = root / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    assert (root / "usr/lib64/ld-linux-x86-64.so.2").is_symlink()
    code = "import sys; sys.path.insert(0, sys.argv[1]); "
    code += "from modaliasd.core.device import Device; print(Device('/x'))"
    argv: list[str | Path] = [
        loader,
        "--library-path",
        loader.parent,
        root / python[0][1:],
        "-IS",
        "-c",
        code,
    ]
    done = subprocess.run(
        [*argv, root / "usr/lib/modaliasd"], capture_output=True, check=True, timeout=20, text=True
    )
    assert done.stdout.startswith("Device(devpath='/x'")


@pytest.mark.slow
def test_stripped_modules(tmp_path: Path) -> None:
    """--strip: each module as strip_module leaves it, compressed or not; the indexes but modules.hash as without.

    The manifest says what was cut, and that it taints this kernel; the same is built twice.
    """
    options = ImageOptions(kernel="deb:linux-image-amd64", modules="e1000,nf_conntrack")
    plain = build_image(tmp_path / "plain.img", options)
    built = build_image(tmp_path / "cut.img", replace(options, strip=True))
    again = build_image(tmp_path / "again.img", replace(options, strip=True))
    assert again.image.read_bytes() == built.image.read_bytes()
    base = f"usr/lib/modules/{built.kernel.version}"
    before, after = (open_image(one.image).require_whole() for one in (plain, built))
    paths = [str(row["path"]) for row in built.manifest["files"] if str(row["path"]).startswith(base)]
    for path in (path for path in paths if ".ko" in path or "/modules." in path):
        [old], [new] = before.read([path]).values(), after.read([path]).values()
        if path.endswith(".ko"):
            assert new == strip_module(old) != old
        elif path.endswith("modules.hash"):
            assert (old, new) == (b"sha256\n", b"stripped\n")
        else:
            assert new == old
    cut = built.manifest["stripped"]
    sizes = [sum(row["size"] for row in one.manifest["modules"]) for one in (plain, built)]
    assert cut == {"modules": len(built.manifest["modules"]), "bytes": sizes[0] - sizes[1], "taints": True}
    assert "stripped" not in plain.manifest
    squashed = build_image(tmp_path / "squashed.img", replace(options, strip=True, store=Store.SQUASHFS))
    store = f"{STORE}/00-loop.ko"
    assert not open_image(squashed.image).require_whole().read([store])[store].endswith(MARK)


@pytest.mark.slow
def test_kmod_and_selection_and_gzip(debian_kernel: Kernel, tmp_path: Path) -> None:
    """--modprobe kmod brings kmod with its libraries and .bin indexes; the image's kmod resolves an alias."""
    options = ImageOptions(
        kernel=str(debian_kernel.vmlinuz),
        modules="e1000",
        compressor=Compressor.GZIP,
        modprobe=Modprobe.KMOD,
        python=("mmap",),
    )
    built = build_image(tmp_path / "small.img", options)
    assert [row["name"] for row in built.manifest["modules"]] == ["e1000"]
    assert "mmap" in built.manifest["python"]["modules"]
    assert gzip.decompress(built.image.read_bytes()).startswith(b"070701")
    root = unpacked(built.image, tmp_path / "root")
    libraries = root / "usr/lib/x86_64-linux-gnu"
    modprobe = root / "usr/sbin/modprobe"
    assert modprobe.readlink() == Path("/usr/bin/kmod")
    argv: list[str | Path] = [
        libraries / "ld-linux-x86-64.so.2",
        "--argv0",
        "modprobe",
        "--library-path",
        libraries,
    ]
    argv += [root / "usr/bin/kmod", "-d", root, "-S", built.kernel.version, "-R"]
    alias = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"
    done = subprocess.run([*argv, alias], capture_output=True, check=True, timeout=10, text=True)
    assert done.stdout == "e1000\n"


def fake_vmlinuz(path: Path, version: str) -> Path:
    """Write the smallest file that has an x86 boot header with a version."""
    data = bytearray(0x800)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x300)
    data[0x500 : 0x500 + len(version)] = version.encode()
    path.write_bytes(data)
    return path


def test_parse_version_reads_the_boot_header(debian_kernel: Kernel) -> None:
    """The version in the header of Debian's kernel is the name of the package's modules directory."""
    assert parse_version(debian_kernel.vmlinuz.read_bytes()) == debian_kernel.version
    assert debian_kernel.modules is not None
    assert debian_kernel.modules.name == debian_kernel.version


Spoil = Callable[[Path, Kernel], ImageOptions]


def _no_modules(tmp_path: Path, _kernel: Kernel) -> ImageOptions:
    return ImageOptions(kernel=str(fake_vmlinuz(tmp_path / "vmlinuz", "9.9.9-none")))


def _other_version(tmp_path: Path, kernel: Kernel) -> ImageOptions:
    return ImageOptions(
        kernel=str(fake_vmlinuz(tmp_path / "vmlinuz", "9.9.9-other")), modules_dir=kernel.modules
    )


def _not_a_kernel(tmp_path: Path, _kernel: Kernel) -> ImageOptions:
    (tmp_path / "vmlinuz").write_text("text")
    return ImageOptions(kernel=str(tmp_path / "vmlinuz"))


def _empty_modules_dir(tmp_path: Path, kernel: Kernel) -> ImageOptions:
    (tmp_path / "empty").mkdir()
    return ImageOptions(kernel=str(kernel.vmlinuz), modules_dir=tmp_path / "empty")


def _no_true_module(tmp_path: Path, kernel: Kernel) -> ImageOptions:
    copy = tmp_path / "modules"
    (copy / "kernel").mkdir(parents=True)
    (copy / "kernel/e1000.ko").write_text("e1000")
    (copy / "modules.dep").touch()
    return ImageOptions(kernel=str(kernel.vmlinuz), modules_dir=copy)


def _kernel_without_zstd(tmp_path: Path, kernel: Kernel) -> ImageOptions:
    fake_vmlinuz(tmp_path / "vmlinuz", kernel.version)
    (tmp_path / f"config-{kernel.version}").write_text("CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n")
    return ImageOptions(kernel=str(tmp_path / "vmlinuz"), modules_dir=kernel.modules)


def _kernel_that_demands_signatures(tmp_path: Path, kernel: Kernel) -> ImageOptions:
    fake_vmlinuz(tmp_path / "vmlinuz", kernel.version)
    (tmp_path / f"config-{kernel.version}").write_text(
        "CONFIG_RD_ZSTD=y\nCONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_FORCE=y\n"
    )
    return ImageOptions(kernel=str(tmp_path / "vmlinuz"), modules_dir=kernel.modules, strip=True)


ERRORS: dict[str, tuple[Spoil, str]] = {
    "no modules": (_no_modules, r"no modules were found for the kernel .*vmlinuz \(9\.9\.9-none\)"),
    "other version": (_other_version, r"are for kernel 6\..*, but the kernel is 9\.9\.9-other"),
    "no kernel": (_not_a_kernel, r"vmlinuz is a text file, not a kernel"),
    "absent kernel": (
        lambda *_: ImageOptions(kernel="/nowhere/vmlinuz"),
        "cannot read the kernel /nowhere/vmlinuz",
    ),
    "empty modules directory": (_empty_modules_dir, "empty holds no kernel modules"),
    "modules that are none": (
        _no_true_module,
        r"no module in .*/modules can be indexed: .*e1000.ko is left out",
    ),
    "unknown package": (
        lambda *_: ImageOptions(kernel="deb:linux-image-nope"),
        "apt does not know the package",
    ),
    "unknown selection": (lambda _, k: ImageOptions(kernel=str(k.vmlinuz), modules="e1001"), "'e1001'"),
    "nothing selected": (
        lambda _, k: ImageOptions(kernel=str(k.vmlinuz), modules="-e1000"),
        "leaves no module",
    ),
    "absent overlay": (lambda *_: ImageOptions(overlays=(Path("/nowhere"),)), "/nowhere does not exist"),
    "absent firmware": (
        lambda _, k: ImageOptions(kernel=str(k.vmlinuz), modules="e1000", firmware_dirs=(Path("/nowhere"),)),
        "/nowhere is not a directory",
    ),
    "unknown python": (
        lambda _, k: ImageOptions(kernel=str(k.vmlinuz), modules="e1000", python=("numpy",)),
        "standard library has no module numpy",
    ),
    "compressor that the kernel lacks": (_kernel_without_zstd, "cannot unpack zstd"),
    "stripped for a kernel that takes signed modules": (
        _kernel_that_demands_signatures,
        r"takes signed modules only \(CONFIG_MODULE_SIG_FORCE in .*config-6\.",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
def test_errors_leave_what_was_there(name: str, debian_kernel: Kernel, tmp_path: Path) -> None:
    """Each error says what is wrong; the previous image is untouched, and nothing else has appeared."""
    spoil, said = ERRORS[name]
    options = spoil(tmp_path, debian_kernel)
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.img").write_bytes(b"previous")
    with pytest.raises(HostbuildError, match=said):
        build_image(out / "x.img", options)
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("x.img", b"previous")]


@pytest.mark.slow
def test_full_disk_leaves_nothing(
    debian_kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while writing removes what was written."""
    import errno

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hostbuild.fs.files.os.fsync", full)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(HostbuildError, match=r"cannot write the image .*: No space left on device"):
        build_image(out / "x.img", ImageOptions(kernel=str(debian_kernel.vmlinuz), modules="dummy"))
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_command_prints_json_or_a_table(
    debian_kernel: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints the manifest and nothing else; without it there is a table; piped, no progress."""
    argv = ["make-image", "-o", str(tmp_path / "x.img"), "--kernel", str(debian_kernel.vmlinuz)]
    argv += ["--modules", "dummy", "--compress", "none"]
    assert main.status_of([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == read_manifest(tmp_path / "x.img")
    assert captured.err == ""
    assert main.status_of(argv) == 0
    captured = capsys.readouterr()
    assert f"kernel {debian_kernel.version} from" in captured.out
    assert captured.err == ""


@pytest.mark.slow
def test_module_with_compressed_files(debian_kernel: Kernel, tmp_path: Path) -> None:
    """From .ko.xz files without a modules.dep comes an image with plain modules and indexes."""
    copy = tmp_path / debian_kernel.version / "kernel"
    copy.mkdir(parents=True)
    original = plain_module(debian_kernel, "dummy")
    (copy / "dummy.ko").write_bytes(original)
    subprocess.run(["xz", "--check=crc32", copy / "dummy.ko"], check=True, timeout=20)
    options = ImageOptions(kernel=str(debian_kernel.vmlinuz), modules_dir=tmp_path, modules="dummy")
    built = build_image(tmp_path / "x.img", options)
    root = unpacked(built.image, tmp_path / "root")
    base = root / "usr/lib/modules" / debian_kernel.version
    assert (base / "kernel/dummy.ko").read_bytes() == original
    assert (base / "modules.dep").read_text() == "kernel/dummy.ko:\n"
