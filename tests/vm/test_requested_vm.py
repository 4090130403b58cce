"""What the kernel asks for by name in a guest, held against what was foreseen from the modules' own bytes.

The oracle is the kernel: what it calls for modules (/proc/sys/kernel/modprobe) writes down every word. The machine is
the zoo, with file systems on disks of their own; the image has whatever may be asked for (`--requested all`), and the
guest does what people do: mounts, sockets, ciphers, device mapper, links, terminals.
"""

import fnmatch
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, Modprobe, build_image
from hostbuild.image.modules.requested import Rule
from hostbuild.image.modules.selection import Index, read_index
from hostbuild.kernels.kernel import Kernel
from hostbuild.kernels.kernel_modules import builtin_values
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.support.kernelfiles import builtin_names
from tests.support.places import OVERLAY

pytestmark = pytest.mark.vm

SELECTION = "qemu,btrfs,xfs,f2fs,udf,hfsplus,dm_mod,dm_crypt,md_mod,af_alg,zram,crc64_rocksoft,bluetooth"
LOGGER = """\
#!/bin/sh
for word in "$@"; do :; done
printf '%s\\n' "$word" >>/run/asked
exec /usr/lib/micro/request-module.real "$@"
"""
MAKERS = {  # file system: its maker, the options, the size of its disk in MiB
    "ext4": (["mkfs.ext4", "-q", "-F", "-O", "metadata_csum,encrypt"], 32),
    "vfat": (["mkfs.vfat"], 16),
    "btrfs": (["mkfs.btrfs", "-q", "--csum", "xxhash"], 128),
    "xfs": (["mkfs.xfs", "-q"], 320),
    "f2fs": (["mkfs.f2fs", "-q"], 64),
}
# What a guest's program does to have the kernel ask. Each step may fail: what counts is what was asked for.
PROGRAM = """
import fcntl, os, socket, struct

def attempt(step, *arguments):
    try:
        return step(*arguments)
    except (OSError, ValueError):
        return None

for family in range(46):
    attempt(socket.socket, family, socket.SOCK_DGRAM)
for protocol in (33, 132, 136):  # DCCP, SCTP, UDP-Lite
    attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM if protocol == 136 else socket.SOCK_STREAM, protocol)
for protocol in range(23):
    attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, protocol)
for kind, name in (("skcipher", "xts(aes)"), ("hash", "hmac(sha512)"), ("aead", "gcm(aes)"), ("hash", "no-such")):
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as algorithm:
        attempt(algorithm.bind, (kind, name))
with socket.socket() as stream:
    for name in (b"bbr", b"vegas", b"nosuch"):
        attempt(stream.setsockopt, socket.IPPROTO_TCP, 13, name)
# device mapper: a device, and a table with a target that is a module (linux/dm-ioctl.h)
control = attempt(os.open, "/dev/mapper/control", os.O_RDWR)
def dm(number, targets=b"", count=0, flags=0):
    head = struct.pack("=7I", 4, 0, 0, 312 + len(targets), 312, count, 0) + struct.pack("=IIIQ", flags, 0, 0, 0)
    head = head.ljust(48, b"\\0") + b"asked".ljust(257, b"\\0")
    return attempt(fcntl.ioctl, control, 0xC138FD00 | number, head.ljust(312, b"\\0") + targets)
if control is not None:
    dm(3)
    for kind in (b"snapshot", b"crypt", b"nosuch"):
        text = b"x\\0".ljust(8, b"\\0")
        dm(9, struct.pack("=QQiI", 0, 8, 0, 40 + len(text)) + kind.ljust(16, b"\\0") + text, 1)
# line disciplines, on a terminal that nobody uses
line = os.open("/dev/tty9", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
for number in range(30):
    attempt(fcntl.ioctl, line, 0x5423, struct.pack("i", number))
os.makedirs("/tmp/nodes", exist_ok=True)
for number in range(1, 260):
    for kind, letter in ((0o020000, "c"), (0o060000, "b")):
        path = f"/tmp/nodes/{letter}{number}"
        attempt(os.mknod, path, kind | 0o600, os.makedev(number, 77))
        descriptor = attempt(os.open, path, os.O_RDONLY | os.O_NONBLOCK)
        if descriptor is not None:
            os.close(descriptor)
with open("/tmp/odd", "wb") as file:
    file.write(b"\\x01\\x02\\x03\\x04" * 64)
os.chmod("/tmp/odd", 0o755)
attempt(os.posix_spawn, "/tmp/odd", ["odd"], {})
"""
SHELL = """\
for fs in 9p afs ceph cifs erofs exfat hfsplus iso9660 jfs minix nfs ntfs3 nosuch overlay squashfs udf virtiofs; do
    mount -t $fs none /mnt; done
for kind in bridge bond dummy ifb ipvlan macvlan vcan veth vlan vxlan wireguard nosuch; do
    ip link add link0 type $kind; ip link del link0; done
ifconfig nosuch0; tc qdisc add dev lo root fq; tc qdisc add dev lo root nosuch
modprobe zram; echo lz4 >/sys/block/zram0/comp_algorithm
modprobe crc64_rocksoft; modprobe libcrc32c; modprobe crc-t10dif; modprobe drbg; modprobe bluetooth
true
"""


