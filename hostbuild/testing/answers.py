"""Questions that a test asks of a ledger, and of QEMU: the devices below one, where a card stands, what drives what."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hostbuild.errors import GuestError
from hostbuild.near import did_you_mean
from hostbuild.qemu.vm import VM
from modaliasd.core.ledger.answers.explain import WhyModule, why_device, why_module
from modaliasd.core.ledger.answers.text_explain import device_text
from modaliasd.core.ledger.history import DeviceHistory, History

# What the kernel says when it has been hurt (lib/bug.c, kernel/panic.c, kernel/hung_task.c, mm/kasan/report.c).
_COMPLAINT = re.compile(
    r"\b(?:BUG: |WARNING: (?:CPU|possible|at)|Oops: |general protection fault|Kernel panic|KASAN: |UBSAN: "
    r"|INFO: task .* blocked for more than|INFO: rcu_\w+ .*stall|refcount_t: |Unable to handle)"
)
_COMPLAINT_LINES = 30


def complaint_in(dmesg: str) -> list[str]:
    """Return the kernel's first complaint, with the lines that follow it; [] where it has none."""
    lines = dmesg.splitlines()
    hurt = next((number for number, line in enumerate(lines) if _COMPLAINT.search(line)), None)
    return [] if hurt is None else lines[hurt : hurt + _COMPLAINT_LINES]


def why(history: History, module: str) -> WhyModule | None:
    """Return what speaks for a module that is in the kernel; None for one that is only asked for, or not known."""
    found = why_module(history, module)
    if found is None or (found.appearance is None and not (found.load is not None and found.load.succeeded)):
        return None
    return found


def below(history: History, roots: Sequence[str]) -> list[DeviceHistory]:
    """Return the devices that are there, at and below the devpaths, those above first."""
    return [
        device
        for path, device in sorted(history.devices.items())
        if device.present and any(f"{path}/".startswith(f"{root}/") for root in roots)
    ]


def not_bound(history: History, devices: Sequence[DeviceHistory], name: str, driver: str) -> str:
    """Tell why no device of `devices` has the driver: what drives them, what they asked for and what became of it."""
    if not devices:
        known = [device.name for device in history.devices.values() if device.present]
        return f"{name} was to be bound to {driver}, but the ledger has no such device{did_you_mean(name, known)}"
    drivers = sorted({device.driver for device in devices if device.driver})
    lines = [
        f"{name} was to be bound to {driver}; drivers of it and below it: {', '.join(drivers) or 'none'}"
    ]
    for device in devices:
        if device.modalias:
            lines += device_text(history, why_device(history, device)).splitlines()
    return "\n".join(lines)


def pci_name(vm: VM, device_id: str) -> str:
    """Return how /sys calls the PCI device of an id of QEMU's ("0000:00:02.0"); "" if none has it.

    The numbers of buses are those that the firmware gave; Linux keeps them.
    """
    try:
        buses = vm.monitor.execute("query-pci")
    except GuestError:
        return ""
    for device in _pci_devices(buses):
        if device.get("qdev_id") == device_id:
            return f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']:x}"
    return ""


def _pci_devices(buses: object) -> Iterator[dict[str, Any]]:
    """Yield the devices of query-pci's answer, those behind bridges too (qapi/pci.json)."""
    for bus in buses if isinstance(buses, Iterable) else ():
        for device in bus.get("devices", ()):
            yield device
            bridge = device.get("pci_bridge")
            if bridge:
                yield from _pci_devices([bridge])
