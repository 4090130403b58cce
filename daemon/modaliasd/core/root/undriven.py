"""Which devices lead to disks and have no driver, and why: from the ledger's history."""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.ledger.answers.fixes import fix_of, image_with
from modaliasd.core.loading.outcome import FailureKind
from modaliasd.core.loading.priority import Rank, rank_of_device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.ledger.history import History
    from modaliasd.core.ledger.history_values import DeviceHistory, LoadHistory

_BRIDGE = "bc06"  # pci: leads to devices, and needs no driver for it
_NAMED = 6  # modules in a sentence
DEFERRED = "deferred probe"  # `what` of the daemon's warnings (service/settle_report.py)


class Fault(Enum):
    """Why it has no driver; what is told first stands first."""

    DENIED = 0
    NOT_IN_IMAGE = 1
    FAILED = 2
    PENDING = 3
    WAITING = 4
    REFUSED = 5
    UNKNOWN = 6


class Undriven(NamedTuple):
    """A device without a driver. name: subsystem and the last part of its path. sentence: as it goes on behind that."""

    name: str
    fault: Fault
    sentence: str
    fix: str = ""


def undriven(history: History, absent: Callable[[str], list[str]]) -> list[Undriven]:
    """Return the devices that may lead to disks and have no driver, the clearest cases first.

    absent: the modules of the kernel for a modalias that are not in the image.
    """
    found = []
    for device in history.devices.values():
        if not device.present or device.driver or not device.modalias:
            continue
        wanted = [match.module for match in device.matches if not match.builtin]
        lacking = absent(device.modalias)
        leads = rank_of_device(device.modalias) in (Rank.STORAGE, Rank.BUS)
        if not (leads or lacking) or _BRIDGE in device.modalias or _is_serial(device.modalias):
            continue
        found.append(_judge(history, device, wanted, lacking))
    return sorted(found, key=lambda one: one.fault.value)


def _is_serial(modalias: str) -> bool:
    """Tell whether it is of PCI's class 0C and no USB host, or of 08 and no SD host: these bring no disk."""
    if not modalias.startswith("pci:"):
        return False
    return ("bc0C" in modalias and "bc0Csc03" not in modalias) or (
        "bc08" in modalias and "bc08sc05" not in modalias
    )


def _judge(history: History, device: DeviceHistory, wanted: list[str], lacking: list[str]) -> Undriven:
    name = f"{device.subsystem} {device.name}"
    loads = [load for module in wanted if (load := history.load_of(module)) is not None]
    failed = next((load for load in loads if not load.succeeded), None)
    if failed is not None:
        return _not_loaded(history, name, failed)
    if lacking and not wanted:
        modules = ", ".join(lacking[:_NAMED])
        have = "is for it, and is" if len(lacking) == 1 else "are for it, and are"
        return Undriven(
            name,
            Fault.NOT_IN_IMAGE,
            f"has no driver: {modules} {have} not in this image",
            image_with(lacking[0]),
        )
    if wanted and len(loads) < len(wanted):
        return Undriven(name, Fault.PENDING, f"has no driver yet: {wanted[0]} is still loading", "rootwait")
    reason = _deferred(history, device)
    if reason:
        return Undriven(
            name, Fault.WAITING, f"waits for a supplier: {reason}", "modaliasd why " + device.devpath
        )
    if wanted:
        drivers = ", ".join(device.idle_drivers or tuple(wanted))
        return Undriven(
            name, Fault.REFUSED, f"was not taken by its driver ({drivers})", "dmesg says why a probe failed"
        )
    return Undriven(
        name, Fault.UNKNOWN, f"has no driver in this kernel ({device.modalias})", "a kernel that has one"
    )


def _not_loaded(history: History, name: str, load: LoadHistory) -> Undriven:
    fix = fix_of(history, load.module, load)
    if load.outcome == "denied":
        return Undriven(name, Fault.DENIED, f"has no driver: {load.module} is denied, {load.message}", fix)
    missing = load.failure is FailureKind.NOT_IN_IMAGE
    words = "is not in this image" if missing else f"{load.outcome}: {load.message}"
    fault = Fault.NOT_IN_IMAGE if missing else Fault.FAILED
    return Undriven(name, fault, f"has no driver: {load.module} {words}", fix)


def _deferred(history: History, device: DeviceHistory) -> str:
    """Return what the device's probe waits for, as the daemon has told it."""
    for warning in history.warnings:
        if warning.get("what") == DEFERRED:
            who, _, reason = str(warning.get("message", "")).partition(" waits: ")
            if who == device.name:
                return reason
    return ""
