"""kernels/build_tree.py: what plain `make` leaves is taken as modules_install would install it, or named unfinished."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hostbuild.kbuild.configfile import read_config_of
from hostbuild.kernels.build_tree import output_of, read_build_tree
from hostbuild.kernels.kernel import Kernel, KernelError, require_kernel
from hostbuild.kernels.stale import changed_sources, unlinked_parts
from hostbuild.main import status_of
from hostbuild.ui import Silent
from modaliasd.core.loading.signature import MARK
from tests.support.imagetree import MAGIC, VERSION, write_vmlinuz
from tests.support.komaker import FakeModule, module_bytes

CONFIG = 'CONFIG_MODULES=y\nCONFIG_AA=m\n# CONFIG_BB is not set\nCONFIG_LOCALVERSION="-t"\n'
IMAGE = "arch/x86/boot/bzImage"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree in which a kernel with two modules was built, aa needing bb; as Linux 6.1 leaves it."""
    root = tmp_path / "linux"
    for name in ("include/config", "arch/x86/boot", "drivers/net", "lib"):
        (root / name).mkdir(parents=True)
    for name in ("Kbuild", "Kconfig", "Makefile"):
        (root / name).touch()
    (root / ".config").write_text(CONFIG)
    (root / "include/config/auto.conf").write_text("CONFIG_AA=m\nCONFIG_MODULES=y\nCONFIG_LOCALVERSION=-t\n")
    (root / "include/config/kernel.release").write_text(f"{VERSION}\n")
    put(root, "drivers/net/aa.ko", FakeModule("aa", needs=["b-b"], vermagic=MAGIC))
    put(root, "lib/b-b.ko", FakeModule("b-b", vermagic=MAGIC))
    put(root, "lib/stray.ko", FakeModule("stray", vermagic=MAGIC))  # of an earlier configuration
    (root / "modules.order").write_text("drivers/net/aa.ko\nlib/b-b.ko\n")
    (root / "modules.builtin").write_text("kernel/drivers/base/inside.ko\n")
    (root / "modules.builtin.modinfo").write_bytes(b"inside.alias=acpi*:X:*\0")
    (root / "vmlinux").write_bytes(b"\x7fELF")
    write_vmlinuz(tmp_path / "made").rename(root / IMAGE)
    return root


def put(root: Path, path: str, module: FakeModule) -> None:
    (root / path).write_bytes(module_bytes(module))


def kernel_of(spec: Path, modules_dir: Path | None = None) -> Kernel:
    return require_kernel(str(spec), modules_dir, Silent())


@pytest.mark.parametrize(
    "order",
    [
        "drivers/net/aa.o\nlib/b-b.o\n",
        "drivers/net/aa.ko\nlib/b-b.ko\n",
        "kernel/drivers/net/aa.ko\nkernel/lib/b-b.ko\n",
    ],
    ids=["since 6.2", "since 5.3", "before"],
)
def test_modules_are_where_they_would_be_installed(order: str, tree: Path) -> None:
    """Below kernel/, in modules.order's order, which each generation of kbuild writes otherwise; strays are not."""
    (tree / "modules.order").write_text(order)
    kernel = kernel_of(tree)
    assert kernel.vmlinuz == tree / IMAGE
    assert (kernel.version, kernel.config, kernel.origin) == (VERSION, tree / ".config", str(tree))
    assert kernel.modules is not None
    assert kernel.indexes is not None
    assert (kernel.modules / "modules.order").read_text() == "kernel/drivers/net/aa.ko\nkernel/lib/b-b.ko\n"
    dep = sorted((kernel.indexes / "modules.dep").read_text().splitlines())
    assert dep == ["kernel/drivers/net/aa.ko: kernel/lib/b-b.ko", "kernel/lib/b-b.ko:"]
    assert (kernel.indexes / "modules.builtin").read_text() == "kernel/drivers/base/inside.ko\n"
    assert kernel.left_out == ()
    assert not list(tree.rglob("modules.dep"))  # nothing is written into the tree


@pytest.mark.parametrize("named", [IMAGE, "vmlinux", "link"])
def test_a_kernel_of_a_tree_stands_for_the_tree(named: str, tree: Path, tmp_path: Path) -> None:
    """Its bzImage, the vmlinux beside it, or a link to the bzImage; with --modules-dir it is only itself."""
    (tree / "link").symlink_to(IMAGE)
    assert kernel_of(tree / named).origin == str(tree)
    if named == IMAGE:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        put(elsewhere, "cc.ko", FakeModule("cc", vermagic=MAGIC))
        assert kernel_of(tree / named, elsewhere).modules == elsewhere


def test_an_output_directory(tree: Path) -> None:
    """What `make O=DIR` leaves has no Kconfig, and is a build tree all the same."""
    for name in ("Kbuild", "Kconfig"):
        (tree / name).unlink()
    assert kernel_of(tree).modules is not None


