"""Whatever an input says, a build writes nothing outside of its own folders, and waits for nothing."""

import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.errors import HostbuildError
from hostbuild.kernels.kernel import KernelError, read_vmlinuz
from hostbuild.kernels.module_files import find_module_files
from tests.support.hostiledebs import Entry, deb
from tests.support.imagetree import MAGIC, VERSION, pack_modules, write_vmlinuz
from tests.support.komaker import FakeModule, make_tree, module_bytes
from tests.support.programs import require_program

MODULE = module_bytes(FakeModule("oot", needs=["vb"], vermagic=MAGIC))


def _external(root: Path, tree: Path) -> str:
    """depmod.d's `external`: an absolute path in modules.dep."""
    (root / "outside/oot.ko.xz").write_bytes(lzma.compress(MODULE))
    (tree / "modules.dep").write_text(f"kernel/vb.ko:\n{root}/outside/oot.ko.xz: kernel/vb.ko\n")
    return "oot"


def _plain_external(root: Path, tree: Path) -> str:
    (root / "outside/oot.ko").write_bytes(MODULE)
    (tree / "modules.dep").write_text(f"kernel/vb.ko:\n{root}/outside/oot.ko: kernel/vb.ko\n")
    return "oot"


def _upwards(root: Path, tree: Path) -> str:
    """A path of modules.dep that leads up, out of the tree and out of a scratch folder as well."""
    (root / "outside/oot.ko.xz").write_bytes(lzma.compress(MODULE))
    way = os.path.relpath(root / "outside", tree)
    (tree / "modules.dep").write_text(f"kernel/vb.ko:\n{way}/oot.ko.xz: kernel/vb.ko\n")
    return "oot"


def _firmware(_root: Path, tree: Path) -> str:
    names = ["/outside/a", "../../outside/a", "../*", "/*", "", "a/../../../../outside/a"]
    (tree / "kernel/fw.ko").write_bytes(module_bytes(FakeModule("fw", firmware=names, vermagic=MAGIC)))
    (tree / "modules.dep").write_text("kernel/vb.ko:\nkernel/fw.ko:\n")
    return "fw"


def _overlay_links(root: Path, _tree: Path) -> str:
    """An overlay whose directories of modules, configuration and firmware are links to where the host has something."""
    for inside in ("usr/lib/modules", "usr/lib/firmware", "etc/modprobe.d"):
        link = root / "overlay" / inside
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(root / "outside")
    return "vb"


def _overlay_upwards(root: Path, _tree: Path) -> str:
    folder = root / f"overlay/lib/modules/{VERSION}"
    folder.mkdir(parents=True)
    (folder / "kernel").symlink_to("../../../../../../../../" + str(root / "outside").lstrip("/"))
    (folder / "mine.ko").symlink_to(root / "outside/keep")
    return "vb"


def _modules_as_links(root: Path, tree: Path) -> str:
    (root / "outside/oot.ko").write_bytes(MODULE)
    (tree / "extra").symlink_to(root / "outside")
    (tree / "modules.dep").unlink()
    return "oot"


CASES: dict[str, Callable[[Path, Path], str]] = {
    "absolute, packed": _external,
    "absolute, plain": _plain_external,
    "upwards": _upwards,
    "firmware": _firmware,
    "overlay's links": _overlay_links,
    "overlay's links upwards": _overlay_upwards,
    "links in the tree": _modules_as_links,
}


def _seen(root: Path) -> dict[str, bytes | None]:
    """All that lies outside, and in the kernel's own root."""
    folders = [root / "outside", root / "k"]
    return {
        str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_written_outside(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside the kernel nor elsewhere is anything new, changed or gone; no table of the image leads there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("outside", "tmp", "overlay"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside/keep").write_text("keep")
    tree = make_tree(tmp_path / "k", VERSION, [FakeModule("vb", vermagic=MAGIC)])
    write_vmlinuz(tmp_path / "k")
    selection = CASES[case](tmp_path, tree)
    before = _seen(tmp_path)
    packed = pack_modules(tmp_path / "k", selection, overlays=[tmp_path / "overlay"])
    assert all(".." not in line and ": /" not in line and line[0] != "/" for line in packed.dep)
    assert not any(".." in path.split("/") for path, _ in packed.tree.items())
    assert _seen(tmp_path) == before
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("version", ["../../../x", "/x", ".", "..", "a/b", ".hidden"])
def test_a_version_is_no_path(version: str, tmp_path: Path) -> None:
    """The version in a kernel's boot header becomes a directory's name, and may be nothing else."""
    vmlinuz = write_vmlinuz(tmp_path, version)
    with pytest.raises(KernelError, match="can name no directory"):
        read_vmlinuz(vmlinuz)


def test_a_package_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of a .deb that lead up, to an absolute place, or through a link are not written there."""
    require_program("dpkg-deb")
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a/b/c/d/cache"))
    members = [
        Entry("./../../../../up", content=b"evil"),
        Entry(f"{outside}/absolute", content=b"evil"),
        Entry("./way", tarfile.SYMTYPE, target=str(outside)),
        Entry("./way/through", content=b"evil"),
    ]
    package = tmp_path / "x.deb"
    package.write_bytes(deb(members))
    monkeypatch.setattr(debs, "_fetch", lambda _package, _directory: package)
    try:
        root = debs.require_unpacked(debs.Package("x", "1", "all", "0" * 64, 1, ()))
    except HostbuildError:
        pass  # dpkg-deb refuses it
    else:
        assert root.is_relative_to(tmp_path / "a/b/c/d/cache")
    assert list(outside.iterdir()) == []
    assert [
        path for path in tmp_path.rglob("up") if not path.is_relative_to(tmp_path / "a/b/c/d/cache")
    ] == []


def test_a_fifo_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIFOs in the place of a module, a table, firmware, a module of an overlay or a kernel are no wait."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tree = make_tree(tmp_path / "k", VERSION, [FakeModule("vb", firmware=["pipe"], vermagic=MAGIC)])
    folders = [tree / "kernel", tmp_path / "fw", tmp_path / f"ov/lib/modules/{VERSION}"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (tree / "modules.weakdep").unlink(missing_ok=True)  # depmod writes it since kmod 33
    for fifo in (*(folder / "pipe.ko" for folder in folders), tmp_path / "fw/pipe", tree / "modules.weakdep"):
        os.mkfifo(fifo)
    assert any("a FIFO" in problem for problem in find_module_files(tree).problems)
    with pytest.raises(KernelError, match=r"modules\.weakdep: it is a FIFO"):
        pack_modules(tmp_path / "k", "vb")
    (tree / "modules.weakdep").unlink()
    packed = pack_modules(tmp_path / "k", "vb", firmware=[tmp_path / "fw"], overlays=[tmp_path / "ov"])
    assert packed.modules == ["kernel/vb.ko"]
    assert packed.firmware.missing == ["pipe"]
    os.mkfifo(tmp_path / "vmlinuz")
    with pytest.raises(HostbuildError, match="a FIFO"):
        read_vmlinuz(tmp_path / "vmlinuz")