@dataclass(frozen=True)
class Boot:
    """What was booted, and the words that the kernel asked for in their order."""

    built: BuiltImage
    words: list[str]


def disks_of(folder: Path) -> list[str]:
    """Make a disk for each file system that this host can make; give them as devices."""
    devices = []
    for kind, (maker, size) in MAKERS.items():
        path = folder / f"{kind}.disk"
        program = shutil.which(maker[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
        if program is None:
            continue
        with path.open("wb") as file:
            file.truncate(size << 20)
        subprocess.run([program, *maker[1:], path], check=True, capture_output=True, timeout=120)
        devices.append(f"virtio-blk-pci,serial={kind},file={path}")
    return devices


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """The zoo, booted and made to ask."""
    folder = tmp_path_factory.mktemp("requested")
    micro = folder / "overlay/usr/lib/micro"
    micro.mkdir(parents=True)
    shutil.copy(OVERLAY / "usr/lib/micro/request-module", micro / "request-module.real")
    (micro / "request-module").write_text(LOGGER)
    (micro / "request-module").chmod(0o755)
    (folder / "overlay/ask.py").write_text(PROGRAM)
    options = ImageOptions(
        kernel="deb:linux-image-amd64",
        modules=SELECTION,
        requested=Rule.ALL,
        overlays=(folder / "overlay",),
        python=("fcntl", "socket", "struct"),
    )
    built = build_image(folder / "all.img", options)
    machine = read_machine("q35", disks_of(folder))
    with vm_of(built, machine, append="quiet", memory="1024", limit_s=900) as vm:
        vm.settled(timeout=400)
        for kind in MAKERS:
            disk = f"$(dirname $(grep -lsx {kind} /sys/block/*/serial))"
            vm.sh(f"mkdir -p /mnt/{kind}; mount -t {kind} /dev/$(basename {disk}) /mnt/{kind}", timeout=60)
        vm.check("python3 /ask.py", timeout=300)
        vm.sh(SHELL, timeout=300)
        mounted = vm.check("cut -d' ' -f3 /proc/mounts").split()
        assert {kind for kind in MAKERS if (folder / f"{kind}.disk").exists()} <= {*mounted}
        return Boot(built, vm.check("cat /run/asked").splitlines())


def full_index(built: BuiltImage) -> Index:
    """All that the kernel has, whatever the image carries."""
    return read_index(built.kernel)


def test_whatever_the_kernel_asked_for_was_foreseen(boot: Boot) -> None:
    """Each word that stands for modules of this kernel is one that somebody in the image was seen to ask for."""
    index, asked = full_index(boot.built), boot.built.manifest["requested"]["asked"]
    unforeseen = {}
    for word in dict.fromkeys(boot.words):
        for module in index.resolve(word):
            told = [one for words in asked.get(module, {}).values() for one in words]
            if not any(fnmatch.fnmatchcase(word.replace("-", "_"), one.replace("-", "_")) for one in told):
                unforeseen[word] = module
    assert unforeseen == {}
    assert len([word for word in set(boot.words) if index.resolve(word)]) > 60, "little was asked for"


def test_the_kinds_that_were_asked_for(boot: Boot) -> None:
    """The guest made the kernel ask for every kind: ciphers, file systems, character sets, protocols, links, nodes."""
    kinds = {"crypto-", "fs-", "net-pf-", "char-major-", "rtnl-link-", "tty-ldisc-", "dm-", "tcp_", "algif-"}
    assert {kind for kind in kinds if any(word.startswith(kind) for word in boot.words)} == kinds


def test_what_drivers_name_themselves(boot: Boot) -> None:
    """Of the words that were asked for, those of checksums and character sets are known, not just their families."""
    asked = boot.built.manifest["requested"]["asked"]
    named = {
        word for askers in asked.values() for words in askers.values() for word in words if "*" not in word
    }
    own = {"crypto-crc64-rocksoft", "crypto-crct10dif", "nls_cp437", "nls_ascii"}
    if shutil.which("mkfs.btrfs", path="/usr/sbin:/sbin") is not None:
        own.add("crypto-xxhash64")
    inside = builtin_names(boot.built.kernel)
    own -= {word for word in own if f"{word.removeprefix('crypto-').replace('-', '_')}_generic" in inside}
    assert {word for word in boot.words if word in own} <= named
    assert "crypto-crc64-rocksoft" in boot.words or "crc64_rocksoft_generic" in inside


def test_nothing_is_asked_for_that_the_kernel_has(boot: Boot) -> None:
    """An algorithm of a driver inside the kernel is registered, and no module is asked for in its place."""
    inside = {word for words in builtin_values(boot.built.kernel.modules, "alias").values() for word in words}
    assert [word for word in boot.words if word.startswith("crypto-") and word in inside] == []


@pytest.fixture(scope="module", params=list(Modprobe), ids=lambda modprobe: modprobe.value)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """The default rule, with either modprobe."""
    options = ImageOptions(
        kernel="deb:linux-image-amd64", modules="virtio,crc64_rocksoft,loop", modprobe=request.param
    )
    built = build_image(tmp_path_factory.mktemp("small") / "small.img", options)
    with vm_of(built, read_machine("virtio"), append="quiet", limit_s=300) as vm:
        vm.settled(timeout=200)
        yield vm


def test_why_names_who_asks(small: VM, debian_kernel: Kernel) -> None:
    """A module's checksum comes with it, and `why` says who asked and who asks; before, `why-not` says the latter."""
    if "crc64_rocksoft_generic" in builtin_names(debian_kernel):
        pytest.skip(f"the kernel {debian_kernel.version} has crc64_rocksoft_generic inside")
    line = "crc64_rocksoft asks for it when needed: crypto-crc64-rocksoft"
    assert line in small.sh("modaliasd why-not crc64_rocksoft_generic").output
    small.check("modprobe crc64_rocksoft")
    assert "crc64_rocksoft_generic" in small.check("cut -d' ' -f1 /proc/modules").split()
    record = small.wait_for(lambda r: r["type"] == "module" and r["module"] == "crc64_rocksoft_generic")
    (cause,) = record["causes"]
    assert cause["alias"] == "crypto-crc64-rocksoft"
    assert cause["request"].startswith("the kernel, for ")
    why = small.check("modaliasd why crc64_rocksoft_generic")
    assert line in why
    assert "asked for it by name: crypto-crc64-rocksoft" in why


def test_a_node_has_its_cause_with_either_modprobe(small: VM) -> None:
    """The ledger names the task that opened the node."""
    small.check("sh -c 'exec 3<>/dev/loop-control'; true")
    record = small.wait_for(lambda r: r["type"] == "module" and r["module"] == "loop")
    (cause,) = record["causes"]
    assert cause["request"].startswith("the kernel, for sh (pid ")
