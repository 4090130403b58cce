"""kernels/find.py, packages.py: the ways to name a kernel, each with its modules and its configuration."""

import gzip
import platform
import shutil
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.errors import InputError, WorldError
from hostbuild.kbuild.configfile import read_config_of
from hostbuild.kernels import find
from hostbuild.kernels.kernel import KernelError, require_kernel
from hostbuild.main import status_of
from hostbuild.ui import Silent
from tests.support.imagetree import MAGIC, VERSION, write_vmlinuz
from tests.support.komaker import FakeModule, make_tree

CONFIG = "CONFIG_RD_GZIP=y\n"


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any kernel, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(find, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(platform, "release", lambda: VERSION)
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


def modules(root: Path, prefix: str = "") -> Path:
    """The made-up kernel's modules below ROOT/PREFIX/lib/modules."""
    return make_tree(root / prefix, VERSION, [FakeModule("aa", vermagic=MAGIC)])


def in_its_directory(root: Path, prefix: str = "usr") -> Path:
    """A kernel with its modules, its vmlinuz and its configuration in one directory; gives the vmlinuz."""
    tree = modules(root, prefix)
    write_vmlinuz(root / "made").rename(tree / "vmlinuz")
    (tree / "config").write_text(CONFIG)
    return tree / "vmlinuz"


@pytest.mark.parametrize("prefix", ["usr", ""])
@pytest.mark.parametrize("named", ["vmlinuz", "directory", "root", "version", "running", "default"])
def test_a_vmlinuz_in_its_module_directory(named: str, prefix: str, system: Path) -> None:
    """As Arch, Fedora and Debian's newest have it, by whichever word it is named."""
    vmlinuz = in_its_directory(system, prefix)
    spec = {
        "vmlinuz": str(vmlinuz),
        "directory": str(vmlinuz.parent),
        "root": str(system),
        "version": VERSION,
        "running": "running",
        "default": None,
    }[named]
    kernel = require_kernel(spec, None, Silent())
    assert (kernel.vmlinuz, kernel.modules, kernel.version) == (vmlinuz, vmlinuz.parent, VERSION)
    assert kernel.config == vmlinuz.with_name("config")
    if spec is not None and spec != "running":
        assert read_config_of(spec)[0] == CONFIG


def test_a_kernel_in_boot(system: Path) -> None:
    """By its version, and with the configuration that Fedora has beside the modules only."""
    vmlinuz = write_vmlinuz(system).rename(system / f"boot/vmlinuz-{VERSION}")
    tree = modules(system)
    (tree / "config").write_text(CONFIG)
    for spec in (VERSION, str(vmlinuz), str(system)):
        kernel = require_kernel(spec, None, Silent())
        assert (kernel.vmlinuz, kernel.modules, kernel.config) == (vmlinuz, tree, tree / "config")


def test_a_directory_with_several_kernels(system: Path) -> None:
    """They are listed, so that one can be named; a directory without any is a directory."""
    write_vmlinuz(system).rename(system / f"boot/vmlinuz-{VERSION}")
    write_vmlinuz(system).rename(system / "boot/vmlinuz-6.1.0-u")
    with pytest.raises(
        KernelError, match=r"has 2 kernels, boot/vmlinuz-6\.1\.0-t and boot/vmlinuz-6\.1\.0-u"
    ):
        require_kernel(str(system), None, Silent())
    with pytest.raises(KernelError, match="is a directory, not a kernel"):
        require_kernel(str(system / "boot"), None, Silent())


def test_a_version_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """All places are named, and what apt said; a release after it looks there."""
    asked: list[str] = []

    def refuse(names: list[str], lists: Lists = OWN, *_more: object) -> list[debs.Package]:
        asked.append(f"{names[0]}/{lists.release}")
        raise InputError(f"apt does not know the package {names[0]}")

    monkeypatch.setattr(debs, "describe", refuse)
    with pytest.raises(KernelError, match=r"no .*/boot/vmlinuz-9\.9\.9-x, .*linux-image-9\.9\.9-x") as caught:
        require_kernel("9.9.9-x", None, Silent())
    assert "9.9.9-x/RELEASE" in caught.value.hint
    with pytest.raises(KernelError):
        require_kernel("9.9.9-x/sid", None, Silent())
    assert asked == ["linux-image-9.9.9-x/", "linux-image-9.9.9-x/sid"]


def test_a_file_called_like_a_version_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the current directory is meant where a path could be."""
    monkeypatch.chdir(tmp_path)
    write_vmlinuz(tmp_path).rename(tmp_path / VERSION)
    assert require_kernel(VERSION, None, Silent()).vmlinuz == tmp_path / VERSION


class Packages:
    """Packages of the made-up kernel, unpacked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.depends: dict[str, tuple[str, ...]] = {}
        monkeypatch.setattr(debs, "describe", self.describe)
        monkeypatch.setattr(debs, "require_unpacked", lambda package, _report=None: self.root / package.name)

    def describe(self, names: list[str], lists: Lists = OWN, *_more: object) -> list[debs.Package]:
        """Stand in for apt."""
        name = names[0].partition("=")[0]
        if name not in self.depends:
            raise InputError(f"apt does not know the package {name}")
        return [debs.Package(name, "1", "all", name, 1, self.depends[name], lists=lists)]

    def add(self, name: str, *depends: str) -> Path:
        """Add a package; give where its files are."""
        self.depends[name] = depends
        (self.root / name).mkdir(parents=True)
        return self.root / name


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    """Debian's packages since 7.2: the image depends on the binary, the modules, and what both need."""
    packages = Packages(tmp_path / "packages", monkeypatch)
    ends = [f"linux-{part}-{VERSION}" for part in ("base", "binary", "modules")]
    packages.add("linux-image-amd64", "linux-base-amd64", f"linux-image-{VERSION}")
    packages.add(f"linux-image-{VERSION}", "initramfs-tools", "linux-base", *ends)
    base, binary, with_modules = (packages.add(name, *ends[:1]) for name in ends)
    packages.depends[ends[0]] = ()
    vmlinuz = in_its_directory(tmp_path / "whole")
    inside = f"usr/lib/modules/{VERSION}"
    for root in (base, binary, with_modules):
        (root / inside).mkdir(parents=True)
    for name in ("config", "modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (vmlinuz.parent / name).rename(base / inside / name)
    vmlinuz.rename(binary / inside / "vmlinuz")
    (vmlinuz.parent / "kernel").rename(with_modules / inside / "kernel")
    (base / inside / "modules.builtin").write_text("kernel/inside.ko\n")
    return packages


def test_split_packages(split: Packages) -> None:
    """The vmlinuz of one, the modules of another and the lists of a third come together; all are told of."""
    kernel = require_kernel("deb:linux-image-amd64/sid", None, Silent())
    assert kernel.package is not None
    assert (kernel.package.name, kernel.package.lists.release) == (f"linux-binary-{VERSION}", "sid")
    assert kernel.package_path == f"usr/lib/modules/{VERSION}/vmlinuz"
    assert sorted(one.name for one in kernel.packages) == [
        f"linux-{part}-{VERSION}" for part in ("base", "binary", "image", "modules")
    ]
    assert kernel.modules is not None
    assert kernel.indexes is not None
    assert (kernel.modules / "kernel/aa.ko").resolve().is_relative_to(split.root / f"linux-modules-{VERSION}")
    assert (kernel.indexes / "modules.dep").read_text() == "kernel/aa.ko:\n"
    assert (kernel.indexes / "modules.builtin").read_text() == "kernel/inside.ko\n"
    assert kernel.config is not None
    assert kernel.config.read_text() == CONFIG
    assert read_config_of(f"deb:linux-image-{VERSION}") == (CONFIG, f"config of linux-binary-{VERSION} 1")


def test_split_modules_are_put_together_anew_when_they_change(split: Packages) -> None:
    """The same files give the same directory, others another one."""
    first, again = (require_kernel("deb:linux-image-amd64", None, Silent()).modules for _ in range(2))
    assert first == again
    kernel = split.root / f"linux-modules-{VERSION}/usr/lib/modules/{VERSION}/kernel"
    shutil.copy(kernel / "aa.ko", kernel / "bb.ko")
    other = require_kernel("deb:linux-image-amd64", None, Silent()).modules
    assert other is not None
    assert other != first
    assert (other / "kernel/bb.ko").is_file()


def test_packages_without_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked through is named."""
    packages = Packages(tmp_path / "packages", monkeypatch)
    packages.add("linux-image-x", "linux-modules-x")
    packages.add("linux-modules-x")
    with pytest.raises(
        KernelError, match=r"linux-image-x 1, with linux-modules-x, holds no kernel \(no vmlinuz"
    ):
        require_kernel("deb:linux-image-x", None, Silent())
    with pytest.raises(InputError, match="not a valid Debian package name"):
        require_kernel("deb:", None, Silent())


def test_no_kernel_package_for_a_strange_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a running kernel that can be read, the default is Debian's for this architecture, if there is one."""
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(WorldError, match="this machine is vax, for which hostbuild makes no images"):
        require_kernel(None, None, Silent())


def test_what_a_kernel_can_unpack_stands_inside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a file of its configuration, that inside the vmlinuz counts, as with Arch's."""
    inside = (
        b"\x7fELF....IKCFG_ST" + gzip.compress(b"# CONFIG_RD_ZSTD is not set\nCONFIG_RD_XZ=y\n") + b"IKCFG_ED"
    )
    payload = gzip.compress(inside)
    vmlinuz = write_vmlinuz(tmp_path / "k")
    head = bytearray(vmlinuz.read_bytes())
    head[0x1F1] = len(head) // 512 - 1
    head[0x206:0x208] = (0x020F).to_bytes(2, "little")
    head[0x248:0x250] = bytes(4) + len(payload).to_bytes(4, "little")
    vmlinuz.write_bytes(head + payload)
    modules(tmp_path / "k")
    command = ["make-image", "-o", str(tmp_path / "x.img"), "--kernel", str(vmlinuz), "--compress", "zstd"]
    assert status_of(command) == 100
    said = capsys.readouterr().err
    assert "cannot unpack zstd (CONFIG_RD_ZSTD is off in its configuration)" in said
    assert "--compress xz" in said
