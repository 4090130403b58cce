"""Which block device `root=` means, and which ones it may have meant."""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.root.words import By

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from modaliasd.core.root.superblock import Superblock
    from modaliasd.core.root.words import Target


class BlockDevice(NamedTuple):
    """A block device as it was looked at.

    node: "/dev/vda1". names: its further ones ("/dev/mapper/root"). number: "253:1". disk: the name of the disk that it
    is a partition of, "" for a whole one. part: the partition's number, 0 for none. holds: None where nothing is known
    on it. error: why it could not be read. size: bytes.
    """

    node: str
    names: tuple[str, ...] = ()
    number: str = ""
    disk: str = ""
    part: int = 0
    partuuid: str = ""
    partlabel: str = ""
    holds: Superblock | None = None
    error: str = ""
    size: int = 0


def find(target: Target, devices: Iterable[BlockDevice]) -> list[BlockDevice]:
    """Return the devices that the target means: one, where all is well."""
    known = list(devices)
    found = [device for device in known if means(target, device)]
    if not target.offset:
        return found
    places = {(one.disk, one.part + target.offset) for one in found}
    return [device for device in known if device.disk and (device.disk, device.part) in places]


def means(target: Target, device: BlockDevice) -> bool:
    """Tell whether the device has the name that the target says; PARTNROFF is not minded."""
    by, value = target.by, target.value
    if by is By.NODE:
        return value == device.node or value in device.names
    if by is By.NUMBER:
        return value == device.number
    if by is By.PARTUUID:
        return value.lower() == device.partuuid.lower()
    if by is By.PARTLABEL:
        return value == device.partlabel
    if device.holds is None:
        return False
    if by is By.UUID:
        return value.lower() == device.holds.uuid.lower()
    return by is By.LABEL and value == device.holds.label


def needs_content(target: Target) -> bool:
    """Tell whether devices have to be read to find it: by what is on them, or since it may lie on members."""
    if target.by is By.NODE:
        return target.value.startswith(("/dev/dm-", "/dev/md")) or target.value.count("/") > 2
    return target.by is not By.NUMBER


def best_of(found: list[BlockDevice]) -> BlockDevice:
    """Choose among several of one name: what can be mounted, then a whole over its members, then the first."""
    return min(found, key=lambda one: (one.holds is None or not one.holds.mountable, bool(one.error)))


def shown(device: BlockDevice) -> str:
    """Return it in a line: `/dev/vda1  ext4  UUID=...  LABEL=...  PARTUUID=...`."""
    parts = [device.node, *device.names]
    if device.holds is not None:
        parts.append(device.holds.type)
        parts += [f"UUID={device.holds.uuid}"] if device.holds.uuid else []
        parts += [f"LABEL={device.holds.label}"] if device.holds.label else []
    elif device.error:
        parts.append(f"cannot be read: {device.error}")
    elif device.size == 0:
        parts.append("no medium")
    else:
        parts.append("nothing that is known")
    parts += [f"PARTUUID={device.partuuid}"] if device.partuuid else []
    parts += [f"PARTLABEL={device.partlabel}"] if device.partlabel else []
    return "  ".join(parts)
