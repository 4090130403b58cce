"""Roots on encrypted disks, volumes of LVM and md arrays, and fsck: with what `make-image --with` brings."""

import subprocess
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.live.quiet import MARK
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.lines import Line
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.programs import require_program
from tests.vm.test_root import UUID, boot, came_up, make, source
from tests.vm.test_vm import eventually

pytestmark = pytest.mark.vm

__all__ = ["source"]  # the fixture

LUKS_UUID = "99999999-2222-3333-4444-555555555555"
KEY = "open sesame"
# Argon2 in threads, as by default, with little memory and few rounds
LUKS = f"""\
printf %s '{KEY}' >/tmp/key &&
cryptsetup luksFormat -q --uuid {LUKS_UUID} --pbkdf argon2id --pbkdf-memory 32768 --pbkdf-force-iterations 4 \
    --pbkdf-parallel 2 --label vault --key-file /tmp/key /dev/vda &&
cryptsetup open --key-file /tmp/key /dev/vda vault &&
lvm pvcreate -q /dev/mapper/vault && lvm vgcreate -q data /dev/mapper/vault &&
lvm lvcreate -q --noudevsync -W n -Z n -n root -l 100%FREE data &&
dd if=/dev/vdd of=/dev/dm-1 bs=1M && sync
"""
MD = """\
mdadm --create /dev/md0 --run --metadata=1.2 --level=1 --raid-devices=2 --assume-clean /dev/vdb /dev/vdc &&
dd if=/dev/vde of=/dev/md0 bs=1M && sync && mdadm --stop /dev/md0
"""


@pytest.fixture(scope="module")
def tools(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image with all tools and their modules."""
    assert debian_kernel
    extras = (Extra.ROOT, Extra.MD, Extra.LVM, Extra.LUKS, Extra.FSCK)
    return build_image(
        tmp_path_factory.mktemp("tools") / "tools.img", ImageOptions("deb:linux-image-amd64", extras=extras)
    )


def damage(disk: Path, *commands: str) -> Path:
    """Write into an ext4 with debugfs, and mark it as one that has errors."""
    for command in (*commands, "set_super_value state 2"):
        subprocess.run(
            [require_program("debugfs"), "-w", "-R", command, str(disk)], check=True, capture_output=True
        )
    return disk


@pytest.fixture(scope="module")
def disks(tools: BuiltImage, source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A disk with LUKS, LVM and a root in it; and one of an md array's two, with a root that fsck can repair."""
    directory = tmp_path_factory.mktemp("members")
    empty = [directory / f"{name}.img" for name in ("vault", "one", "two")]
    for path in empty:
        with path.open("wb") as file:
            file.truncate(176 << 20)
    plain = make("ext4", source, directory / "plain.img")
    dirty = damage(make("ext4", source, directory / "dirty.img"), "set_super_value free_blocks_count 1")
    machine = read_machine("empty", [f"virtio-blk-pci,file={one}" for one in (*empty, plain, dirty)])
    with vm_of(tools, machine, append="quiet", limit_s=240) as vm:
        vm.settled(timeout=200)
        vm.check(LUKS, timeout=120)
        vm.check(MD, timeout=120)
        vm.check("lvm vgchange -q -an --noudevsync data; sync")
    return empty[0], empty[1]


def test_a_volume_in_an_encrypted_disk(tools: BuiltImage, disks: tuple[Path, Path]) -> None:
    """The passphrase is asked for on the console, again after a wrong one, and does not show; LVM lies inside.

    A host that filters the console is told before that somebody is to look at it.
    """
    machine = read_machine("empty", [f"virtio-blk-pci,file={disks[0]}"])
    append = "quiet micro.console=quiet root=/dev/data/root"
    made, seen = Boot(tools.kernel.vmlinuz, tools.image, append=append, limit_s=240), bytearray()
    with VM(machine, made, listeners={Line.CONSOLE: seen.extend}) as vm:
        assert eventually(lambda: "Passphrase for /dev/vda (vault)" in vm.console, 150), vm.console[-2000:]
        assert MARK in seen.partition(b"Passphrase")[0]
        vm.type(b"nothing of it\n")
        assert eventually(lambda: "That does not open it." in vm.console, 60), vm.console[-2000:]
        assert eventually(lambda: vm.console.count("Passphrase for") == 2, 60), vm.console[-2000:]
        vm.type(KEY.encode() + b"\n")
        assert vm.wait(timeout=150) == 0, vm.console[-3000:]
        assert came_up(vm), vm.console[-3000:]
        assert "nothing of it" not in vm.console
        assert KEY not in vm.console
        records = [r for r in vm.ledger if r["type"] == "root"]
        assert [(r["outcome"], r.get("reason")) for r in records] == [
            ("waiting", "locked"),
            ("waiting", "locked"),
            ("mounted", None),
        ]
        assert records[-1]["device"] == "/dev/dm-1"
        (load,) = [r for r in vm.ledger if r["type"] == "load" and r["module"] == "dm_crypt"]
        assert load["causes"][0]["request"] == "root="


def test_nobody_gives_a_passphrase(tools: BuiltImage, disks: tuple[Path, Path]) -> None:
    """Where the machine is to end by itself nobody is asked, and the diagnosis says what is locked, and the fix."""
    status, vm = boot(
        tools, "root=/dev/data/root modaliasd.poweroff=settled", f"virtio-blk-pci,file={disks[0]}"
    )
    assert status == 111, vm.console[-2000:]
    (record,) = [r for r in vm.ledger if r["type"] == "root"]
    assert (record["outcome"], record["reason"]) == ("lost", "locked")
    assert "/dev/vda is encrypted (LUKS), and no passphrase was given" in record["message"]
    assert f"etc/cryptsetup-keys.d/luks-{LUKS_UUID}.key" in record["fix"]
    assert record["fix"] in vm.console


def test_half_an_array_and_a_file_system_with_errors(tools: BuiltImage, disks: tuple[Path, Path]) -> None:
    """One of two mirrors has not come: it is waited for while it may, then gone without; fsck repairs what it can."""
    status, vm = boot(tools, f"root=UUID={UUID} rw", f"virtio-blk-pci,file={disks[1]}")
    assert status == 0, vm.console[-3000:]
    assert came_up(vm), vm.console[-3000:]
    (record,) = [r for r in vm.ledger if r["type"] == "root"]
    assert record["device"].startswith("/dev/md"), record
    assert record["fsck"].startswith("fsck.ext4 corrected errors: "), record
    assert record["fsck"] in vm.console


def test_what_fsck_cannot_repair(tools: BuiltImage, source: Path, tmp_path: Path) -> None:
    """Errors that take a person: it is not mounted, and the diagnosis has fsck's words."""
    disk = damage(make("ext4", source, tmp_path / "disk.img"), "set_inode_field <2> mode 0100644")
    status, vm = boot(tools, f"root=UUID={UUID} modaliasd.poweroff=settled", f"virtio-blk-pci,file={disk}")
    assert status == 111, vm.console[-2000:]
    (record,) = [r for r in vm.ledger if r["type"] == "root"]
    assert (record["outcome"], record["reason"]) == ("lost", "damaged"), record
    assert "is damaged, and fsck did not repair it" in record["message"]
    assert any("Root inode is not a directory" in line for line in record["details"]), record
    assert "root: 1" not in vm.console
