"""Ways to lose a root file system, each with its diagnosis: core/root/diagnosis.py over ledgers of each."""

from typing import Any

import pytest

from modaliasd.core.ledger.history import history_of
from modaliasd.core.root.diagnosis import Diagnosis, Facts, Reason, diagnose
from modaliasd.core.root.members import Fate, Outcome
from modaliasd.core.root.superblock import Superblock
from modaliasd.core.root.target import BlockDevice
from modaliasd.core.root.words import parse_root
from tests.support.ledgers import Maker

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CARD = "/devices/pci0000:00/0000:00:03.0"
RAID = "pci:v00001000d0000005Bsv00001000sd00009240bc01sc04i00"
BLK = "/devices/pci0000:00/0000:00:04.0/virtio1"
VDA = BlockDevice("/dev/vda", size=1 << 20)
EXT4 = Superblock("ext4", OTHER, "data")


def disk(holds: Superblock | None = None, node: str = "/dev/vda", **fields: Any) -> BlockDevice:
    """A disk of a megabyte."""
    return BlockDevice(node, holds=holds, size=1 << 20, **fields)


def lost(line: str = f"root=UUID={UUID}", maker: Maker | None = None, **facts: Any) -> Diagnosis:
    """The diagnosis of a boot with these words."""
    history = history_of((maker or Maker()).records)
    return diagnose(history, Facts(words=parse_root(line), **facts))


def card(modalias: str = RAID, matches: list[tuple[str, str]] | None = None) -> Maker:
    """A ledger with a disk controller that has no driver."""
    maker = Maker()
    maker.device(CARD, subsystem="pci", modalias=modalias, matches=matches or [])
    return maker


def asked(module: str) -> dict[str, str]:
    """The cause of a load that the card asked for."""
    return {"devpath": CARD, "modalias": RAID, "alias": "pci:*"}


def test_words_that_make_no_sense() -> None:
    """A root= that cannot be understood is the command line's fault, and what is there is shown."""
    found = lost("root=UIID=1", devices=(disk(EXT4),))
    assert (found.reason, found.status) == (Reason.WORDS, 100)
    assert "`root=UIID=1` is none of UUID=" in found.sentence
    assert found.details == (f"there: /dev/vda  ext4  UUID={OTHER}  LABEL=data",)


def test_no_disk_at_all() -> None:
    """Every controller has its driver, and no disk came."""
    maker = Maker()
    maker.device(CARD, subsystem="pci", modalias=RAID, matches=[("pci:*", "ahci")], driver="ahci")
    found = lost(maker=maker)
    assert (found.reason, found.status) == (Reason.NO_DISK, 111)
    assert "No disk has come" in found.sentence


def test_a_driver_that_is_not_in_the_image() -> None:
    """The kernel has a module for the controller, and the image does not: which, and how to make one that has it."""
    found = lost(maker=card(), absent=lambda modalias: ["megaraid_sas"] if modalias == RAID else [])
    assert found.reason is Reason.NO_DRIVER
    assert (
        "pci 0000:00:03.0 has no driver: megaraid_sas is for it, and is not in this image" in found.sentence
    )
    assert "hostbuild make-image --modules qemu,megaraid_sas" in found.fix


def test_a_load_that_missed_its_file() -> None:
    """The image's own tables name the module, and its file is not there."""
    maker = card(matches=[("pci:*", "megaraid_sas")])
    maker.load(
        "megaraid_sas",
        asked("x"),
        outcome="failed",
        failure="not_in_image",
        message="it is not in this image",
    )
    found = lost(maker=maker)
    assert found.reason is Reason.NO_DRIVER
    assert "make-image --modules qemu,megaraid_sas" in found.fix


def test_a_device_that_this_kernel_knows_no_driver_for() -> None:
    """A disk controller that no module is for, in the image or out of it."""
    found = lost(maker=card())
    assert found.reason is Reason.UNKNOWN_DEVICE
    assert f"has no driver in this kernel ({RAID})" in found.sentence


@pytest.mark.parametrize(
    ("failure", "message", "fix"),
    [
        ("policy", "line 3 of /etc/modaliasd/policy.toml forbids it", "take that line away"),
        ("blacklist", "line 1 of /etc/modprobe.d/x.conf blacklists it", "take that line away"),
        ("module_blacklist", "module_blacklist= forbids it", "take megaraid_sas out of module_blacklist="),
    ],
)
def test_a_driver_that_is_denied(failure: str, message: str, fix: str) -> None:
    """Who denies it is named, and what lifts that."""
    maker = card(matches=[("pci:*", "megaraid_sas")])
    maker.load("megaraid_sas", asked("x"), outcome="denied", failure=failure, message=message)
    found = lost(maker=maker)
    assert found.reason is Reason.DENIED
    assert f"megaraid_sas is denied, {message}" in found.sentence
    assert fix in found.fix


