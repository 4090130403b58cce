"""The closure `requested`: which modules come along because others ask for them, and who asks."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hostbuild.errors import InputError
from hostbuild.formats.modules.asks import Asks, asks_of_kernel
from hostbuild.image.build import BuiltImage
from hostbuild.image.filetree import FileTree
from hostbuild.image.modules import moduleset
from hostbuild.image.modules.module import Module
from hostbuild.image.modules.requested import KERNEL, LIMIT, Requested, Rule, add_requested
from hostbuild.image.modules.selection import Index
from hostbuild.kernels.kernel import Kernel
from tests.support.imagetree import MAGIC, VERSION, find_kernel, pack_modules
from tests.support.kernelfiles import builtin_names, kernel_release
from tests.support.komaker import FakeModule, make_tree, run_depmod

ALIASES = {
    "crypto_sum": ("sum_fast", "sum_slow"),
    "crypto_aes": ("aes_soft",),
    "dm_crypt": ("dm_crypt",),
    "fs_big": ("big",),
    "crypto_in": ("in_module",),
}
NEEDS = {"sum_fast": ("base",), "big": ("base",)}
ASKS = {
    "disk": Asks(frozenset({"crypto-sum", "crypto-in", "no-such", "fs-big"})),
    "sum_slow": Asks(frozenset({"crypto-aes"})),
    "dm_mod": Asks(families=frozenset({"dm-*"})),
    "fat": Asks(options=(("PAGE", "nls_cp{}"),)),
}
NAMES = (
    "disk",
    "sum_fast",
    "sum_slow",
    "base",
    "aes_soft",
    "dm_mod",
    "dm_crypt",
    "big",
    "in_module",
    "fat",
    "nls_cp437",
)
INDEX = Index(
    {name: f"kernel/{name}.ko" for name in NAMES},
    {name: NEEDS.get(name, ()) for name in NAMES},
    {},
    ALIASES,
    frozenset(),
)


def read(name: str) -> Module:
    """Give a module; the large one is beyond what comes along by itself."""
    if name not in INDEX.paths:
        raise InputError(f"no {name}")
    return Module(
        name, INDEX.paths[name], b"", LIMIT if name == "big" else 1, (), asks=ASKS.get(name, Asks())
    )


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel with one algorithm inside, and a configuration."""
    (tmp_path / "modules.builtin.modinfo").write_bytes(b"in.alias=crypto-in\0")
    (tmp_path / "config").write_text("CONFIG_PAGE=437\n")
    (tmp_path / "vmlinuz").write_bytes(b"\x7fELF\0fs-%.*s\0net-pf-%d\0")
    return Kernel(tmp_path / "vmlinuz", "6.1.0-t", "", "test", tmp_path, tmp_path, tmp_path / "config")


def closure(names: set[str], rule: Rule, kernel: Kernel) -> Requested:
    return add_requested(names, rule, INDEX, read, kernel)


def test_small_ones_come_along_with_what_they_need_and_ask_for(kernel: Kernel) -> None:
    """All modules that a word stands for, their dependencies, and what these ask for in their turn."""
    found = closure({"disk"}, Rule.NAMED, kernel)
    assert found.added == {"sum_fast", "sum_slow", "base", "aes_soft"}
    assert found.asked["sum_fast"] == {"disk": ["crypto-sum"]}
    assert found.asked["aes_soft"] == {"sum_slow": ["crypto-aes"]}


def test_what_the_kernel_has_is_not_asked_for(kernel: Kernel) -> None:
    """An algorithm inside the kernel is registered before any module asks."""
    assert "in_module" not in closure({"disk"}, Rule.NAMED, kernel).asked


def test_a_large_one_is_left_out_and_told(kernel: Kernel) -> None:
    """Its size counts with what it needs, as far as that is not in the image; who names it, has it."""
    assert closure({"disk"}, Rule.NAMED, kernel).left_out == {"big": LIMIT + 1}
    named = closure({"disk", "big"}, Rule.NAMED, kernel)
    assert named.left_out == {}
    assert named.asked["big"] == {"disk": ["fs-big"]}
    assert "big" in closure({"disk"}, Rule.ALL, kernel).added


def test_families_come_by_the_rule_all(kernel: Kernel) -> None:
    """dm-* with dm_mod; the kernel's own, file systems among them, with any image."""
    assert closure({"dm_mod"}, Rule.NAMED, kernel).added == set()
    found = closure({"dm_mod"}, Rule.ALL, kernel)
    assert {"dm_crypt", "big"} <= found.added
    assert found.asked["dm_crypt"] == {"dm_mod": ["dm-*"]}
    assert found.asked["big"] == {KERNEL: ["fs-*"]}


def test_none_adds_nothing_and_still_says_who_asks(kernel: Kernel) -> None:
    """What is there anyway has its askers."""
    found = closure({"disk", "sum_slow"}, Rule.NONE, kernel)
    assert (found.added, found.left_out) == (set(), {})
    assert found.asked["sum_slow"] == {"disk": ["crypto-sum"]}


