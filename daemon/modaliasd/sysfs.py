"""Reads devices from a sysfs tree: the coldplug walk, and single devices by their path.

The walk comes in two strides. The buses whose devices bring storage and network are listed first, straight
from /sys/bus/BUS/devices, so that the first modprobe can run before the rest is looked at. Then all of
/sys/devices is walked, which also finds what no bus lists: class devices (input, dmi), MDIO devices that
have MODALIAS in `uevent` and no `modalias` file, the `cpu:` alias below /sys/devices/system/cpu. `uevent`
is the truth for every device; `modalias` is read where a device has the file and `uevent` does not name it,
as when its 2 KiB are too small.
"""

from __future__ import annotations

import posix
from errno import EACCES, ELOOP, ENODEV, ENOENT, ENOTDIR

from modaliasd.core.errors import WorldError
from modaliasd.core.uevent import device_from_env, parse_uevent_file

FIRST_BUSES = ("pci", "virtio", "nvme", "usb", "scsi")
STRIDE = 32  # devices of the long walk that are handled before children and events get their turn
READ_SIZE = 16384  # sysfs shows at most a page an attribute
GONE = {ENOENT, ENODEV, ENOTDIR, EACCES, ELOOP}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from modaliasd.core.device import Device


class Sysfs:
    """A sysfs mounted at `root`."""

    def __init__(self, root: str = "/sys") -> None:
        self.root = root

    def require(self) -> None:
        """Raise WorldError unless this is a sysfs with devices."""
        try:
            posix.stat(self.root + "/devices")
        except OSError as e:
            raise WorldError(
                f"no sysfs at {self.root}: {e.strerror}; mount it: mount -t sysfs sysfs /sys"
            ) from e

    def walk(self) -> Iterator[list[Device]]:
        """Every device that there is, once each, in strides.

        One for each of the first buses, then the rest.
        """
        seen: set[str] = set()
        for bus in FIRST_BUSES:
            stride = list(self._bus_devices(bus))
            seen.update(device.devpath for device in stride)
            if stride:
                yield stride
        yield from _in_strides(self._below("/devices", seen))

    def device(self, devpath: str) -> Device | None:
        """The device at `devpath` as it is now; None if it has gone."""
        env = self._uevent(devpath)
        if env is None:
            return None
        return self._complete(devpath, self._subsystem(devpath), env)

    def exists(self, devpath: str) -> bool:
        """Is there a kernel object at `devpath`?"""
        try:
            posix.stat(self.root + devpath)
        except OSError:
            return False
        return True

    def removable(self, devpath: str) -> str:
        """The `removable` attribute of the device or of its nearest ancestor that has one; "" for none."""
        while devpath.count("/") > 1:
            content = _read(f"{self.root}{devpath}/removable")
            if content:
                return content.decode("ascii", "replace").strip()
            devpath = devpath[: devpath.rfind("/")]
        return ""

    def driver_module(self, devpath: str) -> str:
        """The module of the driver bound to the device; "" if none is bound or the driver is built in."""
        return _name_of_link(f"{self.root}{devpath}/driver/module")

    def driver(self, devpath: str) -> str:
        """The name of the driver bound to the device; "" if none is."""
        return _name_of_link(f"{self.root}{devpath}/driver")

    def drivers_of(self, module: str) -> list[tuple[str, str]]:
        """(bus, driver) of every driver that the live module has registered."""
        try:
            names = posix.listdir(f"{self.root}/module/{module}/drivers")
        except OSError:
            return []
        pairs = [name.partition(":") for name in sorted(names)]
        return [(bus, driver) for bus, _, driver in pairs]

    def is_live(self, module: str) -> bool:
        """Has the module been inserted and initialised?"""
        return _read(f"{self.root}/module/{module}/initstate") == b"live\n"

    def uevent_seqnum(self) -> int:
        """The number of the last uevent that the kernel made."""
        content = _read(self.root + "/kernel/uevent_seqnum")
        if content is None:
            raise WorldError(
                f"cannot read {self.root}/kernel/uevent_seqnum: is this a sysfs, and is CONFIG_NET on?"
            )
        return int(content)

    def _bus_devices(self, bus: str) -> Iterator[Device]:
        directory = f"{self.root}/bus/{bus}/devices"
        for name in _names(directory):
            try:
                target = posix.readlink(f"{directory}/{name}")
            except OSError:
                continue
            devpath = target[target.find("/devices/") :]
            env = self._uevent(devpath)
            if env is not None:
                yield self._complete(devpath, bus, env)

    def _below(self, devpath: str, seen: set[str]) -> Iterator[Device]:
        """Devices at and below `devpath` in the order of their names, parents before their children."""
        stack = [devpath]
        while stack:
            devpath = stack.pop()
            directories: list[str] = []
            is_device = has_subsystem = has_modalias = False
            try:
                with posix.scandir(self.root + devpath) as entries:
                    for entry in entries:
                        name = entry.name
                        if name == "uevent":
                            is_device = True
                        elif name == "subsystem":
                            has_subsystem = True
                        elif name == "modalias":
                            has_modalias = True
                        elif entry.is_dir(follow_symlinks=False):
                            directories.append(f"{devpath}/{name}")
            except OSError:
                continue
            directories.sort(reverse=True)
            stack.extend(directories)
            if is_device and devpath not in seen:
                env = self._uevent(devpath)
                if env is not None:
                    subsystem = self._subsystem(devpath) if has_subsystem else ""
                    yield self._complete(devpath, subsystem, env, has_modalias=has_modalias)

    def _uevent(self, devpath: str) -> dict[str, str] | None:
        content = _read(f"{self.root}{devpath}/uevent")
        return None if content is None else parse_uevent_file(content)

    def _subsystem(self, devpath: str) -> str:
        return _name_of_link(f"{self.root}{devpath}/subsystem")

    def _complete(
        self, devpath: str, subsystem: str, env: dict[str, str], *, has_modalias: bool = True
    ) -> Device:
        if has_modalias and "MODALIAS" not in env:
            content = _read(f"{self.root}{devpath}/modalias")
            if content:
                env["MODALIAS"] = content.decode("utf-8", "surrogateescape")
        return device_from_env(devpath, subsystem, env)


def _in_strides(devices: Iterator[Device]) -> Iterator[list[Device]]:
    """The same devices, STRIDE at a time."""
    stride: list[Device] = []
    for device in devices:
        stride.append(device)
        if len(stride) == STRIDE:
            yield stride
            stride = []
    if stride:
        yield stride


def _names(directory: str) -> list[str]:
    try:
        return sorted(posix.listdir(directory))
    except OSError:
        return []


def _name_of_link(path: str) -> str:
    try:
        target = posix.readlink(path)
    except OSError:
        return ""
    return target[target.rfind("/") + 1 :]


def _read(path: str) -> bytes | None:
    """The file's bytes; None where it is not there, has gone meanwhile, or may not be read."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as e:
        if e.errno in GONE:
            return None
        raise
    try:
        return posix.read(descriptor, READ_SIZE)
    except OSError:
        return None  # ENODEV, EIO, EINVAL, ENOMEM: the attribute's way to say that there is nothing now
    finally:
        posix.close(descriptor)