def test_a_driver_whose_load_failed() -> None:
    """The module is there and the kernel refused it."""
    maker = card(matches=[("pci:*", "megaraid_sas")])
    maker.load("megaraid_sas", asked("x"), outcome="failed", failure="wrong_kernel", message="version magic")
    found = lost(maker=maker)
    assert found.reason is Reason.FAILED
    assert "megaraid_sas failed: version magic" in found.sentence
    assert "make-image --kernel KERNEL" in found.fix


def test_a_driver_that_refused_its_device() -> None:
    """The module is in, and its driver did not take the controller."""
    maker = card(matches=[("pci:*", "megaraid_sas")])
    maker.load("megaraid_sas", asked("x"))
    maker.add(
        "unbound",
        devpath=CARD,
        subsystem="pci",
        modalias=RAID,
        drivers=["megaraid_sas"],
        modules=["megaraid_sas"],
    )
    found = lost(maker=maker)
    assert found.reason is Reason.UNBOUND
    assert "was not taken by its driver (megaraid_sas)" in found.sentence


def test_a_probe_that_waits_for_a_supplier() -> None:
    """The kernel has put the probe off, and says what for."""
    maker = card(matches=[("pci:*", "megaraid_sas")])
    maker.load("megaraid_sas", asked("x"))
    maker.add("warning", what="deferred probe", message="0000:00:03.0 waits: supplier clock not ready")
    found = lost(maker=maker)
    assert found.reason is Reason.WAITING
    assert "waits for a supplier: supplier clock not ready" in found.sentence


def test_a_probe_that_does_not_end() -> None:
    """A module has been loading for long, and nothing else is on its way."""
    found = lost(
        maker=card(matches=[("pci:*", "megaraid_sas")]), stuck=("megaraid_sas",), devices=(disk(EXT4),)
    )
    assert found.reason is Reason.PROBING
    assert "The load of megaraid_sas has not ended" in found.sentence
    assert any("megaraid_sas is still loading" in line for line in found.details)


@pytest.mark.parametrize(
    ("line", "said", "fix"),
    [
        (f"root=UUID={UUID[:-1]}6", f"/dev/vda is UUID={UUID}", f"root=UUID={UUID}"),
        ("root=LABEL=roof", "/dev/vda is LABEL=root", "root=LABEL=root"),
        ("root=/dev/sda1", "/dev/vda1 is there", "root=/dev/vda1;"),
        ("root=/dev/vda3", "/dev/vda has only /dev/vda1", "root=/dev/vda1"),
        ("root=PARTLABEL=rot", "/dev/vda1 is PARTLABEL=root part", "root=PARTLABEL=root part"),
    ],
)
def test_a_name_that_is_nearly_right(line: str, said: str, fix: str) -> None:
    """A typing error, another kind of disk, a partition too many: what was probably meant is said."""
    devices = (
        disk(Superblock("ext4", UUID, "root")),
        disk(
            None,
            "/dev/vda1",
            disk="vda",
            part=1,
            partuuid="5df81a1c-01",
            partlabel="rot part"[:2] + "ot part",
        ),
    )
    if "PARTLABEL" in line:
        devices = (devices[0], devices[1]._replace(partlabel="root"))
        said, fix = "/dev/vda1 is PARTLABEL=root", "root=PARTLABEL=root"
    found = lost(line, devices=devices)
    assert found.reason is Reason.WRONG_NAME
    assert said in found.sentence
    assert found.fix.startswith(fix)


def test_the_right_value_of_another_kind() -> None:
    """A PARTUUID behind UUID= is told as such."""
    part = disk(EXT4, "/dev/vda1", disk="vda", part=1, partuuid=UUID)
    found = lost(devices=(disk(), part))
    assert found.reason is Reason.WRONG_KIND
    assert "that is the PARTUUID of /dev/vda1" in found.sentence
    assert found.fix == f"root=PARTUUID={UUID}"


def test_disks_and_none_of_them() -> None:
    """Disks came and none is like it: all are shown, with what they hold."""
    found = lost(devices=(disk(EXT4), disk(None, "/dev/vdb", error="Input/output error")._replace(error="")))
    assert found.reason is Reason.NOT_THERE
    assert "2 disks came, and none has UUID=" in found.sentence
    assert len(found.details) == 2


