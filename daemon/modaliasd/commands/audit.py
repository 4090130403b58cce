"""The command `audit`: libudev walks the devices, and the ledger has to agree.

pyudev and libudev share no code with the daemon's own walk. What they enumerate is compared with what the
ledger last knew: a device that one has and the other has not, or whose modalias differs, is a disagreement.
libudev enumerates what stands in a bus or a class: /devices/system/cpu, which has a modalias and neither, is
left out, as are modules, drivers and buses.
"""

from __future__ import annotations

import sys

from modaliasd.commands.ledgerfile import read_history
from modaliasd.commands.options import JSON_OPTION, LEDGER_OPTION, Syntax, parse
from modaliasd.core.errors import WorldError
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.printable import printable
from modaliasd.linux.paths import LEDGER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from modaliasd.core.ledger.history import History

AUDIT = Syntax(
    "audit",
    """\
Has libudev (through pyudev) walk the devices, independently of the daemon, counts them, and compares them with
the ledger. The image needs pyudev: `hostbuild make-image --with audit`.
""",
    (("audit", "counts, and where the two disagree"), ("audit --json", "the same for programs")),
    (LEDGER_OPTION, JSON_OPTION),
    statuses="1 if libudev and the ledger disagree",
)
_SHOWN = 20  # disagreements that are printed


class Seen(NamedTuple):
    """A device as libudev has it."""

    devpath: str
    modalias: str
    driver: str


class Audit(NamedTuple):
    """The counts, over libudev's devices, and the disagreements as sentences."""

    devices: int
    with_modalias: int
    matched: int
    loaded: int
    failed: int
    denied: int
    without_match: int
    unbound: int
    disagreements: tuple[str, ...]


def run(arguments: list[str]) -> int:
    """Audit; 1 if libudev and the ledger disagree."""
    given = parse(AUDIT, arguments)
    result = compare(enumerate_devices(), read_history(given.value("--ledger", LEDGER)))
    if given.given("--json"):
        from json import dumps

        sys.stdout.write(dumps(result._asdict()) + "\n")
    else:
        _print(result)
    return int(bool(result.disagreements))


def enumerate_devices() -> list[Seen]:
    """Return every device that libudev enumerates. Raises WorldError where there is no libudev."""
    try:
        # by name: an image without the audit shall not carry what this imports
        finder: Any = __import__("ctypes.util", fromlist=["find_library"])
        # pyudev asks find_library, which asks ldconfig and gcc; a guest has neither, and one libudev
        finder.find_library = lambda name: f"lib{name}.so.1"
        context = __import__("pyudev").Context()
    except (ImportError, OSError) as e:  # OSError: dlopen(3) does not find libudev
        raise WorldError(
            f"cannot audit: {e}; add pyudev to the image: hostbuild make-image --with audit"
        ) from e
    found = []
    for device in context.list_devices():
        properties = device.properties
        found.append(Seen(device.device_path, properties.get("MODALIAS", ""), properties.get("DRIVER", "")))
    return found


def compare(seen: Iterable[Seen], history: History) -> Audit:
    """Count libudev's devices, and say where the ledger has them otherwise."""
    devices = sorted(seen)
    counts = {"matched": 0, "loaded": 0, "failed": 0, "denied": 0, "without_match": 0, "unbound": 0}
    disagreements: list[str] = []
    with_modalias = 0
    for device in devices:
        known = history.devices.get(device.devpath)
        with_modalias += bool(device.modalias)
        if known is None or not known.present:
            state = "has it as removed" if known is not None else "does not have it"
            disagreements.append(f"libudev has {device.devpath}, the ledger {state}")
            continue
        # the kernel's uevent of an HD audio codec ends its modalias in a newline (sound/hda/hdac_device.c)
        # and libudev keeps the last one of several
        if device.modalias != known.modalias.rstrip("\n").rpartition("\n")[2]:
            disagreements.append(
                f"{device.devpath}: libudev has modalias {device.modalias!r}, the ledger {known.modalias!r}"
            )
        if not device.modalias:
            continue
        modules = [match.module for match in known.matches if not match.builtin]
        outcomes = {load.outcome for name in modules if (load := history.load_of(name)) is not None}
        counts["matched"] += bool(known.matches)
        counts["without_match"] += not known.matches
        counts["loaded"] += bool(outcomes & {"inserted", "observed", "live"})
        counts["failed"] += "failed" in outcomes
        counts["denied"] += "denied" in outcomes
        counts["unbound"] += bool(modules) and not device.driver
    have = {device.devpath for device in devices}
    disagreements += [
        f"the ledger has {known.devpath}, libudev does not"
        for known in history.devices.values()
        if known.present and known.modalias and known.subsystem and known.devpath not in have
    ]
    return Audit(len(devices), with_modalias, **counts, disagreements=tuple(disagreements))


def _print(result: Audit) -> None:
    for name, value in result._asdict().items():
        if name != "disagreements":
            sys.stdout.write(f"{name.replace('_', ' '):<14} {value}\n")
    if not result.disagreements:
        sys.stdout.write("libudev and the ledger agree\n")
        return
    count = len(result.disagreements)
    sys.stdout.write(f"{count} disagreement{'s' * (count != 1)}:\n")
    for line in result.disagreements[:_SHOWN]:
        sys.stdout.write(f"  {printable(line)}\n")
    if count > _SHOWN:
        sys.stdout.write(f"  and {count - _SHOWN} more\n")
