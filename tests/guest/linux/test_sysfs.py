"""sysfs.py on made-up /sys trees: what the walk finds, in which order, and what it bears."""

import os
from pathlib import Path

import pytest

from modaliasd.core.errors import WorldError
from modaliasd.linux.sysfs import Sysfs

DISK = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"
SOUND = "pci:v00008086d00002668sv00001AF4sd00001100bc04sc03i00"


class FakeSys:
    """A /sys below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sysfs = Sysfs(str(root))
        for name in ("bus", "class", "devices", "kernel"):
            (root / name).mkdir(parents=True)

    def device(self, path: str, link: str = "", uevent: str | None = "", modalias: str | None = None) -> Path:
        """Make a device, and its link in the directory of its bus or class."""
        folder = self.root / path.lstrip("/")
        folder.mkdir(parents=True)
        if uevent is not None:
            (folder / "uevent").write_text(uevent)
        if modalias is not None:
            (folder / "modalias").write_text(modalias)
        if link:
            self.link(link, path)
        return folder

    def link(self, link: str, path: str) -> None:
        """Make the link, relative as in sysfs."""
        where = self.root / link.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        depth = link.strip("/").count("/")
        where.symlink_to("../" * depth + path.lstrip("/"))

    def modaliases(self) -> list[str]:
        """The modaliases that a walk finds, in its order."""
        return [device.modalias for stride in self.sysfs.walk() for device in stride if device.modalias]


@pytest.fixture
def sys(tmp_path: Path) -> FakeSys:
    return FakeSys(tmp_path)


def test_buses_and_classes_once_each(sys: FakeSys) -> None:
    """A device is found by its bus or its class, with that as its subsystem, and once though both have it."""
    sys.device("/devices/pci0000:00/0000:00:03.0", "/bus/pci/devices/0000:00:03.0", f"MODALIAS={DISK}\n")
    sys.device("/devices/virtual/input/input3", "/class/input/input3", "MODALIAS=input:b0\n")
    sys.link("/class/odd/again", "/devices/pci0000:00/0000:00:03.0")
    found = [(d.devpath, d.subsystem) for stride in sys.sysfs.walk() for d in stride]
    assert found == [
        ("/devices/pci0000:00/0000:00:03.0", "pci"),
        ("/devices/virtual/input/input3", "input"),
    ]


def test_what_leads_to_disks_and_networks_comes_first(sys: FakeSys) -> None:
    """A CPU goes first, since all loads gain by it, the others do not; then PCI's disks and NICs, the rest of PCI.

    That is before any bus of an earlier name.
    """
    for number in range(2):
        cpu = f"/devices/system/cpu/cpu{number}"
        sys.device(cpu, f"/bus/cpu/devices/cpu{number}", f"MODALIAS=cpu:{number}\n")
    sys.device("/devices/a/x", "/bus/acpi/devices/x", "MODALIAS=acpi:PNP0C0C:\n")
    sys.device("/devices/p/1", "/bus/pci/devices/1", f"MODALIAS={SOUND}\n")
    sys.device("/devices/p/2", "/bus/pci/devices/2", f"MODALIAS={DISK}\n")
    assert sys.modaliases() == ["cpu:0", DISK, SOUND, "acpi:PNP0C0C:", "cpu:1"]
    assert [len(stride) for stride in sys.sysfs.walk()][:3] == [1, 1, 1]


def test_a_modalias_that_only_one_of_the_files_has(sys: FakeSys) -> None:
    """MDIO has it in `uevent` alone, a too long one stands in `modalias` alone; where both have it, `uevent` counts."""
    sys.device("/devices/m/1", "/bus/mdio_bus/devices/1", "MODALIAS=mdio:00\nDRIVER=x\n")
    sys.device("/devices/m/2", "/class/input/2", "PRODUCT=1\n", modalias="input:long\n")
    sys.device("/devices/m/3", "/bus/hdaudio/devices/3", "MODALIAS=a\n", modalias="b\n")
    assert sorted(sys.modaliases()) == ["a", "input:long", "mdio:00"]


def test_the_cpu_alias_of_an_older_kernel(sys: FakeSys) -> None:
    """The root of /sys/devices/system/cpu has no bus, and its `modalias` is read all the same."""
    sys.device("/devices/system/cpu", uevent="", modalias="cpu:type:x86\n")
    assert sys.modaliases() == ["cpu:type:x86"]


def test_a_newline_at_the_end_is_no_part_of_it(sys: FakeSys) -> None:
    """Old HD-audio codecs end their modalias with a newline of their own, within `uevent`."""
    sys.device("/devices/h", "/bus/hdaudio/devices/h", "MODALIAS=hdaudio:v1\n\n")
    assert sys.modaliases() == ["hdaudio:v1"]


def test_several_modaliases(sys: FakeSys) -> None:
    """Each line of `uevent` counts, or of `modalias`, as the kernel writes them for ACPI devices (device_sysfs.c)."""
    sys.device("/devices/a/1", "/bus/acpi/devices/1", "MODALIAS=acpi:A:\nMODALIAS=of:Bx\n")
    sys.device("/devices/a/2", "/bus/acpi/devices/2", "X=1\n", modalias="acpi:C:\nof:Dx\n")
    assert sys.modaliases() == ["acpi:A:\nof:Bx", "acpi:C:\nof:Dx"]


@pytest.mark.parametrize(
    "name", ["with space", "non\udcffutf8", "'; rm -rf .'", "line\nfeed", "x" * 200, "..x", "Ünïcode"]
)
def test_odd_names(sys: FakeSys, name: str) -> None:
    """Whatever a device is called, it is found under that name."""
    sys.device(f"/devices/{name}", f"/bus/usb/devices/{name}", "MODALIAS=usb:v1\n")
    [[device]] = list(sys.sysfs.walk())
    assert device.devpath == f"/devices/{name}"


def test_odd_contents(sys: FakeSys) -> None:
    """Bytes that are no UTF-8, lines without `=`, an empty file: values come as they are, nothing stops."""
    folder = sys.device("/devices/o", "/bus/usb/devices/o")
    (folder / "uevent").write_bytes(b"\xff\nMODALIAS=of:N\xe9T=x\n=\nDEVNAME=a=b\n")
    [[device]] = list(sys.sysfs.walk())
    assert device.modalias == "of:N\udce9T=x"
    assert device.devname == "a=b"


def test_what_vanishes_is_left_out(sys: FakeSys) -> None:
    """A link to a device that has gone, a device without `uevent`, a file among a class's links: passed over."""
    sys.device("/devices/here", "/bus/usb/devices/here", "MODALIAS=usb:v1\n")
    sys.device("/devices/kobject", "/bus/usb/devices/kobject", uevent=None)
    sys.link("/bus/usb/devices/gone", "/devices/gone")
    sys.link("/bus/usb/devices/away", "/elsewhere")
    (sys.root / "bus/usb/uevent").write_text("")
    (sys.root / "class/net").mkdir()
    (sys.root / "class/net/bonding_masters").write_text("bond0\n")
    assert [d.devpath for stride in sys.sysfs.walk() for d in stride] == ["/devices/here"]


def test_devices_go_while_the_walk_is_under_way(sys: FakeSys) -> None:
    """What disappears between two strides is not met any more; the walk goes on to its end."""
    for number in range(70):
        sys.device(f"/devices/{number:02}", f"/class/block/{number:02}", f"DEVNAME={number}\n")
    walk = sys.sysfs.walk()
    first = next(walk)
    for number in range(40, 70):
        os.remove(sys.root / f"devices/{number:02}/uevent")
    assert len(first) + sum(len(stride) for stride in walk) == 40


def test_a_root_that_is_no_sysfs(tmp_path: Path) -> None:
    """The error says what is missing and what fixes it; a number that cannot be read is an error, too."""
    with pytest.raises(WorldError, match="mount -t sysfs sysfs /sys"):
        Sysfs(str(tmp_path / "none")).require()
    with pytest.raises(WorldError, match="uevent_seqnum"):
        Sysfs(str(tmp_path)).uevent_seqnum()
    assert list(Sysfs(str(tmp_path)).walk()) == []
