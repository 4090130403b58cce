"""hostbuild.kbuild.source and build, on a toy tree whose Makefile behaves as the kernel's does."""

import errno
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from hostbuild.arch import Arch, is_foreign, require_own
from hostbuild.errors import CommandError, InputError, ToolMissingError, WorldError
from hostbuild.kbuild import toolchain
from hostbuild.kbuild.build import build, copy_built
from hostbuild.kbuild.source import SourceTree, parse_version, read_tree, require_source
from hostbuild.main import status_of
from hostbuild.ui import Advance, Silent

pytestmark = pytest.mark.toolchain

# Two objects and one module, printed as kbuild prints them; the targets that hostbuild asks for.
_MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 1
SUBLEVEL = 192
EXTRAVERSION = -toy

CC = gcc -g
objects := $(O)/init/main.o $(O)/lib/lib.o $(O)/drivers/toy.ko

.PHONY: olddefconfig prepare modules_prepare modules modules_install bzImage Image
olddefconfig prepare modules_prepare:
	@mkdir -p $(O)/include/config $(O)/arch/x86/boot $(O)/arch/arm64/boot
	@echo 6.1.192-toy > $(O)/include/config/kernel.release

modules: $(O)/drivers/toy.ko
bzImage: $(objects)
	@cat $(O)/init/main.o $(O)/lib/lib.o > $(O)/arch/x86/boot/bzImage
	@echo "0 T start" > $(O)/System.map
Image: $(objects)
	@cat $(O)/init/main.o $(O)/lib/lib.o > $(O)/arch/$(ARCH)/boot/Image
	@echo "0 T start" > $(O)/System.map

$(O)/%.o: %.c
	@set -e; echo '  CC      $*.o'; mkdir -p $(dir $@); $(CC) -c -o $@ $<
$(O)/%.ko: %.c
	@set -e; echo '  LD [M]  $*.ko'; mkdir -p $(dir $@); $(CC) -c -o $@ $<

modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.1.192-toy/kernel/drivers
	@cp $(O)/drivers/toy.ko $(INSTALL_MOD_PATH)/lib/modules/6.1.192-toy/kernel/drivers/
	@$(if $(INSTALL_MOD_STRIP),strip --strip-debug $(INSTALL_MOD_PATH)/lib/modules/6.1.192-toy/kernel/drivers/toy.ko)
	@ln -s $(O) $(INSTALL_MOD_PATH)/lib/modules/6.1.192-toy/build
"""
_CONFIG = "CONFIG_MODULES=y\n"


class _Heard:
    """A reporter that keeps what it was told: title, total, and how far the step came."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None, int]] = []

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Add up what the step is advanced by."""
        amounts: list[int] = []
        try:
            yield amounts.append
        finally:
            self.steps.append((title, total, sum(amounts)))

    def building(self) -> tuple[int | None, int]:
        """Total and end of the last build."""
        return [(total, end) for title, total, end in self.steps if title.startswith("Building")][-1]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A tree that looks like a kernel's."""
    tree = tmp_path / "toy"
    for name in ("init/main.c", "lib/lib.c", "drivers/toy.c"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(f"int {Path(name).stem}_;\n")
    (tree / "Makefile").write_text(_MAKEFILE)
    (tree / "Kconfig").touch()
    return tree


def _tarball(toy: Path, path: Path) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        archive.add(toy, arcname="linux-toy")
    return path


@pytest.fixture
def source(toy: Path, tmp_path: Path) -> SourceTree:
    """The toy tree as it comes from a tarball: with an identity."""
    return require_source(str(_tarball(toy, tmp_path / "linux-toy.tar.xz")), Silent())


def test_version_of_a_tree() -> None:
    """KERNELVERSION is put together from the four variables."""
    assert parse_version(_MAKEFILE) == "6.1.192-toy"
    assert parse_version("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL =\nEXTRAVERSION =\n") == "6.12"


def test_a_tarball_is_unpacked_once(source: SourceTree, tmp_path: Path) -> None:
    """The tarball's top directory is left out, and the second time the tree is there already."""
    heard = _Heard()
    again = require_source(str(tmp_path / "linux-toy.tar.xz"), heard)
    assert (again, heard.steps) == (source, [])
    assert source.version == "6.1.192-toy"
    assert (source.path / "init/main.c").is_file()
    assert source.identity


def test_unpacking_shows_its_progress_in_bytes(toy: Path, tmp_path: Path) -> None:
    """The bar's total is the tarball's size, and it is reached."""
    tarball, heard = _tarball(toy, tmp_path / "x.tar.xz"), _Heard()
    require_source(str(tarball), heard)
    size = tarball.stat().st_size
    assert heard.steps == [("Unpacking x.tar.xz", size, size)]


def test_a_damaged_tarball_leaves_nothing(toy: Path, tmp_path: Path) -> None:
    """Tar's complaint is shown, and no half-unpacked tree stays in the cache."""
    tarball = _tarball(toy, tmp_path / "linux-toy.tar.xz")
    tarball.write_bytes(tarball.read_bytes()[:-30])
    with pytest.raises(CommandError, match="tar could not unpack"):
        require_source(str(tarball), Silent())
    assert list((tmp_path / "cache/hostbuild/kernel/source").iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda tree: (tree / "Kconfig").unlink(), "not a kernel source tree"),
        (lambda tree: (tree / "Makefile").write_text("all:\n"), "is not the kernel's"),
        (lambda tree: (tree / ".config").touch(), "refuses to build outside"),
    ],
    ids=["no-kconfig", "other-makefile", "configured-inside"],
)
def test_a_tree_that_cannot_be_built_is_refused(toy: Path, spoil: object, complaint: str) -> None:
    """What would fail later, or build something else, is said at once."""
    assert callable(spoil)
    spoil(toy)
    with pytest.raises(InputError, match=complaint):
        read_tree(toy)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    """A path that leads nowhere is named."""
    with pytest.raises(InputError, match="nowhere"):
        require_source(str(tmp_path / "nowhere"), Silent())


