"""hostbuild boot TREE and hostbuild try MODULE.ko: a build tree booted, a module put anew, a driver bound, or why not.

The trees are laid out from Debian's kernel, as make leaves them; the driver is examples/edu, compiled here.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hostbuild.kbuild.external import build_overlay
from hostbuild.kernels.kernel import Kernel
from tests.support.buildtree import lay_out
from tests.support.commandline import hostbuild_argv
from tests.support.programs import require_program

pytestmark = [pytest.mark.vm, pytest.mark.net]

LIMIT_S = 240
DRIVER = Path(__file__).resolve().parents[2] / "examples/edu/driver"
OPTIONS = ("--machine", "empty", "--accel", "tcg", "--timeout", str(LIMIT_S))
E1000 = "drivers/net/ethernet/intel/e1000/e1000.ko"


@pytest.fixture(scope="module")
def tree(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build tree with a few modules."""
    names = ["virtio_pci", "e1000", "9p", "9pnet_virtio"]
    return lay_out(debian_kernel, tmp_path_factory.mktemp("tree") / "linux", names)


@pytest.fixture(scope="module")
def drivers(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with edu.ko, and with what is wrong in its own way in directories of their own."""
    for program in ("make", "gcc"):
        require_program(program)
    root = tmp_path_factory.mktemp("drivers")
    shutil.copytree(DRIVER, root / "source")
    shutil.copytree(DRIVER, root / "deaf")
    code = root / "deaf/edu.c"
    text = code.read_text()
    assert "#define EDU_MAGIC 0xed" in text
    code.write_text(text.replace("#define EDU_MAGIC 0xed", "#define EDU_MAGIC 0xee"))
    for name, to in (("source", "good"), ("deaf", "probe")):
        (root / "overlay" / name).mkdir(parents=True)
        (root / to).mkdir()
        [built] = build_overlay(root / name, debian_kernel, root / "overlay" / name).rglob("*.ko")
        shutil.copy(built, root / to / "edu.ko")
    good = (root / "good/edu.ko").read_bytes()
    for to, old, new in (
        ("symbol", b"misc_register", b"misc_registxr"),
        ("kernel", b" SMP preempt mod_unload", b" SMP preempt mod_unloax"),
    ):
        assert old in good
        (root / to).mkdir()
        (root / to / "edu.ko").write_bytes(good.replace(old, new))
    return root


def hostbuild(*words: str | Path) -> tuple[int, str, str]:
    """Run the command line; return status, standard output, standard error."""
    done = subprocess.run(
        hostbuild_argv(*words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S + 60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_tree_boots_with_the_module_that_was_built_last(tree: Path, tmp_path: Path) -> None:
    """Twice: as it was first made, and with another e1000 in a second archive, which the kernel unpacks over the first.

    make builds that one in place, called by --rebuild. The command's status is ours, and a folder is shared.
    """
    (tmp_path / "here").write_text("shared\n")
    require_program("make")
    driver = f"/lib/modules/$(uname -r)/kernel/{E1000}"
    script = f"cat here; basename $(readlink -f /sys/class/net/eth0/device/driver); grep -c CHANGED {driver}; exit 7"
    words = ("--device", "e1000", "--share", tmp_path, "--cwd", tmp_path, *OPTIONS, "--", "sh", "-c", script)
    status, out, err = hostbuild("boot", tree, *words)
    assert (status, out.split()) == (7, ["shared", "e1000", "0"]), err
    data = (tree / E1000).read_bytes()
    assert b"description=Intel(R)" in data
    (tree / "compiled").write_bytes(data.replace(b"description=Intel(R)", b"description=CHANGED!"))
    (tree / "Makefile").write_text(f"all: {E1000}\n{E1000}: compiled\n\tcp $< $@\n")
    status, out, err = hostbuild("boot", tree, "--rebuild", *words)
    assert (status, out.split()) == (7, ["shared", "e1000", "1"]), err
    status, out, err = hostbuild("boot", tree, "--dry-run", "--json")
    assert (status, json.loads(out)["argv"][0]) == (0, "qemu-system-x86_64"), err


def test_a_module_is_bound_and_its_device_used(tree: Path, drivers: Path) -> None:
    """The device has it loaded by its alias; then the command runs, whose status is ours: 5! is 120."""
    script = "echo 5 > /dev/edu0; cat /dev/edu0; exit 3"
    words = ("--kernel", tree, "--device", "edu", *OPTIONS, "--", "sh", "-c", script)
    status, out, err = hostbuild("try", drivers / "good/edu.ko", *words)
    assert (status, out.strip()) == (3, "120"), err
    assert "is driven by pci:edu of edu, by its alias pci:v00001234d000011E8" in err
    assert "edu: loading out-of-tree module taints kernel" in err


@pytest.mark.parametrize(
    ("module", "device", "said"),
    [
        ("symbol", "edu", ["the kernel has no symbol misc_registxr", "Unknown symbol misc_registxr"]),
        ("probe", "edu", ["drives none of the devices", "has no driver: the probe did not take it"]),
        ("good", "e1000", ["no device here is one for its driver pci:edu", "its alias: pci:v00001234d000011E8"]),
        ("kernel", "edu", ["it was built for another kernel", "mod_unloax"]),
    ],
)  # fmt: skip
def test_a_module_is_not_bound(module: str, device: str, said: list[str], tree: Path, drivers: Path) -> None:
    """And why: a symbol that nobody has, a probe that fails, no device of its, another kernel's. The status is 1."""
    path = drivers / module / "edu.ko"
    status, out, err = hostbuild("try", path, "--kernel", tree, "--device", device, "--json", *OPTIONS)
    assert status == 1, err
    answer = json.loads(out)
    for words in said:
        assert words in "\n".join(answer["lines"] + answer["log"])
    assert (answer["bound"], bool(answer["fix"])) == (False, True)
