"""How long the root file system's device is waited for: rootfs/find.py with a daemon that says what the test says."""

from typing import Any

import pytest

from modaliasd.core.root.superblock import Superblock
from modaliasd.core.root.target import BlockDevice
from modaliasd.core.root.words import parse_root
from modaliasd.linux.root import coming
from modaliasd.linux.root.blockdev import BlockDevices
from modaliasd.rootfs.daemon import Daemon
from modaliasd.rootfs.find import STUCK_PATIENCE_S, Finder, Waited

UUID = "11111111-2222-3333-4444-555555555555"
VDA = BlockDevice("/dev/vda", size=1 << 20, holds=Superblock("ext4", UUID))
BTRFS = Superblock("btrfs", UUID, parts=2)

IDLE: dict[str, Any] = {
    "assemble": lambda _device: None,
    "last": lambda _known: False,
    "share": lambda: False,
    "pause": lambda _waited: None,
}


class Script(Daemon):
    """A daemon that gives these answers, one a request; each is what it adds to an empty one."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[str] = []
        self.seen = 0

    def ask(self, *words: str) -> dict[str, Any]:
        """Give the next one."""
        self.asked.append(words[2])
        answer: dict[str, Any] = {"ok": True, "devices": []} | self.answers.pop(0)
        self.seen += len(answer["devices"])
        return answer | {"seen": self.seen}


class Disks(BlockDevices):
    """Block devices that are there by name."""

    def __init__(self, **disks: BlockDevice) -> None:
        super().__init__("/nowhere")
        self.disks = disks

    def look(self, name: str, *, content: bool = True) -> BlockDevice | None:
        """Give one."""
        device = self.disks.get(name)
        return device if device is None or content else device._replace(holds=None)


def search(line: str, daemon: Script, disks: Disks, **how: Any) -> Waited:
    """Wait for the root of these words, in a world without USB or SD."""
    how = IDLE | {"clock": lambda: 100.0} | how
    finder = Finder(parse_root(line), daemon, disks, root="/nowhere", **how)
    return finder.wait()


def test_the_device_ends_the_wait() -> None:
    """The first answer with the device is the last; nobody waits for a settle."""
    daemon = Script({"devices": ["sr0"]}, {"devices": ["vda"]})
    assert search(f"root=UUID={UUID}", daemon, Disks(vda=VDA)).device == VDA
    assert daemon.asked == ["settled", "settled"]


def test_a_settle_ends_it_at_once() -> None:
    """Nothing is on its way: no more is asked, and what came is told."""
    other = VDA._replace(holds=None)
    daemon = Script({"devices": ["vda"]}, {"settled": True})
    waited = search(f"root=UUID={UUID}", daemon, Disks(vda=other))
    assert (waited.device, waited.devices) == (None, (other,))


def test_rootwait_says_so_once_and_goes_on() -> None:
    """With rootwait the settle is told once, and the device may come at any time."""
    told: list[Waited] = []
    daemon = Script({"settled": True}, {"devices": ["sda"]}, {"devices": ["vda"]})
    waited = search(f"root=UUID={UUID} rootwait", daemon, Disks(vda=VDA), pause=told.append)
    assert waited.device == VDA
    assert daemon.asked == ["settled", "ever", "ever"]
    assert len(told) == 1


def test_rootdelay_is_a_time_beyond_the_settle() -> None:
    """With rootdelay=N a device may come within N seconds although nothing is on its way."""
    daemon = Script({"settled": True}, {"devices": ["vda"]})
    assert search(f"root=UUID={UUID} rootdelay=5", daemon, Disks(vda=VDA)).device == VDA
    assert daemon.asked == ["settled", "5.001"]


def test_slow_loads_have_a_time() -> None:
    """Beside loads that do not end the patience is bounded, whatever else comes; they are named then."""
    times = iter([100.0, 100.0, 105.0, 200.0, 200.0])
    daemon = Script({"stuck": ["megaraid_sas"]}, {"devices": ["sda"]}, {"late": True})
    waited = search(f"root=UUID={UUID}", daemon, Disks(), clock=lambda: next(times))
    assert waited.stuck == ("megaraid_sas",)
    assert daemon.asked == [
        "settled",
        f"{STUCK_PATIENCE_S + 0.001:.3f}",
        f"{STUCK_PATIENCE_S - 5 + 0.001:.3f}",
    ]


def test_a_name_is_enough() -> None:
    """A device that is named by its node need not be read until it is there."""
    daemon = Script({"devices": ["vdb", "vda"]})
    assert search("root=/dev/vda", daemon, Disks(vda=VDA)).device == VDA


def test_a_file_system_over_two_disks() -> None:
    """btrfs on two devices is there when both are; with one it is taken once nothing is on its way."""
    vda, vdb = VDA._replace(holds=BTRFS), BlockDevice("/dev/vdb", size=1 << 20, holds=BTRFS)
    daemon = Script({"devices": ["vda"]}, {"devices": ["vdb"]})
    waited = search(f"root=UUID={UUID}", daemon, Disks(vda=vda, vdb=vdb))
    assert (waited.device, waited.others) == (vda, (vdb,))
    daemon = Script({"devices": ["vda"]}, {"settled": True})
    assert search(f"root=UUID={UUID}", daemon, Disks(vda=vda)).device == vda


def test_what_waits_for_the_last() -> None:
    """What takes a person is opened when nothing is on its way, one at a time, and what that brings is waited for."""
    steps = iter([True, True])
    daemon = Script({"devices": ["sda"]}, {"settled": True}, {"settled": True}, {"devices": ["vda"]})
    asked: list[list[str]] = []

    def last(_known: tuple[BlockDevice, ...]) -> bool:
        asked.append(list(daemon.asked))
        return next(steps)

    assert search(f"root=UUID={UUID}", daemon, Disks(vda=VDA), last=last).device == VDA
    assert asked == [["settled"] * 2, ["settled"] * 3]


def test_half_a_file_system_is_not_taken_before_the_last() -> None:
    """One of btrfs' two disks is encrypted: the other is not mounted alone, with rootwait or without."""
    vda, vdb = VDA._replace(holds=BTRFS), BlockDevice("/dev/dm-0", size=1 << 20, holds=BTRFS)
    for words in ("", " rootwait"):
        steps = iter([True])
        daemon = Script({"devices": ["vda"]}, {"settled": True}, {"devices": ["dm-0"]})
        disks = Disks(vda=vda, **{"dm-0": vdb})
        waited = search(
            f"root=UUID={UUID}{words}", daemon, disks, last=lambda _known, steps=steps: next(steps)
        )
        assert (waited.device, waited.others) == (vda, (vdb,))