def test_what_is_built_again_counts(tree: Path) -> None:
    """A module that was built anew is found, and so is one that is new."""
    before = kernel_of(tree).indexes
    put(tree, "lib/b-b.ko", FakeModule("b-b", aliases=["pci:v1*"], vermagic=MAGIC))
    after = kernel_of(tree).indexes
    assert after is not None
    assert after != before
    assert "alias pci:v1* b_b" in (after / "modules.alias").read_text()


def change_option(tree: Path) -> None:
    (tree / ".config").write_text(CONFIG.replace("# CONFIG_BB is not set", "CONFIG_BB=y"))


def change_release(tree: Path) -> None:
    (tree / "include/config/kernel.release").write_text("6.1.1-t\n")


def leave_an_old_module(tree: Path) -> None:
    put(tree, "lib/b-b.ko", FakeModule("b-b", vermagic=MAGIC.replace(VERSION, "6.0.0-t")))


def force_signatures(tree: Path) -> None:
    for name in (".config", "include/config/auto.conf"):
        (tree / name).write_text((tree / name).read_text() + "CONFIG_MODULE_SIG_FORCE=y\n")


def never_configure(tree: Path) -> None:
    shutil.rmtree(tree / "include")
    (tree / ".config").unlink()
    (tree / IMAGE).unlink()


def never_build(tree: Path) -> None:
    (tree / IMAGE).unlink()
    (tree / "vmlinux").unlink()


def break_off(tree: Path) -> None:
    never_build(tree)
    (tree / "lib/built-in.a").touch()


def configure_for_arm(tree: Path) -> None:
    never_build(tree)
    (tree / ".config").write_text(f"{CONFIG}CONFIG_ARM64=y\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_option, r"is older than its \.config, which has changed since: CONFIG_BB is y, was n"),
        (change_release, r"bzImage is 6\.1\.0-t, but include/config/kernel\.release says 6\.1\.1-t"),
        (leave_an_old_module, r"the kernel is 6\.1\.0-t, but lib/b-b\.ko was built for 6\.0\.0-t"),
        (lambda tree: (tree / "lib/b-b.ko").unlink(), r"modules that are not there: lib/b-b\.ko"),
        (
            lambda tree: (tree / IMAGE).unlink(),
            r"no kernel was built in .*: there is no arch/x86/boot/bzImage",
        ),
        (never_configure, "it was never configured"),
        (never_build, "bzImage; it is configured, and was not built, or was cleaned"),
        (break_off, "bzImage; its build was broken off"),
        (configure_for_arm, "there is no arch/arm64/boot/Image; it is configured"),
        (force_signatures, "takes signed modules only"),
    ],
    ids=[
        "option",
        "release",
        "old module",
        "no module",
        "no bzImage",
        "no config",
        "clean",
        "broken off",
        "arm64",
        "signatures",
    ],
)
def test_an_unfinished_build_is_named(damage: Callable[[Path], None], words: str, tree: Path) -> None:
    """With what is missing or does not fit, and the make that finishes it."""
    damage(tree)
    with pytest.raises(KernelError, match=words) as caught:
        kernel_of(tree)
    assert caught.value.hint.startswith(f"make -C {tree}")


def test_signed_modules_are_taken(tree: Path) -> None:
    """Where the kernel wants signatures, and somebody has made them."""
    force_signatures(tree)
    for name in ("drivers/net/aa.ko", "lib/b-b.ko"):
        (tree / name).write_bytes((tree / name).read_bytes() + MARK)
    assert kernel_of(tree).modules is not None


def test_what_looks_old_is_told(tree: Path) -> None:
    """A vmlinux that is newer than the bzImage may mean nothing: it is a warning.

    So is a .config that was touched, where nothing tells with which one the kernel was built.
    """
    later = (tree / IMAGE).stat().st_mtime + 10
    os.utime(tree / "vmlinux", (later, later))
    os.utime(tree / ".config", (later + 10, later + 10))
    [first] = kernel_of(tree).left_out
    (tree / "include/config/auto.conf").unlink()
    first, second = kernel_of(tree).left_out
    assert "bzImage is older than" in first
    assert ".config" in second


