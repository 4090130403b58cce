"""hostbuild.image.modules.carried and hostbuild.formats.modules.vermagic: each module of an image judged by itself."""

from pathlib import Path

import pytest

from hostbuild.formats.modules.vermagic import Fit, judge
from hostbuild.kernels.kernel import KernelError
from tests.support.imagetree import MAGIC, VERSION, find_kernel, pack_modules
from tests.support.komaker import FakeModule, make_tree

OLD = "6.1.0-s"
STRANGER = MAGIC.replace(VERSION, OLD)
HOPELESS = f"{OLD} SMP mod_unload "


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("magic", "kernels", "fit"),
    [
        (MAGIC, MAGIC, Fit.SURE),
        (MAGIC, "", Fit.SURE),
        (STRANGER, MAGIC, Fit.PERHAPS),
        (STRANGER.replace("preempt ", ""), MAGIC, Fit.NONE),
        (MAGIC.replace("SMP ", ""), MAGIC, Fit.NONE),
        (HOPELESS, "", Fit.NONE),
        ("", MAGIC, Fit.PERHAPS),
    ],
)
def test_verdicts(magic: str, kernels: str, fit: Fit) -> None:
    """With checksums of symbols the release may differ, the other words never; without them all have to agree."""
    assert judge(magic, VERSION, kernels) is fit


@pytest.mark.parametrize("place", ["extra/nv.ko", "updates/dkms/nv.ko", "weak-updates/nv.ko"])
def test_a_stray_module_costs_nobody_else(place: str, tmp_path: Path) -> None:
    """A module of another release in the tree changes nothing for the others; chosen, it comes with a warning."""
    make_tree(
        tmp_path,
        VERSION,
        [FakeModule("vb", vermagic=MAGIC), FakeModule("nv", path=place, vermagic=STRANGER)],
    )
    assert pack_modules(tmp_path, "vb").warnings == []
    packed = pack_modules(tmp_path, "vb,nv")
    assert packed.modules == sorted(["kernel/vb.ko", place])
    [warning] = packed.warnings
    assert f"{place} was built for kernel {OLD}, the kernel is {VERSION}" in warning


def test_what_cannot_be_loaded_is_refused_or_left_out(tmp_path: Path) -> None:
    """A module without checksums, for another release: refused if it was named, else left out with what needs it."""
    make_tree(
        tmp_path,
        VERSION,
        [
            FakeModule("vb", vermagic=MAGIC),
            FakeModule("nv", path="extra/nv.ko", vermagic=HOPELESS),
            FakeModule("user", needs=["nv"], vermagic=MAGIC),
        ],
    )
    for named in ("nv", "user", "vb,nv"):
        with pytest.raises(KernelError, match=f"extra/nv.ko was built for kernel {OLD}.*cannot be loaded"):
            pack_modules(tmp_path, named)
    packed = pack_modules(tmp_path, "all")
    assert packed.modules == ["kernel/vb.ko"]
    assert [w.split(":")[0] for w in packed.warnings] == ["left out"] * 2


def test_another_configuration_of_the_same_release_is_seen(tmp_path: Path) -> None:
    """A module for the same release without SMP is held against those that came with the kernel, chosen or not."""
    odd = FakeModule("odd", path="extra/odd.ko", vermagic=MAGIC.replace("SMP ", ""))
    make_tree(tmp_path, VERSION, [FakeModule("vb", vermagic=MAGIC), odd])
    with pytest.raises(KernelError, match=r"extra/odd\.ko was built with another configuration"):
        pack_modules(tmp_path, "odd")


def test_a_damaged_module_that_was_not_named_is_left_out(tmp_path: Path) -> None:
    """A chosen file that has gone since depmod, or is damaged, costs itself; named, it is an error."""
    tree = make_tree(tmp_path, VERSION, [FakeModule(name, vermagic=MAGIC) for name in ("aa", "bb", "cc")])
    (tree / "kernel/aa.ko").write_bytes(b"damaged")
    (tree / "kernel/bb.ko").unlink()
    packed = pack_modules(tmp_path, "all")
    assert packed.modules == ["kernel/cc.ko"]
    assert any("aa.ko" in warning for warning in packed.warnings)
    with pytest.raises(KernelError, match=r"aa\.ko is damaged"):
        pack_modules(tmp_path, "aa")


def test_a_whole_tree_of_another_kernel_is_refused(tmp_path: Path) -> None:
    """Where all modules that came with the kernel say another release, it is the wrong tree."""
    make_tree(tmp_path, VERSION, [FakeModule(name, vermagic=STRANGER) for name in ("aa", "bb")])
    with pytest.raises(KernelError, match=f"are for kernel {OLD}, but the kernel is {VERSION}"):
        find_kernel(tmp_path)