def test_usb_has_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """While something goes on coming on USB it is waited for; when nothing has, in its time, no longer."""
    signs = iter([frozenset({"usb1"}), frozenset({"usb1", "1-1"}), frozenset({"usb1", "1-1"})])
    monkeypatch.setattr("modaliasd.rootfs.find.on_its_way", lambda _root: 2.5)
    monkeypatch.setattr("modaliasd.rootfs.find.signs_of_life", lambda _root: next(signs))
    daemon = Script({"settled": True}, {"late": True}, {"late": True})
    assert search(f"root=UUID={UUID}", daemon, Disks()).device is None
    assert daemon.asked == ["settled", "2.500", "2.500"]


def test_what_is_on_its_way(tmp_path: Any) -> None:
    """No USB and no SD host: nothing. A hub: its time. A disk on USB that has not answered: delay_use, and more."""
    sys = tmp_path / "sys"
    assert coming.on_its_way(str(tmp_path)) == 0
    (sys / "class/mmc_host/mmc0").mkdir(parents=True)
    assert coming.on_its_way(str(tmp_path)) == coming.MMC_S
    (sys / "bus/usb/devices/usb1").mkdir(parents=True)
    assert coming.on_its_way(str(tmp_path)) == coming.USB_S
    storage = sys / "bus/usb/drivers/usb-storage/1-1:1.0/host0"
    storage.mkdir(parents=True)
    (sys / "module/usb_storage/parameters").mkdir(parents=True)
    (sys / "module/usb_storage/parameters/delay_use").write_text("3\n")
    assert coming.on_its_way(str(tmp_path)) == 8.0
    (storage / "target0:0:0").mkdir()
    assert coming.on_its_way(str(tmp_path)) == coming.USB_S
