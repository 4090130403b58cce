"""Root file systems in guests: of each kind, on each bus, and ways to lose one."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild import debs
from hostbuild.beside.virtiofsd import Folder, find_virtiofsd, serving, why_not
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.outside import with_shared_memory
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.debianroot import require_tar
from tests.support.privileges import require_root
from tests.support.programs import require_program
from tests.vm.test_vm import eventually

pytestmark = pytest.mark.vm

UUID = "11111111-2222-3333-4444-555555555555"
INIT = """#!/bin/sh
echo "root: $$ $* on $(grep ' / ' /proc/mounts)" >/dev/console
for place in /proc /sys /dev /run; do
    grep -q " $place " /proc/mounts || echo "root: lacks $place" >/dev/console
done
grep -q '"type":"root"' /run/modaliasd/ledger.jsonl && echo "root: has the ledger" >/dev/console
/bin/ask
poweroff -f
"""
MAKE = {
    "ext4": "mke2fs -q -t ext4 -U UUID -d SOURCE FILE",
    "xfs": "mkfs.xfs -q -m uuid=UUID -p PROTO FILE",
    "btrfs": "mkfs.btrfs -q -U UUID -r SOURCE FILE",
    "vfat": "mkfs.vfat -i 11112222 FILE",
    "squashfs": "mksquashfs SOURCE FILE -quiet -noappend -all-root",
    "erofs": "mkfs.erofs -U UUID FILE SOURCE",
}
ROOT = dict.fromkeys(MAKE, f"UUID={UUID}") | {"vfat": "UUID=1111-2222", "squashfs": "/dev/vda"}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a small root: busybox, and an init that says where it is."""
    [package] = debs.describe(["busybox-static"])
    unpacked = debs.require_unpacked(package)
    busybox = next(p for p in (unpacked / "bin/busybox", unpacked / "usr/bin/busybox") if p.is_file())
    directory = tmp_path_factory.mktemp("source")
    for name in ("bin", "sbin", "proc", "sys", "dev", "run"):
        (directory / name).mkdir()
    for name in ("sh", "grep", "poweroff", "sleep", "cat", "chroot", "ls"):
        shutil.copy(busybox, directory / "bin" / name)  # vfat has no links
        (directory / "bin" / name).chmod(0o755)
    for name, text in (("sbin/init", INIT), ("bin/ask", "#!/bin/sh\n")):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    return directory


def make(kind: str, source: Path, path: Path) -> Path:
    """Make a file system of this kind with the source in it."""
    if kind not in ("squashfs", "erofs"):
        with path.open("wb") as file:
            file.truncate((320 if kind == "xfs" else 128) << 20)
    proto = path.with_suffix(".proto")
    if kind == "xfs":
        proto.write_text(prototype(source))
    names = {"FILE": str(path), "SOURCE": str(source)}
    words = [
        names.get(word, word).replace("UUID", UUID).replace("PROTO", str(proto))
        for word in shlex.split(MAKE[kind])
    ]
    subprocess.run([require_program(words[0]), *words[1:]], check=True, capture_output=True)
    if kind == "vfat":
        top = [str(child) for child in source.iterdir()]
        subprocess.run(
            [require_program("mcopy"), "-s", "-i", str(path), *top, "::"], check=True, capture_output=True
        )
    return path


def prototype(source: Path) -> str:
    """A description of a tree as mkfs.xfs -p takes it (xfs' own format)."""

    def entries(directory: Path) -> list[str]:
        lines = []
        for child in sorted(directory.iterdir()):
            if child.is_dir():
                lines += [f"{child.name} d--755 0 0", *entries(child), "$"]
            else:
                lines.append(f"{child.name} ---755 0 0 {child}")
        return lines

    return "\n".join(["/", "0 0", "d--755 0 0", *entries(source), "$", ""])


