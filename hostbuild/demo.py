"""The main job from end to end: build an image, boot a zoo of hardware, plug and unplug, and check every device.

The check trusts nobody twice: what the ledger says is held against the guest's own /sys, read by a shell.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.qemu.accel import Accel
from hostbuild.qemu.machine import Machine, read_machine
from hostbuild.qemu.session import prepare
from hostbuild.qemu.vm import VM
from hostbuild.ui import Reporter, size
from modaliasd.core.ledger.history import DeviceHistory, History, history_of


@dataclass(frozen=True, slots=True)
class Plug:
    """A device to plug in: how people call it, QEMU's driver, its id, and the driver that is to take it last."""

    name: str
    device: str
    id: str
    driver: str
    properties: tuple[tuple[str, str], ...] = ()


MACHINE = "q35"
PLUGS = (
    Plug("NIC", "e1000e", "hot-nic", "e1000e"),
    Plug("USB disk", "usb-storage", "hot-usb", "sd"),
    Plug("NVMe disk", "nvme", "hot-nvme", "nvme", (("serial", "hot-nvme"),)),
)
UNPLUGGED = PLUGS[0]
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
    def history(self) -> History:
        """The ledger, read back."""
        return history_of(self.records)


def run_demo(image: Path, accel: Accel, report: Reporter, say: Callable[[str], None]) -> Told:
    """Build `image`, boot it, plug devices in and one out; `say` is told of each thing once it has happened."""
    built = build_image(image, ImageOptions(kernel="deb:linux-image-amd64"), report)
    modules = len(built.manifest["modules"])
    packed = size(built.manifest["image"]["size"])
    say(f"built {image}: {packed}, {modules} modules, kernel {built.kernel.version}")
    machine = _without(read_machine(MACHINE), {plug.device for plug in PLUGS})
    session = prepare(image, machine, accel=accel.value, agent=True, limit_s=300)
    with session.vm() as vm:
        with report.step("Booting, and loading what the devices ask for"):
            settled = vm.settled(timeout=180)
        say(f"settled: {settled['matched']} devices matched, {settled['loads']} modules loaded")
        devpaths = {plug: _plug_in(vm, plug, report, say) for plug in PLUGS}
        with report.step(f"Unplugging the {UNPLUGGED.name}"):
            since = len(vm.ledger)
            vm.device_del(UNPLUGGED.id)
            vm.wait_for(_is_about(devpaths[UNPLUGGED], "remove"), timeout=PATIENCE_S, since=since)
        say(f"unplugged the {UNPLUGGED.name}: it is gone, and the ledger says so")
        with report.step("Settling"):
            vm.check("modaliasd settle --timeout 60", timeout=90)
        witness = vm.check(_WITNESS)
        records = list(vm.ledger)
    return Told(records, find_complaints(history_of(records), witness))


def _without(machine: Machine, drivers: set[str]) -> Machine:
    """Return the machine without the devices that are to be plugged in: so their drivers are not loaded either."""
    return replace(machine, devices=tuple(one for one in machine.devices if one.driver not in drivers))


def _plug_in(vm: VM, plug: Plug, report: Reporter, say: Callable[[str], None]) -> str:
    """Plug a device in, wait until its last driver has taken it and all is loaded; return that device's path."""
    since = len(vm.ledger)
    with report.step(f"Plugging in the {plug.name}"):
        vm.device_add(plug.device, id=plug.id, **dict(plug.properties))
        bound = vm.wait_for(
            lambda record: record.get("action") == "bind" and record.get("driver") == plug.driver,
            timeout=PATIENCE_S,
            since=since,
        )
        vm.settled(timeout=PATIENCE_S, since=vm.ledger.index(bound))
    devpath = str(bound["devpath"])
    loads = [
        str(r["module"]) for r in vm.ledger[since:] if r["type"] == "load" and r["outcome"] == "inserted"
    ]
    modules = f"loaded {', '.join(loads)}" if loads else "nothing had to be loaded"
    say(f"plugged in the {plug.name}: {modules}; {plug.driver} drives {devpath.rpartition('/')[2]}")
    return devpath


def _is_about(devpath: str, action: str) -> Callable[[Mapping[str, object]], bool]:
    return lambda record: record.get("action") == action and record.get("devpath") == devpath


def find_complaints(history: History, witness: str) -> list[str]:
    """Everything that did not go as it should, a sentence each; `witness` as _WITNESS prints it.

    A device complains if it stands on a bus where devices are driven, its modalias matched a module, and it is
    without a driver, by the ledger or by /sys.
    """
    complaints = [
        f"{load.module} was not loaded: {load.message or load.outcome}"
        for load in history.loads
        if load.outcome == "failed"
    ]
    left_alone = {line.split(" ", 2)[1] for line in witness.splitlines() if line.count(" ") >= 2}
    for device in history.devices.values():
        if not device.present or not _should_be_driven(device):
            continue
        name = device.devpath.rpartition("/")[2]
        modules = ", ".join(sorted({match.module for match in device.matches}))
        if not device.driver:
            complaints.append(
                f"{name} ({device.subsystem}) matched {modules}; the ledger has no driver for it"
            )
        elif name in left_alone:
            complaints.append(
                f"{name} ({device.subsystem}): {device.driver} says the ledger, no driver says /sys"
            )
    if not history.settles:
        complaints.append("the daemon never settled")
    elif lost := history.settles[-1].fields.get("lost"):
        complaints.append(f"{lost} uevents were lost")
    return complaints


def _should_be_driven(device: DeviceHistory) -> bool:
    return device.subsystem in DRIVEN_BUSES and any(not match.builtin for match in device.matches)
