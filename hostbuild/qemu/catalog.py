"""The devices that the installed QEMU has, in its own words: `-device help`, and `-device NAME,help`.

Storage devices:
name "nvme", bus PCI, desc "Non-Volatile Memory Express"
name "lsi53c895a", bus PCI, alias "lsi"
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hostbuild.arch import Arch
from hostbuild.board import default_arch
from hostbuild.errors import HostbuildError, InputError, WorldError
from hostbuild.near import did_you_mean
from hostbuild.qemu.device import SHORT_NAMES, Backend, Bus, Device, controller_for, full_name
from hostbuild.qemu.machine import TPMS
from hostbuild.qemu.references import by_hand
from hostbuild.run import run

LIST_HINT = "hostbuild run --list-devices"

_HELP_LIMIT_S = 20.0
# QEMU's complaints (softmmu/qdev-monitor.c, qom/object.c).
_NO_DEVICE = r"'([^']+)' is not a valid device model name"
_NO_PROPERTY = r"Property '([^'.]+)\.([^']+)' not found"
_NO_BUS = r"No '([^']+)' bus found for device"
_ADDED = {
    Backend.DRIVE: "an empty disk; size=64M, or file=PATH",
    Backend.NETDEV: "a closed network",
    Backend.AUDIODEV: "silence",
    Backend.CHARDEV: "a null character device",
    Backend.MEMDEV: "memory; size=64M",
}
# What QEMU lists and no machine of hostbuild's can have: parts of processors, and what only boards make.
_LEFT_OUT = ("CPU devices",)


@dataclass(frozen=True, slots=True)
class Listed:
    """A device of QEMU's list. section: the headline above it. bus, alias, description: "" where it names none."""

    section: str
    name: str
    bus: str = ""
    alias: str = ""
    description: str = ""


def read_catalog(arch: Arch | None = None) -> list[Listed]:
    """Ask an architecture's QEMU for its devices. arch: None for this machine's."""
    said = run([_qemu(arch), "-device", "help"], timeout=_HELP_LIMIT_S)
    return list(parse_catalog(said.stdout.decode()))


def _qemu(arch: Arch | None) -> str:
    return (arch or default_arch(None)).facts.qemu


def parse_catalog(text: str) -> Iterator[Listed]:
    """Parse what `-device help` prints."""
    section = ""
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith("name "):
            section = line[:-1]
        elif found := re.match(r'name "([^"]+)"', line):
            fields = dict(re.findall(r', (bus|alias|desc) ("[^"]*"|[^,]+)', line))
            bus, alias, description = (fields.get(key, "").strip('"') for key in ("bus", "alias", "desc"))
            yield Listed(section, found[1], bus, alias, description)


def render_catalog(devices: Iterable[Listed]) -> str:
    """Render a list for people: by section, what each is, and what hostbuild adds to it."""
    lines: list[str] = []
    section = ""
    for device in devices:
        if device.section in _LEFT_OUT:
            continue
        if device.section != section:
            lines += ["", device.section] if lines else [device.section]
            section = device.section
        lines.append(f"  {device.name:26} {_about(device)}".rstrip())
    return "\n".join(lines)


def describe_catalog(devices: Iterable[Listed]) -> list[dict[str, str | list[str]]]:
    """Describe the same list for programs. also: other names that --device takes. backend: what hostbuild adds."""
    return [
        {
            "name": device.name,
            "section": device.section,
            "bus": device.bus,
            "description": device.description,
            "also": _also(device),
            "backend": _ADDED[backend] if (backend := Device(device.name).backend) else "",
        }
        for device in devices
        if device.section not in _LEFT_OUT
    ]


def completions(word: str) -> list[tuple[str, str]]:
    """Return what a word of --device may go on to, each with what it is: names, or properties after a comma."""
    whole, comma, begun = word.rpartition(",")
    if comma:
        driver = full_name(whole.partition(",")[0])
        return [(f"{whole},{name}=", "") for name in _properties(driver) if name.startswith(begun)]
    named = [(one.name, one.description) for one in read_catalog() if one.section not in _LEFT_OUT]
    short = [(name, full) for name, full in SHORT_NAMES.items()]
    return sorted(pair for pair in [*short, *named] if pair[0].startswith(word))


def refusal(said: str, arch: Arch | None = None) -> HostbuildError | None:
    """Turn QEMU's complaint about a device into an error with near names; None for complaints of another kind.

    said: the end of QEMU's stderr. arch: whose QEMU it was.
    """
    complaint = next((line for line in said.splitlines() if ": -device " in line), None)
    if complaint is None:
        return None
    return _refused(complaint.partition(": -device ")[2], arch)


def plug_refusal(driver: str, said: str, arch: Arch | None = None) -> HostbuildError | None:
    """Do the same for a device that was to be plugged into a running machine.

    said: QEMU's answer to device_add.
    """
    known = (_NO_DEVICE, _NO_PROPERTY, _NO_BUS)
    complaint = said.partition("QEMU refused device_add: ")[2]
    return (
        _refused(f"{driver}: {complaint}", arch) if any(re.search(one, complaint) for one in known) else None
    )


def _refused(complaint: str, arch: Arch | None) -> InputError:
    message, hint = f"QEMU refuses the device {complaint}", LIST_HINT
    try:
        if name := re.search(_NO_DEVICE, complaint):
            known = [
                *SHORT_NAMES,
                *(word for one in read_catalog(arch) for word in (one.name, one.alias) if word),
            ]
            message += did_you_mean(name[1], known)
        elif prop := re.search(_NO_PROPERTY, complaint):
            message += did_you_mean(prop[2], _properties(prop[1], arch))
            hint = f"{_qemu(arch)} -device {prop[1]},help lists its properties"
        elif bus := re.search(_NO_BUS, complaint):
            controller = controller_for(bus[1])
            hint = f"the machine needs a controller for it: {controller}" if controller else ""
        else:
            hint = ""
    except WorldError:  # the complaint counts, not that nobody could say more about it
        pass
    return InputError(message, hint=hint)


def _properties(driver: str, arch: Arch | None = None) -> list[str]:
    argv = [_qemu(arch), "-device", f"{driver},help"]
    text = run(argv, timeout=_HELP_LIMIT_S).stdout.decode()
    return re.findall(r"(?m)^\s+(?:\w+\.)?([\w-]+)=<", text)


def _also(device: Listed) -> list[str]:
    short = [name for name, full in SHORT_NAMES.items() if full == device.name]
    return [*filter(None, [device.alias]), *short]


def _about(device: Listed) -> str:
    value = Device(device.name)
    needs = by_hand(value)
    also = _also(device)
    words = [
        device.description,
        f"also {' and '.join(also)}" if also else "",
        f"bus {device.bus}" if device.bus and value.bus is not Bus.PCI else "",
        f"with {_ADDED[value.backend]}" if value.backend else "",
        "with a software TPM (swtpm)" if device.name in TPMS else "",
        f"needs {needs.prop}=ID, in a machine file" if needs else "",
    ]
    return "; ".join(filter(None, words))
