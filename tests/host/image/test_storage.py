"""hostbuild.image.modules.storage: modules that are compressed in the image, one by one or together."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.errors import UsageError
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs.archive import read_image
from hostbuild.image.build import ImageOptions, Modprobe, build_image
from hostbuild.image.modules import storage
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.storage import Store
from hostbuild.kernels.kernel import Kernel
from tests.support.programs import require_program

_KERNEL = "deb:linux-image-amd64"
_TOOLS = {Store.GZIP: "gzip", Store.XZ: "xz", Store.ZSTD: "zstd"}


def _options(store: Store, modprobe: Modprobe = Modprobe.BUSYBOX) -> ImageOptions:
    return ImageOptions(
        kernel=_KERNEL, modules="e1000", compressor=Compressor.LZ4, modprobe=modprobe, store=store
    )


@pytest.mark.parametrize("store", _TOOLS, ids=lambda store: store.value)
def test_a_compressed_module_is_unpacked_by_the_usual_tool(store: Store, tmp_path: Path) -> None:
    """What is packed as .gz, .xz, .zst comes back whole from gzip, xz and zstd."""
    data = b"\x7fELF" + bytes(range(256)) * 50
    module = Module("a", "kernel/a.ko", data, len(data), ())
    ending = storage.ending(module, store, storage.ALL)
    packed = tmp_path / f"a.ko{ending}"
    packed.write_bytes(storage.compressed(module, ending))
    done = subprocess.run([require_program(_TOOLS[store]), "-dc", packed], capture_output=True, check=True)
    assert done.stdout == data


def test_keep_follows_the_kernels_own_files() -> None:
    """A module that the kernel has as .ko.xz stays one; a plain one stays plain."""
    plain = Module("a", "kernel/a.ko", b"\x7fELF", 4, ())
    packed = replace(plain, ending=".xz")
    assert storage.ending(plain, Store.KEEP, storage.ALL) == ""
    assert storage.ending(packed, Store.KEEP, storage.ALL) == ".xz"
    assert storage.ending(packed, Store.PLAIN, storage.ALL) == ""


def test_what_modprobe_cannot_unpack_is_carried_plain_or_refused() -> None:
    """A kmod without zlib gets the kernel's own .ko.gz plain, with a warning; asked for gzip, it is refused."""
    module = Module("a", "kernel/a.ko", b"\x7fELF", 4, (), ".gz")
    readable = frozenset({".xz", ".zst"})
    assert storage.ending(module, Store.KEEP, readable) == ""
    [warning] = storage.require_readable(Store.KEEP, [module], readable, "kmod 30")
    assert ".gz" in warning
    with pytest.raises(UsageError, match="kmod 30 cannot read modules compressed by gzip") as caught:
        storage.require_readable(Store.GZIP, [module], readable, "kmod 30")
    assert caught.value.hint == "--compress-modules xz or zstd or none or squashfs"


@pytest.mark.parametrize("store", [Store.XZ, Store.ZSTD, Store.GZIP], ids=lambda store: store.value)
def test_compressed_modules_want_kmod(store: Store, tmp_path: Path, debian_kernel: Kernel) -> None:
    """An image whose modprobe could not read its modules is refused before it is built."""
    with pytest.raises(UsageError, match="busybox's modprobe cannot read") as caught:
        build_image(tmp_path / "x.img", _options(store))
    assert "--modprobe kmod" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_indexes_name_the_compressed_files(tmp_path: Path, debian_kernel: Kernel) -> None:
    """modules.dep of the image has the .ko.xz paths that are there."""
    built = build_image(tmp_path / "x.img", _options(Store.XZ, Modprobe.KMOD))
    paths = {row["path"] for row in built.manifest["files"]}
    assert any(path.endswith("/e1000/e1000.ko.xz") for path in paths)
    assert not any(path.endswith(".ko") for path in paths)
    assert built.manifest["append"] == ""


@pytest.mark.slow
def test_a_squashfs_holds_modules_and_indexes(tmp_path: Path, debian_kernel: Kernel) -> None:
    """unsquashfs finds in it what a plain image has in /usr/lib/modules; its drivers lie outside, plain."""
    built = build_image(tmp_path / "x.img", _options(Store.SQUASHFS))
    assert built.manifest["append"] == "rootfstype=ramfs"
    members = [member for segment in read_image(tmp_path / "x.img") for member in segment.members]
    names = {member.name for member in members}
    inside = f"usr/lib/modules/{debian_kernel.version}"
    assert {"usr/lib/micro/store/00-loop.ko", "usr/lib/micro/store/01-squashfs.ko"} <= names
    assert not any(name.startswith(inside + "/") for name in names)
    packed = tmp_path / "modules.squashfs"
    packed.write_bytes(_content(tmp_path / "x.img", f"{inside}.squashfs"))
    listing = subprocess.run(
        ["unsquashfs", "-l", "-d", "", packed], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "/kernel/drivers/net/ethernet/intel/e1000/e1000.ko" in listing
    assert {"/modules.dep", "/modules.alias", "/modules.order"} <= set(listing)


def _content(image: Path, name: str) -> bytes:
    """Have bsdtar take one file out of an image."""
    return subprocess.run(["bsdtar", "-xOf", image, name], capture_output=True, check=True).stdout


@pytest.mark.parametrize(("store", "compressor"), [(Store.SQUASHFS, "xz"), (Store.SQUASHFS_ZSTD, "zstd")])
def test_packing_twice_gives_the_same_file(
    store: Store, compressor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files in another directory, with other times and owners, are the same squashfs."""
    packed = []
    for name in ("a", "b"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{name}"))
        tree = tmp_path / name / "kernel"
        tree.mkdir(parents=True)
        (tree / "x.ko").write_bytes(b"\x7fELF" * 5000)
        packed.append(storage.require_squashfs(tmp_path / name, store).read_bytes())
    assert packed[0] == packed[1]
    (tmp_path / "x.squashfs").write_bytes(packed[0])
    argv = [require_program("unsquashfs"), "-s", str(tmp_path / "x.squashfs")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert f"Compression {compressor}" in said


def test_a_build_time_of_the_environment_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mksquashfs refuses times by SOURCE_DATE_EPOCH and by options at once; it gets the options."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/x.ko").write_bytes(b"\x7fELF" * 5000)
    assert storage.require_squashfs(tmp_path / "tree", Store.SQUASHFS).read_bytes().startswith(b"hsqs")


@pytest.mark.parametrize(
    ("store", "option"), [(Store.SQUASHFS, "SQUASHFS_XZ"), (Store.SQUASHFS_ZSTD, "SQUASHFS_ZSTD")]
)
def test_a_kernel_without_squashfs_is_refused(
    store: Store, option: str, tmp_path: Path, debian_kernel: Kernel
) -> None:
    """What the kernel lacks is named, with the way to a kernel that has it; it needs one compressor of the two."""
    assert debian_kernel.config is not None
    config = tmp_path / "config"
    config.write_text(debian_kernel.config.read_text().replace(f"CONFIG_{option}=y", ""))
    without = replace(debian_kernel, config=config)
    with pytest.raises(UsageError, match=f"cannot mount a squashfs: CONFIG_{option} off") as caught:
        storage.require_drivers(without, store)
    assert f"kernel configure --module loop --module squashfs --enable {option}" in caught.value.hint
    [other] = {Store.SQUASHFS, Store.SQUASHFS_ZSTD} - {store}
    assert len(storage.require_drivers(without, other)) == 2
