"""image/appended.py and from_tree.py: a changed module behind a kept image, as bsdtar and depmod see it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.errors import InputError
from hostbuild.formats.compress import Compressor
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.formats.manifest import read_manifest
from hostbuild.image import kept
from hostbuild.image.appended import LackingError
from hostbuild.image.build import ImageOptions
from hostbuild.image.from_tree import Ready, image_of_tree, trees_of
from hostbuild.image.modules.overlaid import read_module_of
from hostbuild.image.treestate import APPENDED_MOST
from hostbuild.kernels.bzimage import KernelError
from hostbuild.ui import Silent
from modaliasd.core.loading.signature import MARK
from tests.support.buildtree import lay_out_without_modules
from tests.support.imagetree import MAGIC, VERSION, write_vmlinuz
from tests.support.komaker import FakeModule, module_bytes
from tests.support.programs import require_program

pytestmark = pytest.mark.net  # busybox and CPython come from packages

INSIDE = f"usr/lib/modules/{VERSION}"
AA = FakeModule("aa", needs=["bb"], aliases=["pci:v1*"], vermagic=MAGIC)
BB = FakeModule("bb", vermagic=MAGIC)
CC = FakeModule("cc", vermagic=MAGIC)
OPTIONS = ImageOptions(modules="aa", compressor=Compressor.NONE)


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of images of its own; packages come from the cache that all share."""
    directory = tmp_path / "images"
    directory.mkdir()
    monkeypatch.setattr(kept, "images_directory", lambda: directory)
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with three modules, of which the image takes two: aa, and bb that it needs."""
    root = lay_out_without_modules(tmp_path / "linux", write_vmlinuz(tmp_path / "made"), VERSION)
    (root / "lib").mkdir()
    for module in (AA, BB, CC):
        put(root, module)
    (root / "modules.order").write_text("lib/aa.ko\nlib/bb.ko\nlib/cc.ko\n")
    return root


def put(root: Path, module: FakeModule) -> None:
    (root / f"lib/{module.name}.ko").write_bytes(module_bytes(module))


@contextmanager
def image_of(tree: Path, options: ImageOptions = OPTIONS) -> Iterator[Ready]:
    with image_of_tree(tree, options, Silent()) as ready:
        yield ready


def base_of(tree: Path) -> Path:
    with image_of(tree) as ready:
        assert ready.appended is None
        return ready.image


def read(image: Path, path: str) -> bytes:
    """What is at a path in the end, as the kernel has it."""
    return open_image(image).require_whole().read([f"{INSIDE}/{path}"])[f"{INSIDE}/{path}"]


def test_a_tree_as_it_was_is_the_kept_image(tree: Path) -> None:
    """Nothing is built, nothing is written; with its kernel linked again, that one is booted with the same image."""
    first = base_of(tree)
    before = first.stat().st_mtime_ns
    bzimage = tree / "arch/x86/boot/bzImage"
    bzimage.write_bytes(bzimage.read_bytes() + b"linked again")
    with image_of(tree) as ready:
        assert (ready.image, ready.kernel) == (first, bzimage)
    assert first.stat().st_mtime_ns == before


@pytest.mark.slow
def test_only_the_changed_module_is_put_anew(tree: Path) -> None:
    """It alone stands in a second archive, which holds over the first; the indexes are as they were."""
    base = base_of(tree)
    changed = replace(AA, parameters=["debug"])
    put(tree, changed)
    with image_of(tree) as ready:
        assert ready.appended is not None
        assert (ready.appended.modules, ready.appended.needed, ready.appended.indexed) == (("aa",), (), False)
        assert ready.image.read_bytes().startswith(base.read_bytes())
        _, second = open_image(ready.image).segments
        files = [one.name for one in second.members if one.size]
        assert files == [f"{INSIDE}/kernel/lib/aa.ko"]
        assert read(ready.image, "kernel/lib/aa.ko") == module_bytes(changed)
        image = ready.image
    assert not image.exists()


@pytest.mark.slow
def test_the_kernels_own_tools_see_the_second_archive(tree: Path, tmp_path: Path) -> None:
    """bsdtar reads what is behind the first archive, when it starts there: the offset is a multiple of 4."""
    require_program("bsdtar")
    base = base_of(tree)
    put(tree, replace(AA, parameters=["debug"]))
    with image_of(tree) as ready:
        start = -(-base.stat().st_size // 4) * 4
        (tmp_path / "second").write_bytes(ready.image.read_bytes()[start:])
    listed = subprocess.run(
        ["bsdtar", "-tf", tmp_path / "second"], check=True, capture_output=True, text=True
    )
    assert f"{INSIDE}/kernel/lib/aa.ko" in listed.stdout.split()


@pytest.mark.slow
def test_indexes_come_along_where_they_change(tree: Path) -> None:
    """A module with another alias, which now needs one that the image had not: that comes too, all of it indexed."""
    base_of(tree)
    put(tree, replace(AA, needs=["bb", "cc"], aliases=["pci:v2*"]))
    with image_of(tree) as ready:
        assert ready.appended is not None
        assert (ready.appended.modules, ready.appended.needed, ready.appended.indexed) == (
            ("aa",),
            ("cc",),
            True,
        )
        assert b"alias pci:v2* aa" in read(ready.image, "modules.alias")
        assert b"pci:v1*" not in read(ready.image, "modules.alias")
        [line] = [
            one
            for one in read(ready.image, "modules.dep").decode().splitlines()
            if one.startswith("kernel/lib/aa")
        ]
        assert set(line.partition(":")[2].split()) == {"kernel/lib/bb.ko", "kernel/lib/cc.ko"}
        assert read(ready.image, "kernel/lib/cc.ko") == module_bytes(CC)
        manifest = read_manifest(ready.image)
        assert [one["name"] for one in manifest["modules"]] == ["aa", "bb", "cc"]
        assert manifest["image"]["size"] == ready.image.stat().st_size


def test_a_module_outside_of_the_image_is_told(tree: Path) -> None:
    """It changes nothing in the guest; whoever works on it hears how it comes along."""
    base = base_of(tree)
    put(tree, replace(CC, parameters=["debug"]))
    with image_of(tree) as ready:
        assert ready.image == base
        [note] = ready.notes
    assert "changed, and not in the guest: cc" in note
    assert "--modules aa,cc" in note


@pytest.mark.slow
def test_a_module_put_anew_is_stripped_as_the_others_are(tree: Path) -> None:
    """What is appended to a stripped image has no signature either, and its indexes say so."""
    trailer = bytes([0, 0, 2, 0, 0, 0, 0, 0]) + (8).to_bytes(4, "big") + MARK
    options = replace(OPTIONS, strip=True)
    with image_of(tree, options) as ready:
        assert read(ready.image, "modules.hash") == b"stripped\n"
    news = module_bytes(replace(AA, aliases=["pci:v9*"]))
    (tree / "lib/aa.ko").write_bytes(news + b"8 bytes." + trailer)
    with image_of(tree, options) as ready:
        assert ready.appended is not None
        assert read(ready.image, "kernel/lib/aa.ko") == news
        assert read(ready.image, "modules.hash") == b"stripped\n"


@pytest.mark.slow
def test_a_module_of_ones_own(tree: Path) -> None:
    """It lies in extra/ and takes the place of the kernel's of the same name; what it lacks is named."""
    base_of(tree)
    mine = replace(AA, aliases=["pci:v9*"])
    brought = read_module_of("extra/aa.ko", module_bytes(mine), "aa.ko")
    with image_of_tree(tree, OPTIONS, Silent(), [brought]) as ready:
        dep = read(ready.image, "modules.dep").decode()
        assert dep.splitlines()[0:1] != []
        assert "extra/aa.ko: kernel/lib/bb.ko" in dep.splitlines()
        assert "kernel/lib/aa.ko:" not in dep
        assert b"alias pci:v9* aa" in read(ready.image, "modules.alias")
    lost = read_module_of(
        "extra/zz.ko", module_bytes(FakeModule("zz", needs=["nowhere"], vermagic=MAGIC)), "zz.ko"
    )
    lost = replace(lost, needs=("nowhere",))
    with pytest.raises(LackingError) as caught, image_of_tree(tree, OPTIONS, Silent(), [lost]):
        pass
    assert caught.value.names == ("nowhere",)