def test_a_number_of_the_configuration(kernel: Kernel) -> None:
    """vfat's default code page is a number in its code, and in the kernel's configuration."""
    assert closure({"fat"}, Rule.NAMED, kernel).added == {"nls_cp437"}


def test_the_table_for_the_guest(kernel: Kernel) -> None:
    """A line for each that is carried, by whom, and the word."""
    found = closure({"disk"}, Rule.NAMED, kernel)
    assert found.table({"disk", "sum_slow"}) == b"sum_slow disk crypto-sum\n"


def test_a_kernel_that_cannot_be_read_is_told(kernel: Kernel) -> None:
    """Its families are then unknown, and the build goes on."""
    kernel.vmlinuz.write_bytes(b"what is this")
    found = closure({"disk"}, Rule.ALL, kernel)
    assert "big" in found.added, "disk itself asks for it"
    [warning] = found.warnings
    assert "what the kernel itself asks for is not known" in warning


def test_a_damaged_module_asks_for_nothing(kernel: Kernel) -> None:
    """It is somebody else's to say that it cannot be read."""
    assert closure({"gone"}, Rule.NAMED, kernel).asked == {}


def test_a_kernels_families() -> None:
    """Only those of which it has the format."""
    assert asks_of_kernel(b"x\0fs-%.*s\0tty-ldisc-%d\0fs-%s\0").families == {"fs-*", "tty-ldisc-*"}


@pytest.mark.slow
def test_the_default_image_has_what_nvme_asks_for(image: BuiltImage) -> None:
    """crc64_rocksoft comes with nvme's t10-pi, and its algorithm with it; what is added is small."""
    requested = image.manifest["requested"]
    if "crc64_rocksoft_generic" in builtin_names(image.kernel):  # as in Debian 13's
        assert "crc64_rocksoft_generic" not in requested["asked"]
    else:
        assert requested["asked"]["crc64_rocksoft_generic"] == {"crc64_rocksoft": ["crypto-crc64-rocksoft"]}
    assert requested["added"]
    modules = {row["name"]: row for row in image.manifest["modules"]}
    assert all(modules[name]["requested"] for name in requested["added"])
    assert sum(modules[name]["size"] for name in requested["added"]) < 1 << 20
    if kernel_release(image.kernel) < (6, 7):  # snd-hda-core asks for it
        assert "i915" in {row["name"] for row in requested["left_out"]}


def asker(folder: Path) -> bytes:
    """Compile a module that asks for the cipher `kt`, with a .modinfo for the tests' kernel."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (make setup-kernel)")
    source = f"""
    static const char info[] __attribute__((section(".modinfo"), used)) = "vermagic={MAGIC}";
    extern void *crypto_alloc_shash(const char *name, int type, int mask);
    void *init_module(void) {{ return crypto_alloc_shash("kt", 0, 0); }}
    """
    (folder / "a.c").write_text(source)
    flags = ["-O2", "-fno-pic", "-fno-pie", "-c"]
    subprocess.run([compiler, *flags, "-o", folder / "a.o", folder / "a.c"], check=True, timeout=60)
    return (folder / "a.o").read_bytes()


@pytest.mark.parametrize("place", ["tree", "overlay"])
@pytest.mark.parametrize("rule", [Rule.NAMED, Rule.NONE])
def test_a_modules_own_bytes_bring_what_it_asks_for(
    place: str, rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file of the kernel's tree or an overlay to the image's modules and its modules.requested."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tree = make_tree(
        tmp_path,
        VERSION,
        [FakeModule("kt_sum", aliases=["crypto-kt"], vermagic=MAGIC), FakeModule("x", vermagic=MAGIC)],
    )
    home = tree if place == "tree" else tmp_path / f"overlay/lib/modules/{VERSION}"
    (home / "kernel").mkdir(parents=True, exist_ok=True)
    (home / "kernel/asker.ko").write_bytes(asker(tmp_path))
    overlays = []
    if place == "tree":
        run_depmod(tmp_path, VERSION)
    else:
        overlays.append(tmp_path / "overlay")
    words = "asker" if place == "tree" else "x"
    packed = pack_modules(tmp_path, words, overlays=overlays, requested=rule)
    came = rule is Rule.NAMED
    assert ("kernel/kt_sum.ko" in packed.modules) is came
    assert packed.files.get("modules.requested", b"") == (b"kt_sum asker crypto-kt\n" if came else b"")
    assert packed.warnings == []


def test_what_a_learned_machine_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names modules for a kernel may have something to say about them: it is among the warnings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_tree(tmp_path / "k", VERSION, [FakeModule("aa", vermagic=MAGIC)])
    brought = moduleset.read_overlays(FileTree(), VERSION)
    wanted = moduleset.Wanted("", lambda *_: (["aa"], ["xhci is not there"]))
    chosen = moduleset.choose("", wanted, find_kernel(tmp_path / "k"), brought)
    assert (chosen.names, chosen.warnings) == ({"aa"}, ["xhci is not there"])
