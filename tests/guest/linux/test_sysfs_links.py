"""What the daemon asks /sys of a device or module (linux/sysfs.py, procmodules.py): a made-up tree, and the host's."""

from pathlib import Path

import pytest

from modaliasd.linux.procmodules import are_modules_disabled, read_tail
from modaliasd.linux.sysfs import Sysfs

STICK = "/devices/pci0/usb1/1-4/1-4:1.0"


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    """A stick on a removable port, driven by usb-storage, which is a module's."""
    stick = tmp_path / STICK[1:]
    stick.mkdir(parents=True)
    (stick.parent / "removable").write_text("removable\n")
    driver = tmp_path / "bus/usb/drivers/usb-storage"
    driver.mkdir(parents=True)
    module = tmp_path / "module/usb_storage"
    (module / "drivers").mkdir(parents=True)
    (module / "drivers/usb:usb-storage").symlink_to(driver)
    (module / "drivers/scsi:odd:name").symlink_to(driver)
    (driver / "module").symlink_to("../../../../module/usb_storage")
    (stick / "driver").symlink_to("../../../../../bus/usb/drivers/usb-storage")
    return Sysfs(str(tmp_path))


def test_a_devices_driver_and_its_module(sysfs: Sysfs) -> None:
    """Names are the last parts of links; what is not bound, or not there, has none."""
    assert (sysfs.driver(STICK), sysfs.driver_module(STICK)) == ("usb-storage", "usb_storage")
    assert (sysfs.driver("/devices/pci0"), sysfs.driver_module("/devices/gone")) == ("", "")
    assert sysfs.exists(STICK)
    assert not sysfs.exists("/devices/gone")


def test_a_modules_drivers_by_bus(sysfs: Sysfs) -> None:
    """Each link is called BUS:DRIVER, as drivers/base/module.c makes it; a module without drivers has no directory."""
    assert sysfs.drivers_of("usb_storage") == [("scsi", "odd:name"), ("usb", "usb-storage")]
    assert sysfs.drivers_of("absent") == []


def test_removable_is_the_nearest_ancestors(sysfs: Sysfs) -> None:
    """The attribute stands at the port; what hangs below has its word, what stands above has none."""
    assert sysfs.removable(STICK) == "removable"
    assert sysfs.removable("/devices/pci0/usb1") == ""


def test_this_machines_drivers() -> None:
    """Every link that this kernel has in /sys/module/*/drivers is told, and leads to a driver of that bus."""
    sysfs = Sysfs()
    for module in sorted(Path("/sys/module").glob("*/drivers"))[:50]:
        told = sysfs.drivers_of(module.parent.name)
        assert {f"{bus}:{driver}" for bus, driver in told} == {link.name for link in module.iterdir()}


@pytest.mark.parametrize(("text", "disabled"), [("1\n", True), ("0\n", False), ("", False), (None, False)])
def test_whether_the_kernel_takes_modules(tmp_path: Path, text: str | None, *, disabled: bool) -> None:
    """kernel.modules_disabled; a kernel without it takes them, and so does one that cannot be asked."""
    path = tmp_path / "modules_disabled"
    if text is not None:
        path.write_text(text)
    assert are_modules_disabled(str(path)) is disabled
    assert are_modules_disabled(str(tmp_path)) is False


def test_a_files_end_where_there_is_none(tmp_path: Path) -> None:
    """A module that is not there, or is a directory, has no last bytes: it is the load that fails, not the reading."""
    (tmp_path / "m.ko").write_bytes(b"0123456789")
    assert read_tail(str(tmp_path), "m.ko", 4) == b"6789"
    assert read_tail(str(tmp_path), "m.ko", 40) == b"0123456789"
    assert read_tail(str(tmp_path), "gone.ko", 4) == b""
    assert read_tail("/", str(tmp_path), 4) == b""
