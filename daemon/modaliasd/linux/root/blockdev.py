"""Looks at block devices: what /sys says of them, and the first blocks of each.

Reading can take long (a drive that spins up, a floppy drive) or for ever: it is not for the daemon's process.
"""

from __future__ import annotations

import posix
from errno import ENOMEDIUM, ENXIO

from modaliasd.core.root.partitions import partition_names
from modaliasd.core.root.superblock import probe
from modaliasd.core.root.target import BlockDevice

_EMPTY = (ENOMEDIUM, ENXIO)
_NOT_RUNNING = ("clear", "inactive")  # Documentation/admin-guide/md.rst, array_state; others have none
_NEVER = ("ram", "fd", "zram", "nbd")  # of no use as a root, or too slow to ask


class BlockDevices:
    """The block devices of /sys below `root` ("" for the real one), each read once, until `forget`."""

    def __init__(self, root: str = "") -> None:
        self._root = root
        self._tables: dict[str, dict[int, tuple[str, str]]] = {}

    def names(self) -> list[str]:
        """Return the kernel's names of all block devices."""
        try:
            return sorted(posix.listdir(f"{self._root}/sys/class/block"))
        except OSError:
            return []

    def look(self, name: str, *, content: bool = True) -> BlockDevice | None:
        """Return the device of this name; None where it is gone. content: look at what it holds, too."""
        place = f"{self._root}/sys/class/block/{name}"
        number = _attribute(f"{place}/dev")
        if not number:
            return None
        facts = dict(
            line.partition("=")[::2] for line in _attribute(f"{place}/uevent").splitlines() if "=" in line
        )
        node = f"/dev/{facts.get('DEVNAME', name)}"
        part = _number(facts.get("PARTN", ""))
        size = _number(_attribute(f"{place}/size")) * 512
        disk = self._disk_of(place) if part else ""
        partuuid, partlabel = facts.get("PARTUUID", ""), facts.get("PARTNAME", "")
        if part and content and not partuuid:
            table = self._table(disk)
            partuuid, partlabel = table.get(part, ("", partlabel))
        device = BlockDevice(node, self._further(place), number, disk, part, partuuid, partlabel, size=size)
        if not content or not size or name.rstrip("0123456789") in _NEVER:
            return device
        return self._read(device)

    def is_used(self, node: str) -> bool:
        """Tell whether another block device lies on it: of an array only one that runs."""
        name = node.removeprefix("/dev/").replace("/", "!")
        try:
            holders = posix.listdir(f"{self._root}/sys/class/block/{name}/holders")
        except OSError:
            return False
        states = [_attribute(f"{self._root}/sys/class/block/{one}/md/array_state") for one in holders]
        return any(state not in _NOT_RUNNING for state in states)

    def forget(self, name: str) -> None:
        """Read its partition table anew when it is asked for."""
        self._tables.pop(name, None)

    def _read(self, device: BlockDevice) -> BlockDevice:
        try:
            with Reader(self._root + device.node) as reader:
                return device._replace(holds=probe(reader.read, device.size))
        except OSError as e:
            if e.errno in _EMPTY:
                return device._replace(size=0)
            return device._replace(error=e.strerror or str(e))

    def _table(self, disk: str) -> dict[int, tuple[str, str]]:
        if disk not in self._tables:
            sector = _number(_attribute(f"{self._root}/sys/class/block/{disk}/queue/logical_block_size"))
            try:
                with Reader(f"{self._root}/dev/{disk}") as reader:
                    self._tables[disk] = partition_names(reader.read, sector or 512)
            except OSError:
                self._tables[disk] = {}
        return self._tables[disk]

    @staticmethod
    def _disk_of(place: str) -> str:
        """Return the disk's name: the directory above the partition's own."""
        try:
            return posix.readlink(place).split("/")[-2]
        except (OSError, IndexError):
            return ""

    @staticmethod
    def _further(place: str) -> tuple[str, ...]:
        """Return the names that device mapper and md give: /dev/mapper/NAME, /dev/VG/LV."""
        name = _attribute(f"{place}/dm/name")
        if not name:
            return ()
        names = [f"/dev/mapper/{name}"]
        if _attribute(f"{place}/dm/uuid").startswith("LVM-"):
            group, dash, volume = name.replace("--", "\0").partition("-")
            names += [f"/dev/{group}/{volume}".replace("\0", "-")] if dash else []
        return tuple(names)


class Reader:
    """A device or a file that is open for reading."""

    def __init__(self, path: str) -> None:
        self._descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_error: object) -> None:
        posix.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes from there; fewer at the end. Raises OSError."""
        return posix.pread(self._descriptor, length, offset)


def _attribute(path: str) -> str:
    return read_text(path).strip()


def read_text(path: str, most: int = 1 << 16) -> str:
    """Return the file's text; "" where it cannot be read."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.read(descriptor, most).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        posix.close(descriptor)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
