"""Devices as values: QEMU's driver name and properties, the bus a device needs, and its backend on the host.

The backend (an empty disk, a closed network, silence, a null character device) that a device needs and does
not name is made for it: as options when QEMU starts (backend_argv), as QMP commands while it runs
(backend_commands).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from hostbuild.errors import UsageError

MIB = 1 << 20
AUDIODEV = "audio0"  # the silent backend that every machine has; any number of sound cards may share it

_LIST = "hostbuild run --list-devices"
_DEFAULT_SIZE = {
    "pc-dimm": 128 * MIB,
    "nvdimm": 128 * MIB,
}  # what Linux takes in and gives back: a section of memory
_DEFAULT_DISK = 64 * MIB  # a power of two, as SD cards demand


class Backend(Enum):
    """The host's side of a device; the value is the device's property that names it."""

    DRIVE = "drive"
    NETDEV = "netdev"
    AUDIODEV = "audiodev"
    CHARDEV = "chardev"
    MEMDEV = "memdev"


class Bus(Enum):
    """Where a device is plugged in."""

    PCI = "pci"
    USB = "usb"
    SCSI = "scsi"
    SD = "sd"
    HDA = "hda"
    IDE = "ide"
    VIRTIO_SERIAL = "virtio-serial"
    OTHER = "other"


# The first pattern that matches a driver's whole name decides.
_BACKEND_OF: tuple[tuple[str, Backend], ...] = (
    (r"virtio-blk.*|nvme|nvme-ns|scsi-(hd|cd)|ide-(hd|cd)|usb-storage|sd-card|floppy", Backend.DRIVE),
    (
        r"virtio-net.*|e1000.*|rtl8139|vmxnet3|pcnet|ne2k_.*|tulip|i8255.*|i82562|i82801|usb-net",
        Backend.NETDEV,
    ),
    (r"hda-.*|AC97|ac97|ES1370|es1370|sb16|adlib|gus|cs4231a|usb-audio", Backend.AUDIODEV),
    (
        r"virtconsole|virtserialport|pci-serial|isa-serial|isa-parallel|usb-serial|usb-braille",
        Backend.CHARDEV,
    ),
    (r"ivshmem-plain|pc-dimm|nvdimm", Backend.MEMDEV),
)
_BUS_OF: tuple[tuple[str, Bus], ...] = (
    (r"usb-ehci", Bus.PCI),
    (r"usb-.*|u2f-.*", Bus.USB),
    (r"scsi-(hd|cd|block|generic)", Bus.SCSI),
    (r"sd-card", Bus.SD),
    (r"hda-.*", Bus.HDA),
    (r"ide-(hd|cd)", Bus.IDE),
    (r"virtconsole|virtserialport", Bus.VIRTIO_SERIAL),
    (
        r"isa-.*|i8042|floppy|sb16|adlib|gus|cs4231a|ne2k_isa|ib700|pvpanic|pc-dimm|nvdimm|nvme-ns|tpm-.*"
        r"|intel-iommu|amd-iommu|ipmi-.*|cxl-type3",
        Bus.OTHER,
    ),
    (r"virtio-.*-device|vmgenid|vmcoreinfo", Bus.OTHER),
    (r".*", Bus.PCI),
)
# What people call a device, beside QEMU's own names and aliases, which none of these words is.
SHORT_NAMES: Mapping[str, str] = {
    "disk": "virtio-blk-pci",
    "sata-disk": "ide-hd",
    "scsi-disk": "scsi-hd",
    "usb-disk": "usb-storage",
    "cdrom": "ide-cd",
    "nic": "virtio-net-pci",
    "usb-nic": "usb-net",
    "keyboard": "usb-kbd",
    "mouse": "usb-mouse",
    "tablet": "usb-tablet",
    "sound": "hda-duplex",
    "usb-sound": "usb-audio",
    "serial": "pci-serial",
    "rng": "virtio-rng-pci",
    "balloon": "virtio-balloon-pci",
    "usb": "qemu-xhci",
    "scsi": "virtio-scsi-pci",
    "sata": "ich9-ahci",
    "port": "pcie-root-port",
    "bridge": "pcie-pci-bridge",
    "iommu": "intel-iommu",
    "viommu": "virtio-iommu-pci",
    "dimm": "pc-dimm",
    "tpm": "tpm-crb",
    "watchdog": "i6300esb",
}
# The controllers that bring a bus, and the one that is added where there is none.
_CONTROLLERS: Mapping[Bus, tuple[str, str]] = {
    Bus.USB: (r".*-xhci|usb-ehci|pci-ohci|.*-usb-(uhci|ehci)\d?", "qemu-xhci"),
    Bus.SCSI: (r"virtio-scsi.*|megasas.*|mptsas1068|pvscsi|lsi.*|am53c974|dc390|usb-uas", "virtio-scsi-pci"),
    Bus.SD: (r"sdhci-pci", "sdhci-pci"),
    Bus.HDA: (r".*intel-hda", "ich9-intel-hda"),
    Bus.IDE: (r"ich9-ahci|ahci", "ich9-ahci"),
    Bus.VIRTIO_SERIAL: (r"virtio-serial.*", "virtio-serial-pci"),
}


# Properties without which QEMU refuses a device.
_DEFAULT_PROPS: Mapping[str, tuple[tuple[str, str], ...]] = {"nvme": (("serial", "hostbuild"),)}


@dataclass(frozen=True, slots=True)
class Device:
    """One device: QEMU's driver name and its properties, in order."""

    driver: str
    props: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """Return the property's value, None where it is not given."""
        return dict(self.props).get(name)

    def having(self, **props: str) -> "Device":
        """Return the device with these properties added after its own."""
        return replace(self, props=(*self.props, *props.items()))

    def without(self, *names: str) -> "Device":
        """Return the device without these properties."""
        return replace(self, props=tuple(pair for pair in self.props if pair[0] not in names))

    def __str__(self) -> str:
        return ",".join([self.driver, *(f"{key}={_escaped(value)}" for key, value in self.props)])

    @property
    def backend(self) -> Backend | None:
        """The kind of backend that it needs."""
        return next((kind for pattern, kind in _BACKEND_OF if re.fullmatch(pattern, self.driver)), None)

    @property
    def bus(self) -> Bus:
        """The bus that it is plugged into; PCI where the driver is unknown."""
        return next(kind for pattern, kind in _BUS_OF if re.fullmatch(pattern, self.driver))