@pytest.mark.slow
def test_the_image_is_made_anew_where_more_has_changed(tree: Path, tmp_path: Path) -> None:
    """Another list of modules, an overlay, more modules than are appended: another image, and then that one is kept."""
    images = [base_of(tree)]
    (tree / "modules.order").write_text("lib/aa.ko\nlib/bb.ko\n")
    images.append(base_of(tree))
    (tmp_path / "overlay/etc").mkdir(parents=True)
    (tmp_path / "overlay/etc/x").write_text("x")
    with image_of(tree, replace(OPTIONS, overlays=(tmp_path / "overlay",))) as ready:
        images.append(ready.image)
    many = [FakeModule(f"m{n}", vermagic=MAGIC) for n in range(APPENDED_MOST + 1)]
    (tree / "modules.order").write_text("".join(f"lib/{one.name}.ko\n" for one in many))
    for version in ("one", "two"):
        for one in many:
            put(tree, replace(one, parameters=[version]))
        with image_of(tree, replace(OPTIONS, modules="all")) as ready:
            assert ready.appended is None
            images.append(ready.image)
    assert len(set(images)) == len(images)


def test_a_damaged_record_costs_nothing_but_time(tree: Path, images: Path) -> None:
    """The cache's record of the tree may be cut off or gone: the image is found again by its content."""
    base = base_of(tree)
    assert trees_of(VERSION) == [tree]
    assert trees_of("6.1.1") == []
    [record] = images.glob("tree-*.json")
    record.write_bytes(record.read_bytes()[:-9])
    assert base_of(tree) == base


