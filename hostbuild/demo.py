"""The main job from end to end: build an image, boot a zoo of hardware, plug and unplug, and check every device.

The check trusts nobody twice: what the ledger says is held against the guest's own /sys, read by a shell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modaliasd.core.story import DeviceStory, Story, tell

from hostbuild.accel import Accel
from hostbuild.initramfs import Options, build_image
from hostbuild.machine import read_machine
from hostbuild.ram import auto_memory
from hostbuild.ui import Reporter
from hostbuild.vm import VM, Boot

MACHINE = "q35"
HOTPLUG = (("a NIC", "e1000e", "hot-nic"), ("a USB disk", "usb-storage", "hot-usb"), ("an NVMe disk", "nvme", "hot-nvme"))
UNPLUGGED = ("the NIC", "hot-nic")
PATIENCE_S = 60.0
# Buses whose devices are there to be driven. On the others (acpi, input, dmi, cpu) an alias is a hint: the same
# hardware stands there a second time, or several handlers share it.
DRIVEN_BUSES = frozenset({"pci", "virtio", "usb", "scsi", "hid", "mmc", "hdaudio", "ac97"})

# One line a device that has a modalias and no driver: bus, device, modalias.
_WITNESS = (
    'for d in /sys/bus/*/devices/*; do [ -e "$d/modalias" ] && [ ! -e "$d/driver" ] || continue; '
    'b=${d#/sys/bus/}; echo "${b%%/*} ${d##*/} $(cat "$d/modalias")"; done'
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the demo found: the ledger's records, and everything that is not as it should be."""

    records: list[dict[str, Any]]
    complaints: list[str]

    @property
    def story(self) -> Story:
        """The ledger, read back."""
        return tell(self.records)


def run_demo(image: Path, accel: Accel, report: Reporter, say: Callable[[str], None]) -> Told:
    """Build `image`, boot it, plug devices in and one out; `say` is told of each thing as it has happened."""
    built = build_image(image, Options(kernel="deb:linux-image-amd64"), report)
    sizes = built.manifest["image"]
    say(f"built {image.name}: {sizes['size'] / 1e6:.1f} MB, with {len(built.manifest['modules'])} modules")
    boot = Boot(
        built.kernel.vmlinuz,
        image,
        append="loglevel=4",
        accel=accel,
        memory=auto_memory(sizes["size"], sizes["unpacked"]),
        limit_s=300,
    )
    with VM(read_machine(MACHINE), boot) as vm:
        with report.step("Booting, loading what the devices ask for"):
            settled = vm.settled(timeout=180)
        say(f"settled: {settled['matched']} devices matched, {settled['loads']} modules loaded")
        for name, driver, device_id in HOTPLUG:
            _plug(vm, name, driver, device_id, report, say)
        with report.step(f"Unplugging {UNPLUGGED[0]}"):
            since = len(vm.ledger)
            vm.device_del(UNPLUGGED[1])
            vm.wait_for(lambda record: record.get("action") == "remove", timeout=PATIENCE_S, since=since)
        say(f"unplugged {UNPLUGGED[0]}: the ledger has its removal")
        with report.step("Settling"):
            vm.check("modaliasd settle --timeout 60", timeout=90)
        witness = vm.check(_WITNESS)
        records = list(vm.ledger)
    return Told(records, find_complaints(tell(records), witness))


def _plug(
    vm: VM, name: str, driver: str, device_id: str, report: Reporter, say: Callable[[str], None]
) -> None:
    """Plug one device in and wait until its last driver has taken it."""
    since = len(vm.ledger)
    wanted = {"e1000e": "e1000e", "usb-storage": "sd", "nvme": "nvme"}[driver]
    with report.step(f"Plugging in {name}"):
        vm.device_add(driver, id=device_id, **({"serial": device_id} if driver == "nvme" else {}))
        bound = vm.wait_for(
            lambda record: record.get("action") == "bind" and record.get("driver") == wanted,
            timeout=PATIENCE_S,
            since=since,
        )
    say(f"plugged in {name}: {bound['driver']} has taken {bound['devpath'].rpartition('/')[2]}")


def find_complaints(story: Story, witness: str) -> list[str]:
    """Everything that did not go as it should, a sentence each; `witness` as _WITNESS prints it.

    A device complains if it stands on a bus where devices are driven, its modalias matched a module, and it is
    without a driver, by the ledger or by /sys.
    """
    complaints = [
        f"{load.module} was not loaded: {load.message or load.outcome}" for load in story.loads if load.outcome == "failed"
    ]
    left_alone = {line.split(" ", 2)[1] for line in witness.splitlines() if line.count(" ") >= 2}
    for device in story.devices.values():
        if not device.present or not _should_be_driven(device):
            continue
        name = device.devpath.rpartition("/")[2]
        modules = ", ".join(sorted({match.module for match in device.matches}))
        if not device.driver:
            complaints.append(f"{name} ({device.subsystem}) matched {modules} and the ledger has no driver for it")
        elif name in left_alone:
            complaints.append(f"{name} ({device.subsystem}): the ledger says {device.driver}, /sys says no driver")
    settles = story.settles
    if not settles:
        complaints.append("the daemon never settled")
    elif settles[-1].fields.get("lost"):
        complaints.append(f"{settles[-1].fields['lost']} uevents were lost")
    return complaints


def _should_be_driven(device: DeviceStory) -> bool:
    return device.subsystem in DRIVEN_BUSES and any(not match.builtin for match in device.matches)
