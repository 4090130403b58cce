"""Indexes of modules, plain and compressed: kernels/depmod.py, module_files.py and kernel.py."""

import gzip
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from hostbuild.errors import WorldError
from hostbuild.image.modules.selection import SelectionError
from hostbuild.image.modules.storage import Store
from hostbuild.kernels import depmod
from hostbuild.kernels.kernel import KernelError, require_kernel
from hostbuild.kernels.module_files import find_module_files, place_in_tree
from hostbuild.ui import Silent
from tests.support.imagetree import MAGIC, VERSION, find_kernel, pack_modules, write_vmlinuz
from tests.support.komaker import FakeModule, make_tree, module_bytes
from tests.support.programs import require_program

_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/hostbuild/module-indexes"


def module(name: str, **more: object) -> FakeModule:
    """A module of the made-up kernel."""
    return FakeModule(name, **{"vermagic": MAGIC, **more})  # type: ignore[arg-type]


def kernel_with(root: Path, endings: dict[str, str], *, indexed: bool) -> Path:
    """A tree in which aa needs bb, and cc nobody, each compressed as it says; without modules.dep unless `indexed`."""
    alias = "pci:v00001234d*"
    tree = make_tree(root, VERSION, [module("aa", needs=["bb"], aliases=[alias]), module("bb"), module("cc")])
    dep = (tree / "modules.dep").read_text()
    for name, ending in endings.items():
        plain = tree / f"kernel/{name}.ko"
        plain.with_name(f"{name}.ko{ending}").write_bytes(_PACKERS[ending](plain.read_bytes()))
        plain.unlink()
        dep = dep.replace(f"{name}.ko", f"{name}.ko{ending}")
    if indexed:
        (tree / "modules.dep").write_text(dep)
    else:
        for table in tree.glob("modules.*"):
            if table.name not in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                table.unlink()
    return tree


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "not yet"])
@pytest.mark.parametrize(
    "endings",
    [
        {"aa": ".gz", "bb": ".gz", "cc": ".gz"},
        {"aa": ".zst", "bb": ".gz"},
        {"aa": ".xz", "bb": ".zst", "cc": ".gz"},
    ],
    ids=["gz", "some plain", "mixed"],
)
def test_every_module_has_its_lines(endings: dict[str, str], indexed: bool, tmp_path: Path) -> None:
    """However the kernel's modules are compressed, the image's tables know all of them, and their aliases."""
    kernel_with(tmp_path, endings, indexed=indexed)
    packed = pack_modules(tmp_path, "aa,cc")
    assert packed.dep == ["kernel/aa.ko: kernel/bb.ko", "kernel/bb.ko:", "kernel/cc.ko:"]
    assert b"alias pci:v00001234d* aa" in packed.files["modules.alias"]
    kept = pack_modules(tmp_path, "aa", store=Store.KEEP)
    line = f"kernel/aa.ko{endings['aa']}: kernel/bb.ko{endings['bb']}"
    assert line in kept.dep
    assert sorted(kept.modules) == sorted(line.replace(":", "").split())