@pytest.mark.slow
def test_what_another_took_the_place_of_goes(tree: Path, images: Path) -> None:
    """An image of a tree that nobody has asked for within the hour is removed with the next one; else it stays."""
    for age, left in ((0.0, 2), (4000.0, 2)):
        base = base_of(tree)
        stamp = base.stat().st_mtime - age
        os.utime(base.parent.parent, (stamp, stamp))
        order = tree / "modules.order"
        order.write_text(
            "lib/aa.ko\nlib/bb.ko\n" if "cc" in order.read_text() else "lib/bb.ko\nlib/aa.ko\nlib/cc.ko\n"
        )
        base_of(tree)
        assert len([one for one in images.iterdir() if one.is_dir()]) == left


@pytest.mark.parametrize("what", ["nothing", "a folder", "a file"])
def test_what_is_no_tree_is_refused(what: str, tmp_path: Path) -> None:
    """With the path and what a tree is."""
    path = tmp_path / "x"
    if what == "a folder":
        path.mkdir()
    elif what == "a file":
        path.write_text("x")
    with pytest.raises(KernelError, match="build tree") as caught, image_of(path):
        pass
    assert str(path) in str(caught.value)


def test_a_tree_that_changes_meanwhile_is_noticed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """make that runs beside us would leave a record of one tree with the image of another."""
    build = kept.require_image

    def slow(*given: object, **named: object) -> Path:
        made = build(*given, **named)  # type: ignore[arg-type]
        os.utime(tree / "lib/aa.ko", ns=(1, 1))
        return made

    monkeypatch.setattr(kept, "require_image", slow)
    with pytest.raises(InputError, match="have changed while the image was made"), image_of(tree):
        pass
