"""Records the devices of a machine: this one through libudev, another one from a copy of its /sys.

libudev (by pyudev) enumerates what stands in a bus or a class, which is what makes uevents; the walk finds the same by
the `subsystem` links. Neither shares code with the daemon's walk.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hostbuild.errors import InputError, WorldError
from hostbuild.predict.capture import Capture, Captured, CaptureKind, make_capture
from modaliasd.core.device import Device
from modaliasd.core.uevent.parse import device_from_env, parse_uevent_file

if TYPE_CHECKING:
    import pyudev


def capture_machine() -> Capture:
    """Record this machine. Raises WorldError where it has no /sys or libudev is missing."""
    sys = Path("/sys")
    if not (sys / "devices").is_dir():
        raise WorldError("cannot record this machine: no sysfs at /sys", hint="mount -t sysfs sysfs /sys")
    return make_capture(CaptureKind.UDEV, os.uname().release, _enumerated(), live_modules(sys))


def capture_root(root: Path) -> Capture:
    """Record from `root`/sys (or from `root`, if that is the copy of a /sys itself). Raises InputError."""
    sys = root / "sys" if (root / "sys/devices").is_dir() else root
    if not (sys / "devices").is_dir():
        raise InputError(f"cannot record the machine of {root}: there is no {root / 'sys/devices'}")
    try:
        kernel = (root / "proc/sys/kernel/osrelease").read_text(encoding="ascii").strip()
    except OSError:
        kernel = ""
    return make_capture(CaptureKind.SYSFS, kernel, walk(sys), live_modules(sys))


def _enumerated() -> Iterator[Captured]:
    """Yield every device that libudev enumerates."""
    try:
        import pyudev

        context = pyudev.Context()
    except ImportError as e:
        raise WorldError(
            f"cannot load libudev: {e}", hint="apt-get install libudev1; pip install pyudev"
        ) from e
    for device in context.list_devices():
        if device.device_path.startswith("/devices/"):
            yield _from_libudev(device)


def _from_libudev(device: "pyudev.Device") -> Captured:
    properties = dict(device.properties)
    modalias = properties.get("MODALIAS", "")
    if "modalias" in device.attributes.available_attributes:
        shown = (device.attributes.get("modalias") or b"").decode("utf-8", "surrogateescape").rstrip("\n")
        if not modalias or "\n" in shown:  # of several in a uevent libudev keeps the last
            modalias = shown
    subsystem = device.subsystem or ""
    return Captured(
        Device(
            device.device_path,
            subsystem,
            modalias,
            device.driver or "",
            device.device_type or "",
            properties.get("DEVNAME", "").removeprefix("/dev/"),
            properties.get("INTERFACE", "") if subsystem == "net" else "",
            properties.get("OF_FULLNAME", ""),
        ),
        _link(Path(device.sys_path, "driver/module")),
    )


def walk(sys: Path) -> Iterator[Captured]:
    """Yield every device below `sys`/devices: every directory with a `uevent` and a `subsystem`."""
    for parent, below, files in os.walk(sys / "devices"):
        below.sort()
        if "uevent" not in files or "subsystem" not in [*below, *files]:
            continue
        here = Path(parent)
        env = parse_uevent_file(_read(here / "uevent"))
        if "MODALIAS" not in env and "modalias" in files:
            env["MODALIAS"] = _read(here / "modalias").decode("utf-8", "surrogateescape").rstrip("\n")
        device = device_from_env("/" + here.relative_to(sys).as_posix(), _link(here / "subsystem"), env)
        yield Captured(device._replace(driver=_link(here / "driver")), _link(here / "driver/module"))


def live_modules(sys: Path) -> list[str]:
    """Return the modules in the kernel: those below `sys`/module that say how far their initialisation is."""
    return sorted(path.parent.name for path in (sys / "module").glob("*/initstate"))


def _link(path: Path) -> str:
    """Return the last part of what a symbolic link points to; "" where there is no link."""
    try:
        return path.readlink().name
    except OSError:
        return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # an attribute that only root may read, or whose device has gone meanwhile