def test_kmod_finds_compressed_modules_by_the_binary_index(tmp_path: Path) -> None:
    """kmod itself, by its modules.dep.bin, would insert the .ko.gz files that the image has, in their order."""
    kernel_with(tmp_path, {"aa": ".gz", "bb": ".gz"}, indexed=False)
    packed = pack_modules(tmp_path, "aa", store=Store.GZIP)
    folder = tmp_path / "guest/lib/modules" / VERSION
    for name, data in packed.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (tmp_path / "empty").mkdir()
    where: list[str | Path] = ["-C", tmp_path / "empty", "-d", tmp_path / "guest", "-S", VERSION]
    command = [require_program("modprobe"), *where, "-D", "pci:v00001234d5"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert [Path(line.split()[1]).name for line in said.stdout.splitlines()] == ["bb.ko.gz", "aa.ko.gz"]


def test_what_modprobe_cannot_unpack_lies_plain(tmp_path: Path) -> None:
    """Kept as the kernel has them, modules are unpacked where the image's modprobe has no library for them."""
    kernel_with(tmp_path, {"aa": ".gz", "bb": ".xz"}, indexed=True)
    packed = pack_modules(tmp_path, "aa", store=Store.KEEP, readable=frozenset({".xz"}))
    assert packed.dep == ["kernel/aa.ko: kernel/bb.ko.xz", "kernel/bb.ko.xz:"]
    assert packed.files["kernel/aa.ko"].startswith(b"\x7fELF")


@pytest.mark.parametrize("dep", ["", "kernel/cc.ko:\n"], ids=["empty", "in part"])
def test_a_modules_dep_that_lacks_modules_is_made_anew(dep: str, tmp_path: Path) -> None:
    """A depmod that could not read the .ko.gz files left them out; the kernel has them all the same."""
    tree = kernel_with(tmp_path, {"aa": ".gz", "bb": ".gz"}, indexed=True)
    (tree / "modules.dep").write_text(dep)
    assert pack_modules(tmp_path, "aa").dep == ["kernel/aa.ko: kernel/bb.ko", "kernel/bb.ko:"]
    assert (tree / "modules.dep").read_text() == dep


def test_a_list_that_changes_is_indexed_anew(tmp_path: Path) -> None:
    """What the cached indexes are made from is more than the modules: a new modules.weakdep counts."""
    tree = kernel_with(tmp_path, {}, indexed=False)
    assert pack_modules(tmp_path, "cc").modules == ["kernel/cc.ko"]
    (tree / "modules.weakdep").write_text("weakdep cc bb\n")
    assert pack_modules(tmp_path, "cc").modules == ["kernel/bb.ko", "kernel/cc.ko"]


@pytest.mark.parametrize("told", [False, True], ids=["by an old depmod", "by a new depmod"])
def test_what_an_old_depmod_passed_over_is_indexed(told: bool, tmp_path: Path) -> None:
    """Kernels since 6.11 have weakdeps, and kmod before 33 makes no table of them: then .modinfo says it."""
    version = "6.12.0-t"
    magic = MAGIC.replace(VERSION, version)
    tree = make_tree(
        tmp_path,
        version,
        [FakeModule("lan", weakdeps=["phya"], vermagic=magic), FakeModule("phya", vermagic=magic)],
    )
    table = tree / "modules.weakdep"
    table.unlink(missing_ok=True)
    if told:
        table.write_text("weakdep lan phya\n")
    kernel = require_kernel(str(write_vmlinuz(tmp_path, version)), None, Silent())
    assert (kernel.indexes == tree) is told
    assert kernel.indexes is not None
    assert (kernel.indexes / "modules.weakdep").read_text() == "weakdep lan phya\n"


def test_modules_that_lie_directly_in_the_tree_are_in_its_squashfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flat directory of modules is a tree, too: unsquashfs finds what modules.dep names."""
    tree = kernel_with(tmp_path, {}, indexed=False)
    for file in (tree / "kernel").iterdir():
        file.rename(tree / file.name)
    (tree / "kernel").rmdir()
    monkeypatch.setattr("hostbuild.image.modules.storage.require_drivers", lambda _kernel, _store: ())
    packed = pack_modules(tmp_path, "aa", store=Store.SQUASHFS)
    squashfs = tmp_path / "modules.squashfs"
    squashfs.write_bytes(packed.tree[f"usr/lib/modules/{VERSION}.squashfs"].read())
    command: list[str | Path] = [require_program("unsquashfs"), "-l", "-d", "", squashfs]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"/aa.ko", "/bb.ko", "/modules.dep"} <= set(listing)


def test_no_empty_index_is_kept(tmp_path: Path, cache: Path) -> None:
    """Where no module can be read the build ends, and the cache has nothing of it."""
    tree = make_tree(tmp_path, VERSION, [])
    (tree / "modules.dep").unlink()
    (tree / "kernel").mkdir()
    (tree / "kernel/aa.ko.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(KernelError, match=r"no module in .* can be indexed: .*aa\.ko\.gz"):
        find_kernel(tmp_path)
    assert list(cache.iterdir()) == []


def test_damage_in_one_file_costs_that_module(tmp_path: Path) -> None:
    """A damaged file, a FIFO, a dangling link, a name with a blank: each is named, and nothing else is lost."""
    tree = kernel_with(tmp_path, {}, indexed=False)
    (tree / "extra").mkdir()
    (tree / "extra/bad.ko.xz").write_bytes(b"\xfd7zXZ\0cut")
    (tree / "extra/text.ko").write_text("text")
    os.mkfifo(tree / "extra/pipe.ko")
    (tree / "extra/gone.ko").symlink_to("/nowhere/gone.ko")
    (tree / "extra/with blank.ko").write_bytes(module_bytes(module("blank")))
    packed = pack_modules(tmp_path, "aa")
    assert packed.dep == ["kernel/aa.ko: kernel/bb.ko", "kernel/bb.ko:"]
    for name in ("bad.ko.xz", "text.ko", "pipe.ko", "gone.ko", "with blank.ko"):
        assert sum(name in warning for warning in packed.warnings) == 1, name
    assert pack_modules(tmp_path, "aa").warnings == packed.warnings  # from the cache as well
    with pytest.raises(SelectionError, match=r"gone\.ko is left out: it is a link to /nowhere"):
        pack_modules(tmp_path, "gone")


def test_links_are_followed_as_depmod_does(tmp_path: Path) -> None:
    """kernel/ may be a link to a directory, a module a link into the same root; rings and the way up are no loops."""
    make_tree(tmp_path, "6.1.0-s", [module("old", path="extra/old.ko"), module("aa")])
    tree = make_tree(tmp_path, VERSION, [])
    (tree / "kernel").symlink_to("../6.1.0-s/kernel")
    (tree / "weak-updates").mkdir()
    (tree / "weak-updates/old.ko").symlink_to("/lib/modules/6.1.0-s/extra/old.ko")  # as it is in that root
    (tree / "up").symlink_to("../..")
    (tree / "weak-updates/ring").symlink_to(".")
    (tree / "build").symlink_to("../6.1.0-s")
    found = find_module_files(tree)
    assert list(found.files) == ["kernel/aa.ko", "weak-updates/old.ko"]
    assert found.problems == ()
    assert pack_modules(tmp_path, "aa,old").dep == ["kernel/aa.ko:", "weak-updates/old.ko:"]


def test_names_are_told_without_their_control_characters(tmp_path: Path) -> None:
    """A name, and a link's target, with an escape sequence or a line's end comes out quoted, on one line."""
    tree = make_tree(tmp_path, VERSION, [module("aa")])
    (tree / "kernel/a\x1b[2Jb.ko").write_bytes(b"")
    (tree / "kernel/l.ko").symlink_to("/nowhere\n\x1b[31m")
    problems = find_module_files(tree).problems
    assert len(problems) == 2
    assert all(problem.isprintable() for problem in problems)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("kernel/a/b.ko.xz", "kernel/a/b.ko"),
        ("/opt/drivers/b.ko", "external/b.ko"),
        ("../../../etc/b.ko.gz", "external/b.ko"),
        ("kernel/../../b.ko", "external/b.ko"),
        ("kernel//b.ko", "external/b.ko"),
        ("./b.ko", "external/b.ko"),
    ],
)
def test_no_path_leads_out_of_the_tree(path: str, inside: str) -> None:
    """Where a module of modules.dep is carried is always below the image's directory of modules."""
    assert place_in_tree(path) == inside


@pytest.mark.parametrize("inside", [False, True], ids=["modules.weakdep", ".modinfo, not indexed"])
def test_weakdeps_are_carried_and_told(inside: bool, tmp_path: Path) -> None:
    """What a module may ask for later comes along, from modules.weakdep or .modinfo; the image has the table."""
    weak = ["phya phyb"] if inside else []
    names = ("phya", "phyb", "other")
    tree = make_tree(tmp_path, VERSION, [module("lan", weakdeps=weak), *map(module, names)])
    if inside:
        (tree / "modules.dep").unlink()
    else:
        (tree / "modules.weakdep").write_text("# comment\nweakdep lan phya phyb\nweakdep other lan\n")
    packed = pack_modules(tmp_path, "lan")
    assert packed.modules == ["kernel/lan.ko", "kernel/phya.ko", "kernel/phyb.ko"]
    assert packed.files["modules.weakdep"] == b"weakdep lan phya phyb\n"
    assert b"phya" not in packed.files["modules.dep"].splitlines()[0]


def test_more_modules_than_depmod_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kmod's depmod aborts at 65,535 modules; it is said before, with the number, and nothing is kept."""
    assert depmod.MOST_MODULES == 65_534
    monkeypatch.setattr(depmod, "MOST_MODULES", 3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tree = make_tree(tmp_path / "k", VERSION, [FakeModule(f"m{n}", vermagic=MAGIC) for n in range(4)])
    (tree / "modules.dep").unlink()
    with pytest.raises(WorldError, match=f"more than 3 modules for {VERSION}, and depmod takes no more"):
        find_kernel(tmp_path / "k")
    assert list((tmp_path / "cache/hostbuild/module-indexes").iterdir()) == []
    (tree / "kernel/m3.ko").unlink()
    assert find_kernel(tmp_path / "k").indexes is not None


def test_indexes_are_remembered_by_the_modules_contents(tmp_path: Path) -> None:
    """A module that says something else, in a file of the same size and time, gets other lines, not the old."""
    tree = make_tree(tmp_path, VERSION, [module("aa", aliases=["x:one"])])
    said = []
    for alias in ("x:one", "x:two", "x:one"):
        (tree / "kernel/aa.ko").write_bytes(module_bytes(module("aa", aliases=[alias])))
        os.utime(tree / "kernel/aa.ko", ns=(0, 0))
        packed = pack_modules(tmp_path, "aa")
        said.append(packed.files["modules.alias"].decode().splitlines()[1:])
        assert alias.encode() in packed.files["modules.alias.trie"]
    assert said == [["alias x:one aa"], ["alias x:two aa"], ["alias x:one aa"]]