def parse_device(text: str) -> Device:
    """Parse DRIVER[,PROPERTY=VALUE]... as QEMU's -device has it: `,,` is a comma, a bare PROPERTY means on.

    DRIVER is QEMU's name or a short one (SHORT_NAMES). Raises UsageError.
    """
    # A comma that stands alone separates; two are one comma of the value.
    driver, *rest = [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", driver):
        raise UsageError(
            f"device {text!r}: {driver!r} is not the name of a QEMU device (e1000, nvme,serial=1, ...)",
            hint=_LIST,
        )
    if driver == "help" or "help" in rest:
        raise UsageError(f"device {text!r}: no device is called help", hint=_LIST)
    props = []
    for part in rest:
        key, equals, value = part.partition("=")
        if not key:
            raise UsageError(f"device {text!r}: a property without a name in {part!r}")
        props.append((key, value if equals else "on"))
    return Device(full_name(driver), tuple(props))


def full_name(name: str) -> str:
    """Return QEMU's name of a device that people call `name`; any other name as it is."""
    return SHORT_NAMES.get(name, name)


def device_files(text: str) -> tuple[Path, ...]:
    """Return whatever a device's properties may name as a file. Raises UsageError."""
    return tuple(Path(value) for _, value in parse_device(text).props if value)


def parse_size(text: str) -> int:
    """Parse a size such as 512M, 2G, 65536: bytes, with K, M, G (1024 each) as in QEMU. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([KMG]?)i?B?", text.strip(), re.IGNORECASE)
    if not found or not int(found[1]):
        raise UsageError(f"size {text!r}: expected a number with K, M or G, for example 512M")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()]


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend to be made. size: bytes of a disk or of memory. file: a raw image, None for an empty disk."""

    kind: Backend
    id: str
    size: int = _DEFAULT_DISK
    file: str | None = None
    read_only: bool = False


def with_backend(device: Device, backend_id: str) -> tuple[Device, BackendSpec | None]:
    """Return the device ready for QEMU, and the backend to be made first, None where none is needed."""
    missing = tuple(pair for pair in _DEFAULT_PROPS.get(device.driver, ()) if device.get(pair[0]) is None)
    device = replace(device, props=device.props + missing)
    kind = device.backend
    if kind is None or device.get(kind.value) is not None:
        return device, None
    if kind is Backend.AUDIODEV:
        return device.having(audiodev=AUDIODEV), None
    size = device.get("size")
    default = _DEFAULT_SIZE.get(device.driver, _DEFAULT_DISK if kind is Backend.DRIVE else MIB)
    spec = BackendSpec(
        kind,
        backend_id,
        parse_size(size) if size else default,
        device.get("file"),
        read_only=device.driver.endswith("-cd"),
    )
    return device.without("size", "file").having(**{kind.value: backend_id}), spec


def backend_argv(spec: BackendSpec | None) -> list[str]:
    """Return the options that make the backend when QEMU starts."""
    if spec is None:
        return []
    if spec.kind is Backend.NETDEV:
        return ["-netdev", f"user,id={spec.id},restrict=on"]
    if spec.kind is Backend.CHARDEV:
        return ["-chardev", f"null,id={spec.id}"]
    if spec.kind is Backend.MEMDEV:
        return ["-object", f"memory-backend-memfd,id={spec.id},size={spec.size},share=on"]
    node = _block_node(spec)
    return ["-blockdev", ",".join(f"{key}={_escaped(_option(value))}" for key, value in node.items())]


def backend_commands(spec: BackendSpec | None) -> list[tuple[str, dict[str, object]]]:
    """Return the QMP commands (name, arguments) that make the backend while QEMU runs."""
    if spec is None:
        return []
    if spec.kind is Backend.NETDEV:
        return [("netdev_add", {"type": "user", "id": spec.id, "restrict": True})]
    if spec.kind is Backend.CHARDEV:
        return [("chardev-add", {"id": spec.id, "backend": {"type": "null", "data": {}}})]
    if spec.kind is Backend.MEMDEV:
        memory = {"qom-type": "memory-backend-memfd", "id": spec.id, "size": spec.size, "share": True}
        return [("object-add", memory)]
    node = _block_node(spec)
    filename = node.pop("file.filename", None)
    if filename is not None:
        del node["file.driver"]
        node["file"] = {"driver": "file", "filename": filename}
    return [("blockdev-add", node)]


def backend_removal(spec: BackendSpec) -> tuple[str, dict[str, object]]:
    """Return the QMP command that takes the backend away again."""
    if spec.kind is Backend.DRIVE:
        return "blockdev-del", {"node-name": spec.id}
    command = {
        Backend.NETDEV: "netdev_del",
        Backend.CHARDEV: "chardev-remove",
        Backend.MEMDEV: "object-del",
    }
    return command[spec.kind], {"id": spec.id}


def with_controllers(wanted: Iterable[Device], *, ide: bool = True) -> list[Device]:
    """Return the devices, those controllers put before that devices need and nobody brought.

    ide: the board has a controller for IDE and SATA disks, as PCs have.
    """
    devices: list[Device] = []
    for device in wanted:
        pattern, default = (
            _CONTROLLERS.get(device.bus, ("", "")) if device.bus is not Bus.IDE or not ide else ("", "")
        )
        if (
            default
            and device.get("bus") is None
            and not any(re.fullmatch(pattern, d.driver) for d in devices)
        ):
            devices.append(Device(default))
        devices.append(device)
    return devices


def controller_for(bus: str) -> str:
    """Return the controller that brings a bus of QEMU's ("usb-bus", "SCSI"); "" where none is known."""
    kind = {
        "usb-bus": Bus.USB,
        "SCSI": Bus.SCSI,
        "sd-bus": Bus.SD,
        "HDA": Bus.HDA,
        "virtio-serial-bus": Bus.VIRTIO_SERIAL,
    }
    return _CONTROLLERS[kind[bus]][1] if bus in kind else ""


def _block_node(spec: BackendSpec) -> dict[str, object]:
    if spec.file is None:
        node: dict[str, object] = {"driver": "null-co", "node-name": spec.id, "size": spec.size}
        node["read-zeroes"] = True  # else reads return what lay in QEMU's memory
    else:
        node = {"driver": "raw", "node-name": spec.id, "file.driver": "file", "file.filename": spec.file}
    if spec.read_only:
        node["read-only"] = True
    return node


def _escaped(value: str) -> str:
    return value.replace(",", ",,")


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