def test_build_gives_what_a_debian_package_holds(source: SourceTree) -> None:
    """boot/ has kernel, configuration and symbols; lib/modules has the modules, no link outside."""
    built = build(source, _CONFIG, jobs=2, strip=False, report=Silent())
    assert (built.version, built.modules) == ("6.1.192-toy", 1)
    assert {str(path.relative_to(built.root)) for path in built.root.rglob("*") if not path.is_dir()} == {
        "boot/vmlinuz-6.1.192-toy",
        "boot/config-6.1.192-toy",
        "boot/System.map-6.1.192-toy",
        "lib/modules/6.1.192-toy/kernel/drivers/toy.ko",
    }


def test_the_bar_ends_where_it_said(source: SourceTree) -> None:
    """The number of objects is known before the first is made, and that many are made."""
    heard = _Heard()
    build(source, _CONFIG, jobs=2, strip=False, report=heard)
    assert heard.building() == (3, 3)


def test_what_was_built_as_json(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the kernel lies, and how many modules it has."""
    config = tmp_path / "x.config"
    config.write_text(_CONFIG)
    tarball = _tarball(toy, tmp_path / "linux-toy.tar.xz")
    assert status_of(["kernel", "build", "--source", str(tarball), "--config", str(config), "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert Path(built["vmlinuz"]).is_file()
    assert Path(built["log"]).is_file()
    assert status_of(["kernel", "build", "--source", str(tarball), "--config", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**built, "log": None}


def test_the_same_again_is_taken_from_the_cache(source: SourceTree) -> None:
    """Nothing is started for a kernel that was built before; another configuration is another kernel."""
    first = build(source, _CONFIG, jobs=1, strip=False, report=Silent())
    heard = _Heard()
    second = build(source, _CONFIG, jobs=1, strip=False, report=heard)
    assert (second.root, second.log, heard.steps) == (first.root, None, [])
    assert (
        build(source, "CONFIG_MODULES=y\nCONFIG_NET=y\n", jobs=1, strip=False, report=Silent()).root
        != first.root
    )


def test_modules_are_stripped_on_demand(source: SourceTree) -> None:
    """Debug sections stay unless --strip; both are kept, since they are different kernels."""
    for strip in (False, True):
        built = build(source, _CONFIG, jobs=1, strip=strip, report=Silent())
        [module] = built.root.rglob("toy.ko")
        with module.open("rb") as file:
            has_debug = ELFFile(file).get_section_by_name(".debug_info") is not None
        assert has_debug is not strip


def test_a_kernel_without_modules_is_built_too(source: SourceTree) -> None:
    """Where the configuration has no modules, none are made and none installed."""
    built = build(source, "# CONFIG_MODULES is not set\n", jobs=1, strip=False, report=Silent())
    assert (built.modules, built.vmlinuz.is_file(), (built.root / "lib").exists()) == (0, True, False)


def test_an_error_is_named_and_the_build_goes_on_from_there(source: SourceTree, tmp_path: Path) -> None:
    """The compiler's first error is the message; after the fix only what is missing is made."""
    broken = source.path / "lib/lib.c"
    good = broken.read_text()
    broken.write_text("int f(void) { return nosuch; }\n")
    with pytest.raises(CommandError, match=r"lib/lib.c:1:\d+: error: .nosuch. undeclared") as caught:
        build(source, _CONFIG, jobs=1, strip=False, report=Silent())
    assert "cache/hostbuild/kernel/objects" in caught.value.hint
    assert list((tmp_path / "cache/hostbuild/kernel/built").iterdir()) == []
    broken.write_text(good)
    heard = _Heard()
    build(source, _CONFIG, jobs=1, strip=False, report=heard)
    assert heard.building() == (2, 2)


def test_a_tree_that_may_change_is_made_again(toy: Path) -> None:
    """A user's own tree has no identity: kbuild is asked, and makes what changed."""
    first = build(read_tree(toy), _CONFIG, jobs=1, strip=False, report=Silent()).vmlinuz.read_bytes()
    (toy / "init/main.c").write_text("int main_ = 7;\n")
    heard = _Heard()
    second = build(read_tree(toy), _CONFIG, jobs=1, strip=False, report=heard).vmlinuz.read_bytes()
    assert heard.building() == (1, 1)
    assert second != first


def test_copying_replaces_the_modules_of_that_version_only(source: SourceTree, tmp_path: Path) -> None:
    """A module that is no longer built is gone from the copy; other versions' modules stay."""
    root = tmp_path / "root"
    old, other = (root / "lib/modules" / version / "old.ko" for version in ("6.1.192-toy", "5.10"))
    for path in (old, other):
        path.parent.mkdir(parents=True)
        path.touch()
    built = copy_built(build(source, _CONFIG, jobs=1, strip=False, report=Silent()), root)
    assert (old.exists(), other.exists()) == (False, True)
    assert built.vmlinuz.is_file()


def test_a_copy_without_room_leaves_what_was_there(
    source: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while a built kernel is copied: the old modules are whole, and nothing else is there."""
    built = build(source, _CONFIG, jobs=1, strip=False, report=Silent())
    old = tmp_path / "out/lib/modules/6.1.192-toy/old.ko"
    old.parent.mkdir(parents=True)
    old.touch()
    real = shutil.copy2

    def full(source: str, target: str, **options: bool) -> None:
        if source.endswith(".ko"):
            raise OSError(errno.ENOSPC, "No space left on device", target)
        real(source, target, **options)

    monkeypatch.setattr("hostbuild.kbuild.build.shutil.copy2", full)
    with pytest.raises(WorldError, match=r"cannot write the kernel .*out: No space left on device"):
        copy_built(built, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [old]


def test_missing_packages_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names all that is missing, and one command installs it."""
    monkeypatch.setattr(
        toolchain, "find_program", lambda name: None if name in ("flex", "bison") else f"/bin/{name}"
    )
    with pytest.raises(ToolMissingError, match="flex, bison are missing") as caught:
        toolchain.require_toolchain(Arch.AMD64)
    assert caught.value.hint == "sudo apt-get install --no-install-recommends flex bison"


@pytest.mark.parametrize("arch", [arch for arch in Arch if is_foreign(arch)], ids=str)
def test_a_missing_cross_compiler_is_named(arch: Arch, monkeypatch: pytest.MonkeyPatch) -> None:
    """For another architecture its compiler is asked for, beside this machine's own."""
    cross = f"{arch.facts.cross}gcc"
    monkeypatch.setattr(toolchain, "find_program", lambda name: None if name == cross else f"/bin/{name}")
    monkeypatch.setattr(toolchain, "_compiles", lambda _: True)
    toolchain.require_toolchain(require_own())
    with pytest.raises(
        ToolMissingError, match=f"{arch} kernel cannot be built here: {arch.facts.cross_package} is"
    ):
        toolchain.require_toolchain(arch)


def test_what_make_is_told_of_an_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ARCH= always; CROSS_COMPILE= only for another than this machine's; ccache calls that compiler."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    source = SourceTree(tmp_path, "6.1")

    def told(arch: Arch) -> list[str]:
        return toolchain.make_argv(source, tmp_path / "o", "x", arch=arch, ccache=True)[4:]

    assert told(Arch.AMD64) == ["ARCH=x86_64", "CC=ccache gcc", "x"]
    cross = "aarch64-linux-gnu-"
    assert told(Arch.ARM64) == ["ARCH=arm64", f"CROSS_COMPILE={cross}", f"CC=ccache {cross}gcc", "x"]
    assert told(Arch.RISCV64)[:2] == ["ARCH=riscv", "CROSS_COMPILE=riscv64-linux-gnu-"]
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert told(Arch.ARM64) == ["ARCH=arm64", "CC=ccache gcc", "x"]
    assert told(Arch.AMD64)[:2] == ["ARCH=x86_64", "CROSS_COMPILE=x86_64-linux-gnu-"]


def test_a_kernel_of_another_architecture(source: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration says which; its Image is what is booted, and it is kept under a key that names it."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(
        toolchain, "require_toolchain", lambda _: None
    )  # the toy is compiled by this machine's gcc
    text = "# Linux/arm64 6.1.192 Kernel Configuration\nCONFIG_MODULES=y\n"
    built = build(source, text, jobs=1, strip=False, report=Silent())
    assert built.arch is Arch.ARM64
    assert built.root.name.startswith("6.1.192-toy-arm64-")
    assert built.vmlinuz.read_bytes()
    assert build(source, text, jobs=1, strip=False, report=Silent()).log is None
    own = build(source, _CONFIG, jobs=1, strip=False, report=Silent())
    assert (own.arch, own.log is None) == (Arch.AMD64, False)


@pytest.mark.parametrize(
    ("config", "words", "complaint"),
    [
        (
            "# Linux/arm64 6.1.0 Kernel Configuration",
            ["--arch", "amd64"],
            "is a configuration for arm64, and not for",
        ),
        ("CONFIG_RISCV=y", ["--arch", "arm64"], "is a configuration for riscv64, and not for arm64"),
        (
            "# Linux/sparc 6.1.0 Kernel Configuration",
            [],
            "the configuration is for sparc; kernels are built for",
        ),
        ("CONFIG_MODULES=y", ["--arch", "arm46"], "unknown architecture 'arm46'; did you mean arm64"),
    ],
    ids=["contradicts", "by its options", "another", "none"],
)
def test_a_configuration_of_another_architecture(
    config: str,
    words: list[str],
    complaint: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What contradicts, and what no kernel is built for, is told before anything is made."""
    (tmp_path / "kernel.config").write_text(f"{config}\nCONFIG_64BIT=y\n")
    given = ["--source", str(toy), "--config", str(tmp_path / "kernel.config")]
    assert status_of(["kernel", "build", *given, *words]) == 100
    assert complaint in capsys.readouterr().err


def test_make_is_shielded_from_the_callers_environment() -> None:
    """Variables that steer kbuild do not come in; the stamps are fixed, so that builds repeat."""
    outer = {
        "PATH": "/bin",
        "KBUILD_OUTPUT": "/x",
        "MAKEFLAGS": "-k",
        "KCONFIG_CONFIG": "y",
        "CROSS_COMPILE": "z-",
        "LC_ALL": "de_BE",
    }
    inner = toolchain.make_environment(outer)
    assert inner["PATH"] == "/bin"
    assert not {"KBUILD_OUTPUT", "MAKEFLAGS", "KCONFIG_CONFIG", "CROSS_COMPILE"} & inner.keys()
    assert (inner["LC_ALL"], inner["KBUILD_BUILD_USER"]) == ("C", "hostbuild")


def test_ccache_compiles_where_it_is_there(
    source: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is called by way of ccache if that is installed."""
    log = tmp_path / "ccache.log"
    ccache = tmp_path / "bin/ccache"
    ccache.parent.mkdir()
    ccache.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec "$@"\n')
    ccache.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ccache.parent}:{os.environ['PATH']}")
    build(source, _CONFIG, jobs=1, strip=False, report=Silent())
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["gcc"] * 3