def test_a_disk_that_cannot_be_read() -> None:
    """An error of the disk's is told, whether root= names it or a UUID that may be on it."""
    broken = disk(error="Input/output error")
    whole: dict[str, Any] = {"found": broken}
    for line, fields in ((f"root=UUID={UUID}", {}), ("root=/dev/vda", whole)):
        found = lost(line, devices=(broken,), **fields)
        assert found.reason is Reason.UNREADABLE
        assert "cannot be read: Input/output error" in found.sentence


@pytest.mark.parametrize(
    ("kind", "program", "extra"),
    [
        ("crypto_LUKS", "cryptsetup", "luks"),
        ("LVM2_member", "lvm", "lvm"),
        ("linux_raid_member", "mdadm", "md"),
    ],
)
def test_what_lies_below(kind: str, program: str, extra: str) -> None:
    """The disk is encrypted, or a part of something: the tool that is missing is named, and how it comes along."""
    locked = disk(Superblock(kind, OTHER))
    found = lost(devices=(locked,), fates=(Fate("/dev/vda", Outcome.NO_TOOL),))
    assert found.reason is Reason.MEMBER
    assert f"No device is UUID={UUID}. /dev/vda is " in found.sentence
    assert f"the image needs {program}" in found.sentence
    assert found.fix == f"hostbuild make-image --with root --with {extra}"
    whole: dict[str, Any] = {"found": locked}
    found = lost("root=/dev/vda", devices=(locked,), **whole)
    assert found.reason is Reason.MEMBER
    assert "root= has to name what lies on it" in found.sentence


@pytest.mark.parametrize(
    ("outcome", "said", "reason", "sentence", "fix"),
    [
        (Outcome.NO_KEY, "", Reason.LOCKED, "and no passphrase was given.", f"luks-{OTHER}.key"),
        (Outcome.NO_KEY, "nobody is here", Reason.LOCKED, "was given: nobody is here.", "rd.luks.key="),
        (
            Outcome.WRONG_KEY,
            "the key /k",
            Reason.LOCKED,
            "and the key /k does not open it.",
            "--test-passphrase",
        ),
        (Outcome.NOT_WANTED, "", Reason.MEMBER, "rd.luks words name others", f"rd.luks.uuid={OTHER}"),
        (Outcome.NO_MODULE, "", Reason.MEMBER, "the module dm_crypt is not in this image", "--with luks"),
        (
            Outcome.FAILED,
            "no memory\n",
            Reason.MEMBER,
            "cryptsetup could not open it",
            "look at what it says",
        ),
    ],
)
def test_what_does_not_open(outcome: Outcome, said: str, reason: Reason, sentence: str, fix: str) -> None:
    """An encrypted disk without a key that fits, and each other way for it to stay closed."""
    locked = disk(Superblock("crypto_LUKS", OTHER))
    found = lost(devices=(locked,), fates=(Fate("/dev/vda", outcome, said),))
    assert found.reason is reason
    assert sentence in found.sentence
    assert fix in found.fix
    assert ("no memory" in found.details) == (outcome is Outcome.FAILED)


def test_a_module_that_was_denied_opens_nothing() -> None:
    """The policy has a line against the module: that is the reason, and taking it away the fix."""
    maker = Maker()
    maker.load(
        "md_mod", {"request": "root="}, outcome="denied", failure="policy", message="line 1 forbids it"
    )
    half = disk(Superblock("linux_raid_member", OTHER))
    fates = (Fate("/dev/vda", Outcome.NO_MODULE),)
    found = lost(maker=maker, devices=(half,), fates=fates, carried=frozenset({"md_mod"}))
    assert "md_mod is denied: line 1 forbids it" in found.sentence
    assert "take that line away" in found.fix


def test_a_member_that_is_open_is_not_blamed() -> None:
    """What lies on it came, and is another one: the devices are shown."""
    devices = (disk(Superblock("crypto_LUKS", OTHER)), disk(Superblock("ext4", "1-2"), "/dev/dm-0"))
    assert lost(devices=devices).reason is Reason.NOT_THERE


def test_no_file_system_on_it() -> None:
    """The device is there and empty, or swap; one whose partitions were probably meant says so."""
    empty = disk()
    part = disk(EXT4, "/dev/vda1", disk="vda", part=1)
    found = lost("root=/dev/vda", devices=(empty, part), found=empty)
    assert found.reason is Reason.NO_FILE_SYSTEM
    assert "it has partitions: /dev/vda1" in found.sentence
    assert found.fix == "root=/dev/vda1"
    swap = disk(Superblock("swap", OTHER))
    assert "holds swap" in lost("root=/dev/vda", devices=(swap,), found=swap).sentence