@pytest.fixture(scope="session")
def ext4(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 root. Read-only for tests."""
    return make("ext4", source, tmp_path_factory.mktemp("ext4") / "root.img")


@pytest.fixture(scope="session")
def rooted(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The default image, able to mount root file systems."""
    assert debian_kernel
    path = tmp_path_factory.mktemp("rooted") / "root.img"
    return build_image(path, ImageOptions("deb:linux-image-amd64", extras=(Extra.ROOT,)))


def boot(image: BuiltImage, append: str, *devices: str) -> tuple[int, VM]:
    """Boot an otherwise empty machine to its end; the exit status, and the machine."""
    machine = read_machine("empty", devices)
    with vm_of(image, machine, append=f"quiet {append}", agent=False, limit_s=240) as vm:
        return vm.wait(), vm


def came_up(vm: VM) -> bool:
    """Did the root's init run as the first process, with all that it needs?"""
    return "root: 1 " in vm.console and "root: has the ledger" in vm.console and "lacks" not in vm.console


@pytest.mark.parametrize("kind", MAKE)
def test_each_file_system(rooted: BuiltImage, source: Path, tmp_path: Path, kind: str) -> None:
    """Found by what is on it, mounted with its module through the daemon; its init is the first process."""
    disk = make(kind, source, tmp_path / "disk.img")
    status, vm = boot(rooted, f"root={ROOT[kind]}", f"virtio-blk-pci,file={disk}")
    assert status == 0, vm.console[-2000:]
    assert came_up(vm), vm.console[-2000:]
    (record,) = [r for r in vm.ledger if r["type"] == "root"]
    assert (record["outcome"], record["device"], record["fstype"]) == ("mounted", "/dev/vda", kind)
    load = next((r for r in vm.ledger if r["type"] == "load" and r["module"] == kind), None)
    assert load is not None
    assert load["causes"][0]["request"] == "root="


BUSES = {
    "nvme": ["nvme,serial=1,file=DISK"],
    "usb": ["qemu-xhci", "usb-storage,file=DISK"],
    "sata": ["ide-hd,file=DISK"],
    "virtio-scsi": ["virtio-scsi-pci", "scsi-hd,file=DISK"],
    "sd": ["sd-card,file=DISK"],
}


@pytest.mark.parametrize("bus", BUSES)
def test_each_bus(rooted: BuiltImage, ext4: Path, bus: str) -> None:
    """However long the bus takes to show the disk, it is waited for, without rootwait."""
    devices = [device.replace("DISK", str(ext4)) for device in BUSES[bus]]
    status, vm = boot(rooted, f"root=UUID={UUID} rw", *devices)
    assert status == 0, vm.console[-2000:]
    assert came_up(vm), vm.console[-2000:]


@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_a_partition_of_each_table(rooted: BuiltImage, ext4: Path, tmp_path: Path, table: str) -> None:
    """By PARTUUID, in both tables, and by PARTLABEL where there is one."""
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(150 << 20)
    label = "label-id: 0x5df81a1c" if table == "dos" else ""
    uuid = f', uuid={UUID}, name="my root"' if table == "gpt" else ""
    text = f"label: {table}\n{label}\nstart=2048, size=2048\nstart=4096{uuid}\n"
    subprocess.run(
        [require_program("sfdisk"), "-q", str(disk)], input=text.encode(), check=True, capture_output=True
    )
    with disk.open("r+b") as file:
        file.seek(4096 * 512)
        file.write(ext4.read_bytes())
    words = (
        [f"root=PARTUUID={UUID}", 'root="PARTLABEL=my root"']
        if table == "gpt"
        else ["root=PARTUUID=5df81a1c-02"]
    )
    for word in words:
        status, vm = boot(rooted, word, f"virtio-blk-pci,file={disk}")
        assert status == 0, vm.console[-2000:]
        assert came_up(vm), vm.console[-2000:]
        assert "on /dev/vda2 / ext4 ro" in vm.console


def test_a_shared_directory(rooted: BuiltImage, source: Path, tmp_path: Path) -> None:
    """9p: the tag is what root= names."""
    machine = tmp_path / "shared.toml"
    machine.write_text(
        f'machine = "q35"\nfsdevs = ["local,id=fs,path={source},security_model=none"]\n'
        'devices = ["virtio-9p-pci,fsdev=fs,mount_tag=home"]\n'
    )
    with vm_of(
        rooted, read_machine(str(machine)), append="quiet root=home rootfstype=9p", agent=False, limit_s=240
    ) as vm:
        assert vm.wait() == 0, vm.console[-2000:]
    assert came_up(vm), vm.console[-2000:]
    assert "root: 1  on home / 9p" in vm.console


@pytest.fixture
def served(source: Path, tmp_path: Path) -> Iterator[Path]:
    """The socket of a virtiofsd that serves the source."""
    virtiofsd = find_virtiofsd()
    if virtiofsd is None:
        pytest.skip("virtiofsd is not installed (apt-get install virtiofsd): it is to serve a directory")
    if why := why_not(virtiofsd, source):
        pytest.skip(why)
    folder = Folder(source, tmp_path / "fs.sock")
    with serving(virtiofsd, [folder]):
        yield folder.socket


def test_a_directory_by_virtiofs(rooted: BuiltImage, served: Path) -> None:
    """The same by virtiofs, whose tag the kernel tells only since 6.9: root=virtiofs:TAG."""
    machine = replace(read_machine("empty"), raw=(("-chardev", f"socket,id=fs,path={served}"),))
    machine = with_shared_memory(machine, 512).plus([parse_device("vhost-user-fs-pci,chardev=fs,tag=home")])
    with vm_of(rooted, machine, append="quiet root=virtiofs:home", agent=False, limit_s=240) as vm:
        assert vm.wait() == 0, vm.console[-2000:]
    assert came_up(vm), vm.console[-2000:]
    assert "root: 1  on home / virtiofs" in vm.console


def test_an_overlay(rooted: BuiltImage, source: Path, tmp_path: Path) -> None:
    """`rootovl`: what is written goes to memory, and the disk stays as it is; the word is no argument of init's."""
    disk = make("ext4", source, tmp_path / "disk.img")  # clean: a journal would be replayed
    before = disk.read_bytes()
    status, vm = boot(rooted, f"root=UUID={UUID} rootovl rw bare", f"virtio-blk-pci,file={disk}")
    assert status == 0, vm.console[-2000:]
    assert "root: 1 bare on rootovl / overlay rw" in vm.console
    assert disk.read_bytes() == before


def test_the_daemon_stays(rooted: BuiltImage, source: Path, tmp_path: Path) -> None:
    """modaliasd.root=stay: the daemon goes on, and its commands work from the new root."""
    own = tmp_path / "source"
    shutil.copytree(source, own)
    (own / "bin/ask").write_text(
        "#!/bin/sh\nchroot /run/initramfs /usr/bin/modaliasd settle && "
        "chroot /run/initramfs /usr/bin/modaliasd why ahci >/dev/console\n"
    )
    disk = make("ext4", own, tmp_path / "disk.img")
    status, vm = boot(rooted, f"root=UUID={UUID} modaliasd.root=stay", f"virtio-blk-pci,file={disk}")
    assert status == 0, vm.console[-2000:]
    assert came_up(vm), vm.console[-2000:]
    assert "ahci" in vm.console.partition("has the ledger")[2], vm.console[-2000:]


def test_found_and_enough(rooted: BuiltImage, ext4: Path) -> None:
    """With modaliasd.poweroff=settled the machine ends once the root is mounted, and starts nothing from it."""
    status, vm = boot(rooted, f"root=UUID={UUID} modaliasd.poweroff=settled", f"virtio-blk-pci,file={ext4}")
    assert status == 0
    assert "root: 1" not in vm.console
    assert [r["outcome"] for r in vm.ledger if r["type"] == "root"] == ["mounted"]


LOST = {  # reason -> words of the command line, devices, what is said
    "wrong_name": (f"root=UUID={UUID[:-1]}6", ["virtio-blk-pci,file=DISK"], f"/dev/vda is UUID={UUID}"),
    "wrong_kind": (
        f"root=PARTUUID={UUID}",
        ["virtio-blk-pci,file=DISK"],
        "that is the UUID of /dev/vda",
    ),
    "not_there": ("root=LABEL=home", ["virtio-blk-pci,file=DISK"], "1 disk came, and none has LABEL=home"),
    "no_disk": (f"root=UUID={UUID}", [], "No disk has come"),
    "no_driver": (
        f"root=UUID={UUID}",
        ["am53c974", "scsi-hd,file=DISK"],
        "am53c974 is for it, and is not in this",
    ),
    "denied": (f"root=UUID={UUID} modprobe.blacklist=nvme", ["nvme,serial=1,file=DISK"], "nvme is denied"),
    "no_file_system": ("root=/dev/vda", ["virtio-blk-pci"], "no file system that is known is on it"),
    "file_system_not_in_image": ("root=/dev/vda", ["virtio-blk-pci,file=XFS"], "its module xfs is not in"),
    "file_system_refused": (
        f"root=UUID={UUID} modprobe.blacklist=ext4",
        ["virtio-blk-pci,file=DISK"],
        "ext4 is denied",
    ),
    "no_such_share": ("root=host rootfstype=9p", [], "no directory"),
    "mount_failed": (
        f"root=UUID={UUID} rootflags=nonsense",
        ["virtio-blk-pci,file=DISK"],
        "could not be mounted as ext4",
    ),
    "no_init": (f"root=UUID={UUID} init=/bin/nothing", ["virtio-blk-pci,file=DISK"], "it is not there"),
}


@pytest.fixture(scope="session")
def without(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """An image that lacks a SCSI controller's driver, and xfs."""
    assert debian_kernel
    path = tmp_path_factory.mktemp("without") / "root.img"
    modules = "qemu,-am53c974,-xfs"
    return build_image(path, ImageOptions("deb:linux-image-amd64", modules=modules, extras=(Extra.ROOT,)))


@pytest.fixture(scope="session")
def xfs(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An xfs root. Read-only for tests."""
    return make("xfs", source, tmp_path_factory.mktemp("xfs") / "root.img")


@pytest.mark.parametrize("reason", LOST)
def test_ways_to_lose_it(without: BuiltImage, ext4: Path, xfs: Path, reason: str) -> None:
    """The diagnosis is on the console and in the ledger, and the guest ends with 111; a shell was there before."""
    words, devices, said = LOST[reason]
    devices = [device.replace("DISK", str(ext4)).replace("XFS", str(xfs)) for device in devices]
    status, vm = boot(without, f"{words} modaliasd.poweroff=settled", *devices)
    assert status == 111, vm.console[-2000:]
    (record,) = [r for r in vm.ledger if r["type"] == "root"]
    assert (record["outcome"], record["reason"]) == ("lost", reason)
    assert said in record["message"], record
    assert "The root file system is not there: root=" in vm.console
    assert record["message"] in vm.console


def test_the_shell_and_another_try(rooted: BuiltImage, source: Path, tmp_path: Path) -> None:
    """Lost, it has a shell; a disk that is plugged then is found by `modaliasd root --again`, which goes on there."""
    disk = make("ext4", source, tmp_path / "disk.img")
    with vm_of(rooted, read_machine("empty"), append=f"quiet root=UUID={UUID}", limit_s=300) as vm:
        vm.wait_for(lambda r: r["type"] == "root" and r["outcome"] == "lost", timeout=120)
        vm.check("test -S /run/modaliasd/control")
        vm.device_add("virtio-blk-pci", file=str(disk))
        vm.check("modaliasd wait /dev/vda --timeout 30", timeout=60)
        # Whoever runs it is ended with everything else, maybe before the agent could tell of its status.
        vm.check("(sleep 1; exec modaliasd root --again) >/dev/null 2>&1 &")
        assert vm.wait(timeout=120) == 0, vm.console[-2000:]
    assert "root: 1 " in vm.console, vm.console[-2000:]


def test_rootwait(rooted: BuiltImage, source: Path, tmp_path: Path) -> None:
    """With rootwait it says what is known, and waits; a disk that is plugged in later is the root at once."""
    disk = make("ext4", source, tmp_path / "disk.img")
    append = f"quiet root=UUID={UUID} rootwait"
    with vm_of(rooted, read_machine("empty"), append=append, agent=False, limit_s=240) as vm:
        record = vm.wait_for(lambda r: r["type"] == "root", timeout=150)
        assert (record["outcome"], record["reason"]) == ("waiting", "no_disk")
        assert "is not there yet" in vm.console
        vm.device_add("virtio-blk-pci", file=str(disk))
        assert vm.wait(timeout=150) == 0, vm.console[-2000:]
        assert came_up(vm), vm.console[-2000:]
        assert [r["outcome"] for r in vm.ledger if r["type"] == "root"] == ["waiting", "mounted"]


def test_an_image_that_cannot(image: BuiltImage, ext4: Path) -> None:
    """root= without --with root: said, with the fix; the boot goes on without it."""
    with vm_of(image, read_machine("empty"), append=f"quiet root=UUID={UUID}", limit_s=240) as vm:
        vm.settled(timeout=200)
        assert "this image cannot mount it: hostbuild make-image --with root" in vm.console
        done = vm.sh("modaliasd root")
        assert done.status == 100
        assert "make-image --with root" in done.output
    assert ext4.exists()


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian made by debootstrap, with systemd as its init, on ext4."""
    require_root()
    directory = tmp_path_factory.mktemp("debian")
    root, disk = directory / "root", directory / "disk.img"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "--numeric-owner", "-xpf", require_tar()], check=True)
    with disk.open("wb") as file:
        file.truncate(1 << 30)
    words = ["-q", "-t", "ext4", "-U", UUID, "-d", str(root), str(disk)]
    subprocess.run([require_program("mke2fs"), *words], check=True)
    shutil.rmtree(root)
    return disk


def test_a_debian_reaches_multi_user(rooted: BuiltImage, debian: Path) -> None:
    """systemd is the first process, finds /run, /dev and the rest as it wants them, and starts all of its system."""
    append = f"root=UUID={UUID} rw systemd.show_status=1"
    machine = read_machine("empty", [f"virtio-blk-pci,file={debian}"])
    with vm_of(rooted, machine, append=append, agent=False, memory="1024", limit_s=900) as vm:
        assert eventually(lambda: "multi-user.target" in vm.console or not vm.running, 800), vm.console[
            -3000:
        ]
        assert "Reached target" in vm.console
        assert "[FAILED]" not in vm.console, vm.console[-3000:]
