"""Reads devices from a sysfs tree: the coldplug walk, and what else /sys tells of a device or a module.

A device is what makes uevents: it has a bus or a class (drivers/base/core.c, dev_uevent_filter). So the walk
lists /sys/bus/BUS/devices and /sys/class/CLASS, whose links lead to every one of them, and does not search
/sys/devices, where three directories of four are no device. The buses that bring storage and network come
first, so that the first modprobe can run before the rest is looked at. The devices at the root of /sys/devices/system,
which have neither, come last: older kernels have the `cpu:` alias in a file of theirs only.

`uevent` is the truth for every device: MDIO devices have MODALIAS there and no `modalias` file. `modalias` is
read where `uevent` does not name it, as when its 2 KiB are too small.
"""

from __future__ import annotations

import posix
from errno import EACCES, ELOOP, ENODEV, ENOENT, ENOTDIR

from modaliasd.core.errors import WorldError
from modaliasd.core.loading.priority import is_urgent
from modaliasd.core.uevent.parse import device_from_env, parse_uevent_file
from modaliasd.linux.descriptors import close_file, list_directory, open_file

FIRST_BUSES = {"pci": 0, "virtio": 1, "nvme": 2, "usb": 3, "scsi": 4}
STRIDE = 32  # devices that are handled before children and events get their turn
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
        """Yield every device that there is, once each, in strides.

        A CPU; of each of the first buses what leads to disks and networks, then what does not; then the rest.
        """
        seen: set[str] = set()
        for subsystem, devpaths in self._places():
            stride: list[Device] = []
            later: list[Device] = []
            is_first = subsystem in FIRST_BUSES
            for devpath in devpaths:
                if devpath in seen:
                    continue
                env = self._uevent(devpath)
                if env is None:
                    continue
                seen.add(devpath)
                device = self._complete(devpath, subsystem, env)
                if is_first and not is_urgent(device.modalias):
                    later.append(device)
                    continue
                stride.append(device)
                if len(stride) == STRIDE:
                    yield stride
                    stride = []
            if stride:
                yield stride
            if later:
                yield later

    def _places(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield (subsystem, its devices' devpaths); each is listed when it is its turn."""
        yield "cpu", self._linked("/bus/cpu/devices", most=1)
        buses = _names(self.root + "/bus")
        buses.sort(key=lambda bus: FIRST_BUSES.get(bus, len(FIRST_BUSES)))
        for bus in buses:
            yield bus, self._linked(f"/bus/{bus}/devices")
        for name in _names(self.root + "/class"):
            yield name, self._linked(f"/class/{name}")
        yield "", (f"/devices/system/{name}" for name in _names(self.root + "/devices/system"))

    def exists(self, devpath: str) -> bool:
        """Return whether there is a kernel object at `devpath`."""
        try:
            posix.stat(self.root + devpath)
        except OSError:
            return False
        return True

    def removable(self, devpath: str) -> str:
        """Return the `removable` attribute of the device or of its nearest ancestor that has one; "" for none."""
        while devpath.count("/") > 1:
            content = _read(f"{self.root}{devpath}/removable")
            if content:
                return content.decode("ascii", "replace").strip()
            devpath = devpath[: devpath.rfind("/")]
        return ""

    def driver_module(self, devpath: str) -> str:
        """Return the module of the driver bound to the device; "" if none is bound or the driver is built in."""
        return _name_of_link(f"{self.root}{devpath}/driver/module")

    def driver(self, devpath: str) -> str:
        """Return the name of the driver bound to the device; "" if none is."""
        return _name_of_link(f"{self.root}{devpath}/driver")

    def drivers_of(self, module: str) -> list[tuple[str, str]]:
        """(bus, driver) of every driver that the live module has registered."""
        try:
            names = list_directory(f"{self.root}/module/{module}/drivers")
        except OSError:
            return []
        pairs = [name.partition(":") for name in sorted(names)]
        return [(bus, driver) for bus, _, driver in pairs]

    def is_live(self, module: str) -> bool:
        """Return whether the module has been inserted and initialised."""
        return _read(f"{self.root}/module/{module}/initstate") == b"live\n"

    def deferred(self) -> list[tuple[str, str]]:
        """(device, reason) of the probes that wait for a supplier; none where debugfs is not mounted."""
        content = _read(self.root + "/kernel/debug/devices_deferred") or b""
        rows = [line.partition("\t") for line in content.decode("utf-8", "surrogateescape").splitlines()]
        return [(device, reason.strip()) for device, _, reason in rows if device]

    def uevent_seqnum(self) -> int:
        """Return the number of the last uevent that the kernel made."""
        content = _read(self.root + "/kernel/uevent_seqnum")
        if content is None:
            raise WorldError(
                f"cannot read {self.root}/kernel/uevent_seqnum: is this a sysfs, and is CONFIG_NET on?"
            )
        return int(content)

    def _linked(self, directory: str, most: int | None = None) -> Iterator[str]:
        """Yield the devpaths that the first so many links in `directory` lead to, by the links' names."""
        directory = self.root + directory
        for name in _names(directory)[:most]:
            try:
                target = posix.readlink(f"{directory}/{name}")
            except OSError:
                continue  # a class has attributes of its own beside its devices
            at = target.find("/devices/")
            if at >= 0:
                yield target[at:]

    def _uevent(self, devpath: str) -> dict[str, str] | None:
        content = _read(f"{self.root}{devpath}/uevent")
        return None if content is None else parse_uevent_file(content)

    def _complete(self, devpath: str, subsystem: str, env: dict[str, str]) -> Device:
        if "MODALIAS" not in env:
            content = _read(f"{self.root}{devpath}/modalias")
            if content:
                env["MODALIAS"] = content.decode("utf-8", "surrogateescape")
        return device_from_env(devpath, subsystem, env)


def _names(directory: str) -> list[str]:
    try:
        return sorted(list_directory(directory))
    except OSError:
        return []


def _name_of_link(path: str) -> str:
    try:
        target = posix.readlink(path)
    except OSError:
        return ""
    return target[target.rfind("/") + 1 :]


def _read(path: str) -> bytes | None:
    """Read the file's bytes; None where it is not there, has gone meanwhile, or may not be read."""
    try:
        descriptor = open_file(path)
    except OSError as e:
        if e.errno in GONE:
            return None
        raise
    try:
        return posix.read(descriptor, READ_SIZE)
    except OSError:
        return None  # ENODEV, EIO, EINVAL, ENOMEM: the attribute's way to say that there is nothing now
    finally:
        close_file(descriptor)
