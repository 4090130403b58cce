"""A device as sysfs shows it: what the walk and the uevents produce, and everything else consumes."""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple


class Phase(Enum):
    """When a device shows: what policy asks about first."""

    COLDPLUG = "coldplug"  # before the boot's first settle
    HOTPLUG = "hotplug"  # after it
    FROZEN = "frozen"  # after `modaliasd freeze`


class Device(NamedTuple):
    """One kernel object with a `uevent` file. Strings hold undecodable bytes as surrogate escapes.

    devpath: path below /sys, starting with a slash: "/devices/pci0000:00/0000:00:03.0".
    subsystem: the name the `subsystem` link points to ("pci"), "" where there is none.
    modalias: what the kernel would have user space look up, "" where the device has none; several, one a line.
    driver: the name of the driver bound to it, "" while unbound.
    devname: its node below /dev ("vda"), its network interface is `ifname`; "" where it has none.
    of_node: the path of its node in the device tree ("/soc/serial@9000"), "" where it has none.
    """

    devpath: str
    subsystem: str = ""
    modalias: str = ""
    driver: str = ""
    devtype: str = ""
    devname: str = ""
    ifname: str = ""
    of_node: str = ""
