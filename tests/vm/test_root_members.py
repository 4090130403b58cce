"""Root file systems on a volume of LVM and on an md array, whose tools an overlay brings."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.machine import read_machine
from hostbuild.run import find_program
from tests.support.boots import vm_of
from tests.support.programs import require_program
from tests.vm.test_root import UUID, came_up, make, source

pytestmark = pytest.mark.vm

__all__ = ["source"]  # the fixture

LVM = """\
lvm pvcreate -q /dev/vda && lvm vgcreate -q data /dev/vda &&
lvm lvcreate -q --noudevsync -W n -Z n -n root -l 100%FREE data && dd if=/dev/vdb of=/dev/dm-0 bs=1M && sync
"""
MD = """\
mdadm --create /dev/md0 --run --metadata=1.2 --level=1 --raid-devices=2 /dev/vda missing &&
dd if=/dev/vdb of=/dev/md0 bs=1M && sync && mdadm --stop /dev/md0
"""


def bring(program: str, directory: Path) -> None:
    """Copy a program of this machine and its libraries."""
    found = require_program(program)
    said = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
    for word in {*(word for word in said.split() if word.startswith("/")), found}:
        place = directory / "usr" / word.lstrip("/").removeprefix("usr/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(word, place)


@pytest.fixture(scope="module")
def tools(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with both tools and their modules."""
    assert debian_kernel
    directory = tmp_path_factory.mktemp("tools")
    for program in ("lvm", "mdadm"):
        if find_program(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install lvm2 mdadm): an image is to carry it")
        bring(program, directory / "overlay")
    options = ImageOptions(
        "deb:linux-image-amd64",
        modules="qemu,dm_mod,raid1",
        overlays=(directory / "overlay",),
        extras=(Extra.ROOT,),
    )
    return build_image(directory / "tools.img", options)


@pytest.mark.parametrize(
    ("commands", "name", "node"),
    [(LVM, "/dev/data/root", "/dev/dm-0"), (MD, f"UUID={UUID}", "/dev/md")],
    ids=["lvm", "md"],
)
def test_what_lies_on_members(
    tools: BuiltImage, source: Path, tmp_path: Path, commands: str, name: str, node: str
) -> None:
    """Made in one boot, found in the next: the member is opened as it comes, and what that makes is the root."""
    plain, disk = make("ext4", source, tmp_path / "plain.img"), tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(160 << 20)
    machine = read_machine("empty", [f"virtio-blk-pci,file={one}" for one in (disk, plain)])
    with vm_of(tools, machine, append="quiet", limit_s=240) as vm:
        vm.settled(timeout=200)
        vm.check("modaliasd load dm_mod raid1", timeout=60)
        vm.check(commands, timeout=120)
        vm.check("sync")
    machine = read_machine("empty", [f"virtio-blk-pci,file={disk}"])
    with vm_of(tools, machine, append=f"quiet root={name}", agent=False, limit_s=240) as vm:
        assert vm.wait() == 0, vm.console[-3000:]
        assert came_up(vm), vm.console[-3000:]
        (record,) = [r for r in vm.ledger if r["type"] == "root"]
        assert record["device"].startswith(node), record
