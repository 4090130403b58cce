"""Which load goes first: what leads to disks and networks, then buses, then the rest, the idle tail last.

A load's rank is the best that any of its reasons gives: the class of the device that asks (a PCI class code,
a virtio or USB interface id says what it is before any driver does) and the place of the module in the
kernel's tree. Lower ranks run first; among equals the smallest files, since the shortest job first makes the
mean wait least; then the order of asking.

The rest does not stand still meanwhile. Drivers sleep while they wait for hardware (a USB hub settles for
100 ms, an AC'97 codec for more), so everything is started at once, and the kernel's scheduler is told who
gets the processor while nobody sleeps: as many of the urgent jobs as there are CPUs, then by rank.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Rank(Enum):
    """The order of loading, lower first."""

    FIRST = 0  # named in modaliasd.first=, or making all further loads faster
    STORAGE = 1
    NETWORK = 2
    BUS = 3  # whatever brings further devices: USB hosts, SD hosts, hubs
    OTHER = 4
    LATE = 5  # nobody waits for it: CPU features, sound, watchdogs, sensors


# nice(2) of a job by its rank. BUS comes close to what is urgent: its devices need time to answer.
_NICE = {0: 0, 1: 12, 2: 12, 3: 3, 4: 17, 5: 19}


# (prefix of the module's path below kernel/, its rank): the first that fits.
_BY_PLACE = (
    ("drivers/block/", Rank.STORAGE),
    ("drivers/nvme/", Rank.STORAGE),
    ("drivers/ata/", Rank.STORAGE),
    ("drivers/scsi/", Rank.STORAGE),
    ("drivers/md/", Rank.STORAGE),
    ("drivers/message/fusion/", Rank.STORAGE),
    ("drivers/usb/storage/", Rank.STORAGE),
    ("drivers/net/", Rank.NETWORK),
    ("net/", Rank.NETWORK),
    ("drivers/mmc/", Rank.BUS),
    ("drivers/usb/host/", Rank.BUS),
    ("drivers/usb/", Rank.BUS),
    ("drivers/hid/", Rank.BUS),
    ("sound/", Rank.LATE),
    ("crypto/", Rank.LATE),
    ("arch/", Rank.LATE),
    ("drivers/edac/", Rank.LATE),
    ("drivers/watchdog/", Rank.LATE),
    ("drivers/hwmon/", Rank.LATE),
    ("drivers/powercap/", Rank.LATE),
    ("drivers/platform/", Rank.LATE),
)

# PCI base class (include/linux/pci_ids.h). SMBus, of 0C, brings no disk, but sleeps: begun last, it would end last.
_PCI_CLASSES = {"01": Rank.STORAGE, "02": Rank.NETWORK, "08": Rank.BUS, "0C": Rank.BUS}
# Device ids of virtio (include/uapi/linux/virtio_ids.h): net, block, scsi, 9p, virtiofs; the console and the rest wait.
_VIRTIO_IDS = {
    "00000001": Rank.NETWORK,
    "00000002": Rank.STORAGE,
    "00000008": Rank.STORAGE,
    "00000009": Rank.STORAGE,
    "0000001A": Rank.STORAGE,
}
# USB interface classes: mass storage, and the two that NICs use.
_USB_CLASSES = {"08": Rank.STORAGE, "02": Rank.NETWORK, "0A": Rank.NETWORK}


def niceness(jobs: Iterable[tuple[int, int, int]], cpus: int) -> dict[int, int]:
    """Return what nice(2) each running job should have: the first for a disk, and the first for a network, go ahead.

    jobs: (rank, cost, number) of each; the answer goes by number. With more CPUs more of them go ahead.
    """
    nice: dict[int, int] = {}
    ahead = {Rank.STORAGE.value: cpus, Rank.NETWORK.value: cpus}
    for rank, _cost, number in sorted(jobs):
        left = ahead.get(rank, 0)
        nice[number] = 0 if left else _NICE[rank]
        if left:
            ahead[rank] = left - 1
    return nice


def rank_of_device(modalias: str) -> Rank:
    """Return what the device's modalias alone says of its urgency."""
    bus, _, rest = modalias.partition(":")
    if bus == "pci":
        return _PCI_CLASSES.get(_after(rest, "bc"), Rank.OTHER)
    if bus == "virtio":
        return _VIRTIO_IDS.get(rest[1:9], Rank.OTHER)
    if bus == "usb":
        return _USB_CLASSES.get(_after(rest, "ic"), Rank.OTHER)
    if bus in {"scsi", "nvme"}:
        return Rank.STORAGE
    if bus == "cpu":
        return Rank.LATE
    return Rank.OTHER


def is_urgent(modalias: str) -> bool:
    """Tell whether the device leads to a disk or to a network."""
    return rank_of_device(modalias).value <= Rank.NETWORK.value


def rank_of_module(path: str) -> Rank:
    """Return what the module's place says of it; `path` as in modules.dep, "kernel/drivers/block/virtio_blk.ko"."""
    place = path.removeprefix("kernel/")
    for prefix, rank in _BY_PLACE:
        if place.startswith(prefix):
            return rank
    return Rank.OTHER


def rank_of(modalias: str, path: str) -> Rank:
    """Return the rank of a load that a device with `modalias` asks for, the module lying at `path`.

    The device's class decides where it is urgent; where it says nothing, the module's place does. A driver
    that many kinds of device share (virtio_pci) is as urgent as the device that asks.
    """
    by_device = rank_of_device(modalias)
    if by_device.value <= Rank.BUS.value or by_device is Rank.LATE:
        return by_device
    return rank_of_module(path)


def _after(fields: str, key: str) -> str:
    """Return the two hexadecimal digits behind the lower-case field name `key` in a modalias; "" if it has none."""
    at = fields.rfind(key)
    return fields[at + len(key) : at + len(key) + 2] if at >= 0 else ""
