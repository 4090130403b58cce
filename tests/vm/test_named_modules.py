"""Modules that no device asks for, in a guest: by a node's opening, by a file's line, by an install line's command."""

from collections.abc import Iterator

import pytest

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.kernels.kernel import Kernel
from hostbuild.ledger.stream import Record
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.kernelfiles import builtin_names

pytestmark = pytest.mark.vm

FILES = {
    "etc/modules": "dm_mod\nnf_conntrack hashsize=65536\nno_such\n",
    "etc/modules-load.d/rng.conf": "# a comment\n; another\ndummy\npcspkr\n",
    "usr/lib/modules-load.d/rng.conf": "brd\n",
    "etc/modprobe.d/chain.conf": (
        "install virtio_rng /sbin/modprobe --ignore-install virtio_rng $CMDLINE_OPTS && "
        "{ modprobe --quiet ifb numifbs=1 ; : ; }\nblacklist pcspkr\n"
    ),
}
NODES = {  # node: its module, and its number
    "loop-control": ("loop", "10-237"),
    "fuse": ("fuse", "10-229"),
    "net/tun": ("tun", "10-200"),
    "uinput": ("uinput", "10-223"),
    "vhost-net": ("vhost_net", "10-238"),
    "ppp": ("ppp_generic", "108-0"),
}
SELECTION = (
    "virtio,dm_mod,nf_conntrack,dummy,brd,ifb,pcspkr,loop,fuse,tun,uinput,vhost_net,ppp_generic,binfmt_misc"
)


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """The machine, settled."""
    directory = tmp_path_factory.mktemp("named")
    for name, text in FILES.items():
        (directory / "overlay" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "overlay" / name).write_text(text)
    options = ImageOptions(
        kernel="deb:linux-image-amd64", modules=SELECTION, overlays=(directory / "overlay",)
    )
    built = build_image(directory / "named.img", options)
    boot = Boot(built.kernel.vmlinuz, built.image, append="quiet modules_load=binfmt_misc", limit_s=300)
    with VM(read_machine("virtio"), boot) as running:
        running.settled(timeout=200)
        yield running


def load_of(vm: VM, module: str) -> Record:
    """The last record of the module's load."""
    return [r for r in vm.ledger if r["type"] == "load" and r["module"] == module][-1]


@pytest.mark.parametrize("node", NODES)
def test_opening_a_node_brings_its_module(vm: VM, node: str, debian_kernel: Kernel) -> None:
    """The node is there before its module; who opens it has the kernel ask, and the ledger says who and by what."""
    module, number = NODES[node]
    if module in builtin_names(debian_kernel):
        pytest.skip(f"the kernel {debian_kernel.version} has {module} inside")
    assert module not in vm.check("cut -d' ' -f1 /proc/modules").split()
    vm.check(f"sh -c 'exec 3<>/dev/{node}'; true")
    assert module in vm.check("cut -d' ' -f1 /proc/modules").split()
    record = vm.wait_for(lambda r: r["type"] == "module" and r["module"] == module)
    (cause,) = record["causes"]
    assert cause["alias"] == f"char-major-{number}"
    assert cause["request"].startswith("the kernel, for sh (pid ")
    assert f"asked for it by name: char-major-{number}" in vm.check(f"modaliasd why {module}")


def test_modes(vm: VM, debian_kernel: Kernel) -> None:
    """What everybody may open is so; the rest is root's, and in directories that are made for it."""
    words = vm.check("cd /dev; stat -c '%n %a' fuse net/tun uinput").split()
    wanted = {"fuse": "666", "net/tun": "666", "uinput": "600"}
    if "fuse" in builtin_names(debian_kernel):
        wanted["fuse"] = "600"  # devtmpfs makes it
    assert dict(zip(words[::2], words[1::2], strict=True)) == wanted


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("dm_mod", "/etc/modules"),
        ("nf_conntrack", "/etc/modules"),
        ("dummy", "/etc/modules-load.d/rng.conf"),
        ("binfmt_misc", "kernel command line"),
    ],
)
def test_a_named_module_is_loaded(vm: VM, module: str, file: str) -> None:
    """It is inserted before the first settle, and its cause is the file."""
    load = load_of(vm, module)
    assert (load["outcome"], load["causes"][0]["request"]) == ("inserted", file)


def test_what_a_file_cannot_do(vm: VM) -> None:
    """Options reach the module; a blacklist counts; what is not there is told; a hidden file is not read."""
    assert vm.check("cat /sys/module/nf_conntrack/parameters/hashsize").strip() == "65536"
    assert load_of(vm, "pcspkr")["failure"] == "blacklist"
    (warning,) = [r for r in vm.ledger if r["type"] == "warning" and r["what"] == "modules-load.d"]
    assert (warning["path"], warning["line"]) == ("/etc/modules", 3)
    assert "brd" not in vm.check("cut -d' ' -f1 /proc/modules").split()


def test_an_install_line_for_kmods_modprobe(vm: VM) -> None:
    """`modprobe --ignore-install` in a module's own install line inserts it, with busybox's modprobe, too."""
    load = load_of(vm, "virtio_rng")
    assert (load["outcome"], load.get("message", "")) == ("inserted", "")
    assert "ifb" in vm.check("cut -d' ' -f1 /proc/modules").split()
