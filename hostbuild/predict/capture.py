"""A machine's devices as a file: what `hostbuild capture` writes and `hostbuild predict` reads. Pure.

The form is one JSON object, described in docs/capture.md and docs/capture.schema.json. Ledgers and umockdev's
recordings are turned into the same value, so that whoever reads a Capture need not care where it came from.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hostbuild.errors import InputError
from modaliasd.core.device import Device
from modaliasd.core.ledger.history import History

TYPE = "capture"
FORMAT = 1

_FIELDS = ("subsystem", "modalias", "driver", "devtype", "devname", "ifname", "of_node")


class CaptureKind(Enum):
    """Where a capture comes from; the value is the word in the file."""

    UDEV = "udev"
    SYSFS = "sysfs"
    LEDGER = "ledger"
    UMOCKDEV = "umockdev"
    DEVICETREE = "devicetree"


@dataclass(frozen=True, slots=True)
class Captured:
    """A device, and the module of the driver that has it ("" if there is none, it is built in, or unknown)."""

    device: Device
    module: str = ""

    @property
    def devpath(self) -> str:
        """Where it stands below /sys."""
        return self.device.devpath


@dataclass(frozen=True, slots=True)
class Capture:
    """A machine as it was.

    kernel: its release, "" if unknown. devices: by devpath. modules: those in the kernel, None if unknown.
    left: modules that were asked for, found nothing to drive and left again (ledgers tell of them).
    """

    source: CaptureKind
    kernel: str
    devices: tuple[Captured, ...]
    modules: frozenset[str] | None = None
    left: frozenset[str] = frozenset()


def make_capture(
    source: CaptureKind,
    kernel: str,
    devices: Iterable[Captured],
    modules: Iterable[str] | None = None,
    left: Iterable[str] = (),
) -> Capture:
    """Make a capture; devices come in any order, names of modules with `-` or `_`."""
    ordered = tuple(sorted(devices, key=lambda one: one.devpath))
    live = None if modules is None else frozenset(map(_name, modules))
    return Capture(source, kernel, ordered, live, frozenset(map(_name, left)))


def capture_of_history(history: History) -> Capture:
    """Return the machine at the end of a ledger."""
    devices = [
        Captured(
            Device(d.devpath, d.subsystem, d.modalias, d.driver, d.devtype, d.devname, d.ifname, d.of_node),
            d.module,
        )
        for d in history.devices.values()
        if d.present
    ]
    live = {_name(load.module) for load in history.loads if load.outcome in ("inserted", "observed", "live")}
    for appearance in history.appearances:
        name = _name(appearance.module)
        last = history.load_of(name)
        if appearance.came:
            live.add(name)
        elif last is None or last.end_us < appearance.t_us:
            live.discard(name)
    left = {load.module for load in history.loads if load.outcome == "nodevice"} - live
    return make_capture(CaptureKind.LEDGER, str(history.start.get("kernel", "")), devices, live, left)


def render_capture(capture: Capture) -> str:
    """Return the file's text: ASCII, a device a line, so that two captures can be compared by diff(1)."""
    head: dict[str, Any] = {"type": TYPE, "format": FORMAT, "source": capture.source.value}
    if capture.kernel:
        head["kernel"] = capture.kernel
    if capture.modules is not None:
        head["modules"] = sorted(capture.modules)
    if capture.left:
        head["left"] = sorted(capture.left)
    devices = ",\n".join(json.dumps(_row(one)) for one in capture.devices)
    return json.dumps(head)[:-1] + ', "devices": [\n' + devices + "\n]}\n"


def parse_capture(text: str, origin: str = "capture") -> Capture:
    """Read a capture's JSON. Raises InputError where it is none, or of another format."""
    try:
        value = json.loads(text)
    except ValueError as e:
        raise InputError(f"{origin} is not a capture: it is not JSON: {e}") from e
    if not isinstance(value, dict) or value.get("type") != TYPE:
        raise InputError(
            f"{origin} is not a capture: it is JSON of another kind", hint="hostbuild capture -o FILE"
        )
    if value.get("format") != FORMAT:
        raise InputError(
            f"{origin} is a capture of format {value.get('format')}; this hostbuild reads {FORMAT}"
        )
    try:
        source = CaptureKind(value.get("source"))
        rows = value["devices"]
        devices = [_captured(row) for row in rows]
        modules, left = value.get("modules"), value.get("left", [])
        return make_capture(source, str(value.get("kernel", "")), devices, modules, left)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        why = f"{e} is missing" if isinstance(e, KeyError) else e
        raise InputError(
            f"{origin} is a damaged capture: {why}", hint="docs/capture.md describes the format"
        ) from e


def parse_umockdev(text: str) -> Capture:
    """Read a recording of umockdev-record: a paragraph a device, `P:` path, `E:` property, `A:` attribute, `L:` link.

    Source: umockdev's docs/script-format.txt and src/umockdev.vala (record_device). It does not say which modules were
    in the kernel, nor which one a driver belongs to.
    """
    devices = [device for paragraph in text.split("\n\n") if (device := _recorded(paragraph)) is not None]
    return make_capture(CaptureKind.UMOCKDEV, "", devices)


def _recorded(paragraph: str) -> Captured | None:
    devpath = ""
    properties: dict[str, str] = {}
    attributes: dict[str, str] = {}
    links: dict[str, str] = {}
    for line in paragraph.splitlines():
        kind, colon, rest = line.partition(": ")
        key, _, value = rest.partition("=")
        if not colon:
            continue
        if kind == "P":
            devpath = rest.strip()
        elif kind == "E":
            properties[key] = value
        elif kind == "A":
            attributes[key] = _unescaped(value).rstrip("\n")
        elif kind == "L":
            links[key] = value.rpartition("/")[2]
    if not devpath:
        return None
    subsystem = properties.get("SUBSYSTEM", "") or links.get("subsystem", "")
    return Captured(
        Device(
            devpath,
            subsystem,
            properties.get("MODALIAS", "") or attributes.get("modalias", ""),
            links.get("driver", "") or properties.get("DRIVER", ""),
            properties.get("DEVTYPE", ""),
            properties.get("DEVNAME", "").removeprefix("/dev/"),
            properties.get("INTERFACE", "") if subsystem == "net" else "",
            properties.get("OF_FULLNAME", ""),
        )
    )


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], value)


def _row(one: Captured) -> dict[str, str]:
    """Return a device as the file has it: what is empty is left out."""
    row = {"devpath": one.devpath} | {field: getattr(one.device, field) for field in _FIELDS}
    if one.module:
        row["module"] = one.module
    return {key: value for key, value in row.items() if value}


def _captured(row: dict[str, Any]) -> Captured:
    devpath = row["devpath"]
    values = [row.get(field, "") for field in (*_FIELDS, "module")]
    if not all(isinstance(value, str) for value in (devpath, *values)) or not devpath.startswith("/"):
        raise ValueError(f"not a device: {row!r}")
    return Captured(Device(devpath, *values[:-1]), _name(values[-1]))


def _name(module: str) -> str:
    return module.replace("-", "_")