@pytest.mark.slow
def test_without_its_modules_a_kernel_is_one_without(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `make bzImage` alone, what asks for modules is told to make them."""
    (tree / "modules.order").unlink()
    kernel = kernel_of(tree)
    assert kernel.modules is None
    command = ["make-image", "-o", str(tmp_path / "x.img"), "--kernel", str(tree), "--compress", "none"]
    assert status_of(command) == 100
    said = capsys.readouterr().err
    assert f"the modules in {tree} were not built" in said
    assert f"make -C {tree} modules" in said


def test_no_line_leads_out_of_the_tree(tree: Path, tmp_path: Path) -> None:
    """What modules.order names above the tree is not taken."""
    put(tmp_path, "out.ko", FakeModule("out", vermagic=MAGIC))
    with (tree / "modules.order").open("a") as stream:
        stream.write(f"../out.ko\n{tmp_path}/out.ko\nlib/with blank.ko\n./lib/b-b.ko\n")
    modules = kernel_of(tree).modules
    assert modules is not None
    assert sorted(path.name for path in modules.rglob("*.ko")) == ["aa.ko", "b-b.ko"]


def test_the_configuration_of_a_tree(tree: Path) -> None:
    """`kernel check TREE` reads its .config, built or not."""
    (tree / IMAGE).unlink()
    assert read_config_of(str(tree)) == (CONFIG, str(tree / ".config"))


def test_a_source_stands_for_its_output(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With KBUILD_OUTPUT, relative to the source as make -C has it; a tree with a build of its own is itself."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("Kbuild", "Kconfig", "Makefile"):
        (source / name).touch()
    with pytest.raises(KernelError, match="never configured") as caught:
        read_build_tree(source)
    assert "make O=DIR" in caught.value.hint
    monkeypatch.setenv("KBUILD_OUTPUT", "../linux")
    assert read_build_tree(source).path == tree
    assert output_of(tree) == tree
    monkeypatch.setenv("KBUILD_OUTPUT", "../nowhere")
    assert output_of(source) == source


def test_an_output_beside_its_source_is_named(tree: Path, tmp_path: Path) -> None:
    """Where only make O= was called, also in a directory of the source's own; another source's is none of it."""
    source = tmp_path / "source"
    (source / "build").mkdir(parents=True)
    for name in ("Kbuild", "Kconfig", "Makefile"):
        (source / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/source").symlink_to(tmp_path)
    (tree / "source").symlink_to("../source")
    with pytest.raises(KernelError, match=f"make O= has put it into {tree}$") as caught:
        read_build_tree(source)
    assert caught.value.hint == f"name that: {tree}"
    (source / "build/source").symlink_to(source)
    (source / "build/.config").touch()
    with pytest.raises(KernelError, match=f"into {tree} and {source}/build$"):
        read_build_tree(source)


def test_a_build_that_was_broken_off_is_told(tree: Path) -> None:
    """By what was compiled after the last link: the kernel's own objects, and a module's."""
    for path in (
        "lib/built-in.a",
        "lib/b-b.o",
        "drivers/net/built-in.a",
        "drivers/built-in.a",
        "drivers/net/aa.o",
    ):
        (tree / path).touch()
        os.utime(tree / path, times=(1000, 1000))
    assert unlinked_parts(tree) == []
    for path in ("drivers/net/built-in.a", "lib/b-b.o"):
        os.utime(tree / path, times=(2_000_000_000, 2_000_000_000))
    assert unlinked_parts(tree) == ["drivers/net/", "lib/b-b.ko"]
    [note] = [note for note in read_build_tree(tree).notes if "broken off" in note]
    assert "compiled and not linked: drivers/net/ and lib/b-b.ko; make -C" in note


@pytest.mark.parametrize("elsewhere", [False, True])
def test_sources_that_make_has_not_seen_are_told(elsewhere: bool, tree: Path, tmp_path: Path) -> None:
    """By the times of sources and objects, here and for an output directory; where make never went is passed over."""
    source = tree
    if elsewhere:
        source = tmp_path / "source"
        (tree / "source").symlink_to(source)
    for path in (
        "lib/old.c",
        "lib/new.c",
        "lib/new.S",
        "lib/new.h",
        "include/linux/new.h",
        "arch/arm/lib/x.c",
    ):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).touch()
    (source / "include/generated").mkdir(exist_ok=True)
    (source / "include/generated/utsrelease.h").touch()
    (tree / "arch/arm/lib").mkdir(parents=True, exist_ok=True)
    for path in ("lib/built-in.a", "lib/old.o", "lib/new.o", "lib/only.o", "arch/arm/lib/x.o", "vmlinux"):
        (tree / path).touch()
    assert changed_sources(tree) == []
    for path in (
        "lib/new.c",
        "lib/new.h",
        "include/linux/new.h",
        "include/generated/utsrelease.h",
        "arch/arm/lib/x.c",
    ):
        os.utime(source / path, times=(2_000_000_000, 2_000_000_000))
    assert changed_sources(tree) == ["include/linux/new.h", "lib/new.c", "lib/new.h"]
    [note] = [note for note in read_build_tree(tree).notes if "boot --rebuild" in note]
    assert "include/linux/new.h, lib/new.c and lib/new.h" in note


def test_modules_with_debug_sections_are_told(tree: Path) -> None:
    """They are many times as large; how to have them without is said, with the tree's path."""
    for config in (tree / ".config", tree / "include/config/auto.conf"):
        then = config.stat().st_mtime
        config.write_text(config.read_text() + "CONFIG_DEBUG_INFO=y\n")
        os.utime(config, (then, then))
    [told] = kernel_of(tree).left_out
    assert f"the modules in {tree} may have debug sections" in told
    assert "INSTALL_MOD_STRIP=1" in told


def test_a_damaged_module_says_nothing_of_the_others(tree: Path) -> None:
    """Whether the modules are this tree's own is told by those that can be read."""
    (tree / "lib/b-b.ko").write_bytes(b"\x7fELF junk")
    modules = kernel_of(tree).modules
    assert modules is not None
    assert sorted(path.name for path in modules.rglob("*.ko")) == ["aa.ko", "b-b.ko"]