def test_a_file_system_whose_module_is_not_in_the_image() -> None:
    """The kernel could mount it, this image cannot: how to make one that can."""
    device = disk(Superblock("xfs", UUID))
    fields: dict[str, Any] = {"found": device, "stage": "module", "types": ("xfs",), "modules": ("xfs",)}
    found = lost(of_kernel=frozenset({"xfs"}), **fields)
    assert found.reason is Reason.NO_MODULE
    assert "make-image --modules qemu,xfs" in found.fix
    assert lost(**fields).reason is Reason.NO_SUPPORT
    maker = Maker()
    maker.load(
        "xfs",
        {"request": "root="},
        outcome="denied",
        failure="policy",
        message="line 1 of policy.toml forbids it",
    )
    found = lost(maker=maker, carried=frozenset({"xfs"}), of_kernel=frozenset({"xfs"}), **fields)
    assert found.reason is Reason.MODULE_REFUSED
    assert "line 1 of policy.toml forbids it" in found.sentence


def test_a_mount_that_failed() -> None:
    """The kernel's words are there; a wrong rootfstype= and unknown rootflags= are suspected first."""
    device = disk(Superblock("ext4", UUID))
    fields: dict[str, Any] = {
        "found": device,
        "stage": "mount",
        "said": "EXT4-fs: bad option; mount: Invalid argument",
    }
    found = lost(f"root=UUID={UUID} rootflags=nonsense", types=("ext4",), **fields)
    assert found.reason is Reason.NOT_MOUNTED
    assert found.details == ("EXT4-fs: bad option", "mount: Invalid argument")
    assert "rootflags=nonsense" in found.fix
    found = lost(f"root=UUID={UUID} rootfstype=vfat", types=("vfat",), **fields)
    assert "could not be mounted as vfat; it holds ext4" in found.sentence
    assert found.fix == "rootfstype=ext4, or leave it out"


def test_a_damaged_file_system() -> None:
    """fsck gave up."""
    device = disk(Superblock("ext4", UUID))
    found = lost(found=device, stage="fsck", types=("ext4",), said="UNEXPECTED INCONSISTENCY")
    assert found.reason is Reason.DAMAGED
    assert "UNEXPECTED INCONSISTENCY" in found.details


def test_no_first_process() -> None:
    """It is mounted, and has no program to begin with."""
    found = lost(found=disk(EXT4), init="/sbin/init", why="it is not there")
    assert found.reason is Reason.NO_INIT
    assert "/sbin/init of /dev/vda cannot be the first process: it is not there" in found.sentence


def test_a_share_that_is_called_otherwise() -> None:
    """The host shares directories, under other tags; or none, for lack of a driver."""
    found = lost("root=home rootfstype=9p", tags=(("9p", "share"), ("virtiofs", "")))
    assert found.reason is Reason.NO_TAG
    assert found.details == ("shared: 9p share", "shared: virtiofs (the kernel does not say its tag)")
    maker = Maker()
    maker.device(BLK, subsystem="virtio", modalias="virtio:d00000009v00001AF4", matches=[])
    found = lost("root=home rootfstype=9p", maker=maker, absent=lambda _modalias: ["9pnet_virtio"])
    assert found.reason is Reason.NO_DRIVER


def test_the_likeliest_comes_first_and_the_rest_is_told() -> None:
    """A name nearly right beside a controller without a driver: the name is the reason, the controller a detail."""
    found = lost(
        f"root=UUID={UUID[:-1]}6",
        maker=card(),
        devices=(disk(Superblock("ext4", UUID)),),
        absent=lambda _modalias: ["megaraid_sas"],
    )
    assert found.reason is Reason.WRONG_NAME
    assert any("megaraid_sas is for it" in line for line in found.details)


def test_what_brings_no_disk_is_not_blamed() -> None:
    """A sound card, a bridge, a watchdog without a driver are of no interest here."""
    for modalias in (
        "pci:v00008086d00002668sv0sd0bc04sc03i00",
        "pci:v00001B36d0000000Csv0sd0bc06sc04i00",
        "pci:v00008086d000025ABsv0sd0bc08sc80i00",
        "pci:v00008086d00002930sv0sd0bc0Csc05i00",
    ):
        assert lost(maker=card(modalias)).reason is Reason.NO_DISK
