"""usb-storage and the SCSI disk on it, pulled out while they work: nothing hangs, nothing is left, data stay."""

from pathlib import Path

import pytest

from hostbuild.testing import Guest

pytestmark = [
    pytest.mark.guest(shared=True),
    pytest.mark.machine(devices=["qemu-xhci,id=xhci"]),
]

# Reads a disk from its start again and again until that fails; then says how many times it did, and why it ended.
READER = """
(
    passes=0
    while dd if={disk} of=/dev/null bs=64k 2>/run/error; do passes=$((passes + 1)); done
    echo "$passes passes" >/run/passes
) &
"""


def test_the_chain_binds(guest: Guest) -> None:
    """The USB device asks for usb-storage, the SCSI disk that it brings for sd; both bind."""
    stick = guest.plug("usb-storage", serial="stick")
    guest.expect_bound(stick, "usb-storage")
    disk = guest.expect_bound(stick, "sd")
    assert disk.subsystem == "scsi"
    assert guest.expect_node(stick, "/dev/sd?")


@pytest.mark.parametrize("times", range(2))
def test_it_is_pulled_out_under_io(guest: Guest, times: int) -> None:  # noqa: ARG001
    """A read that is under way ends with an error, the disk and all below it go, and the kernel is well."""
    stick = guest.plug("usb-storage")
    disk = guest.expect_node(stick, "/dev/sd?")
    guest.settle()
    guest.run(READER.format(disk=disk))
    guest.run("sleep 1")
    guest.unplug(stick)
    guest.run("while [ ! -e /run/passes ]; do sleep 0.1; done", timeout=60)
    error = guest.run("cat /run/error; rm /run/passes").stdout
    assert "error" in error or "No such" in error, error
    assert guest.devices(stick) == []
    assert guest.run(f"[ ! -e {disk} ]", check=False).status == 0
    guest.expect_healthy()


def test_data_survive_the_plug(guest: Guest, tmp_path: Path) -> None:
    """What was written and synced is there when the stick comes back."""
    medium = tmp_path / "stick.img"
    with medium.open("wb") as file:
        file.truncate(16 << 20)
    stick = guest.plug("usb-storage", file=str(medium))
    disk = guest.expect_node(stick, "/dev/sd?")
    guest.settle()
    written = guest.run(
        f"dd if=/dev/urandom of={disk} bs=64k count=16 2>/dev/null && sync && head -c 1048576 {disk} | md5sum"
    )
    guest.unplug(stick)
    again = guest.plug("usb-storage", file=str(medium))
    disk = guest.expect_node(again, "/dev/sd?")
    guest.settle()
    assert guest.run(f"head -c 1048576 {disk} | md5sum").stdout == written.stdout
