"""Machines as values: from a machine file (TOML) to QEMU's arguments.

A machine file has these keys, all optional:

    description = "what it is for"
    machine = "q35"             # or pc, microvm
    cpus = 1
    cpu = "max"                 # QEMU's CPU model; max has RDRAND, which spares the guest a second of waiting
    memory = "auto"             # or 512M, 2G; auto is reckoned from the image
    root_ports = 8              # q35: free PCI Express ports rp0..rp7 to plug into while the guest runs
    devices = ["e1000", "nvme,serial=a"]          # as QEMU's -device, in this order
    blockdevs = []  netdevs = []  audiodevs = []  chardevs = []  objects = []   # as the QEMU options

A device that needs a backend and names none gets one: an empty disk (`size=64M`, or `file=PATH` for a raw image,
are ours and not QEMU's), a closed network (user, restrict=on), silence (audiodev none), a null character device.
One that needs a controller which the machine lacks (a USB device, a SCSI disk, an SD card) gets that too.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from hostbuild.errors import InputError, UsageError

MIB = 1 << 20
NAMED_MACHINES = Path(__file__).with_name("machines")
AUDIODEV = "audio0"  # the silent backend that every machine has; any number of sound cards may share it
MAX_ROOT_PORTS = 16

_DEFAULT_DISK = 64 * MIB  # a power of two, as SD cards demand
_FIRST_PORT_SLOT = 0x1C  # where an ICH9 has its root ports; the second eight go to the slot below


class MachineType(Enum):
    """QEMU's machine types that the project knows."""

    Q35 = "q35"
    PC = "pc"
    MICROVM = "microvm"


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
    (r"virtio-net.*|e1000.*|rtl8139|vmxnet3|pcnet|ne2k_.*|tulip|i8255.*|i82562|i82801|usb-net", Backend.NETDEV),
    (r"hda-.*|AC97|ac97|ES1370|es1370|sb16|adlib|gus|cs4231a|usb-audio", Backend.AUDIODEV),
    (r"virtconsole|virtserialport|pci-serial|isa-serial|isa-parallel|usb-serial|usb-braille", Backend.CHARDEV),
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
    (r"isa-.*|i8042|floppy|sb16|adlib|gus|cs4231a|ne2k_isa|ib700|pvpanic|pc-dimm|nvdimm|nvme-ns|tpm-.*", Bus.OTHER),
    (r"virtio-.*-device|vmgenid|vmcoreinfo", Bus.OTHER),
    (r".*", Bus.PCI),
)
# The controllers that bring a bus, and the one that is added where there is none.
_CONTROLLERS: Mapping[Bus, tuple[str, str]] = {
    Bus.USB: (r".*-xhci|usb-ehci|pci-ohci|.*-usb-(uhci|ehci)\d?", "qemu-xhci"),
    Bus.SCSI: (r"virtio-scsi.*|megasas.*|mptsas1068|pvscsi|lsi.*|am53c974|dc390|usb-uas", "virtio-scsi-pci"),
    Bus.SD: (r"sdhci-pci", "sdhci-pci"),
    Bus.HDA: (r".*intel-hda", "ich9-intel-hda"),
    Bus.VIRTIO_SERIAL: (r"virtio-serial.*", "virtio-serial-pci"),
}
# Properties without which QEMU refuses a device.
_DEFAULT_PROPS: Mapping[str, tuple[tuple[str, str], ...]] = {"nvme": (("serial", "hostbuild"),)}
# Key of a machine file -> QEMU's option.
_RAW_SECTIONS: Mapping[str, str] = {
    "blockdevs": "-blockdev",
    "netdevs": "-netdev",
    "audiodevs": "-audiodev",
    "chardevs": "-chardev",
    "objects": "-object",
}
_KEYS = {"description", "machine", "cpus", "cpu", "memory", "root_ports", "devices", *_RAW_SECTIONS}


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


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine's hardware.

    memory: MiB, None to reckon it from the image.
    raw: (QEMU option, its argument) as the machine file gave them.
    """

    name: str = "machine"
    description: str = ""
    type: MachineType = MachineType.Q35
    cpus: int = 1
    cpu: str = "max"
    memory: int | None = None
    root_ports: int = 0
    devices: tuple[Device, ...] = ()
    raw: tuple[tuple[str, str], ...] = ()

    def plus(self, devices: Iterable[Device]) -> "Machine":
        """Return the machine with these devices added."""
        return replace(self, devices=(*self.devices, *devices))


def parse_device(text: str) -> Device:
    """Parse DRIVER[,PROPERTY=VALUE]... as QEMU's -device has it: `,,` is a comma, a bare PROPERTY means on.

    Raises UsageError.
    """
    # A comma that stands alone separates; two are one comma of the value.
    driver, *rest = [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", driver):
        raise UsageError(f"device {text!r}: {driver!r} is no name of a QEMU device (e1000, nvme,serial=1, ...)")
    props = []
    for part in rest:
        key, equals, value = part.partition("=")
        if not key:
            raise UsageError(f"device {text!r}: a property without a name in {part!r}")
        props.append((key, value if equals else "on"))
    return Device(driver, tuple(props))


def parse_size(text: str) -> int:
    """Parse a size such as 512M, 2G, 65536: bytes, with K, M, G (1024 each) as in QEMU. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([KMG]?)i?B?", text.strip(), re.IGNORECASE)
    if not found or not int(found[1]):
        raise UsageError(f"size {text!r}: expected a number with K, M or G, for example 512M")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()]


def parse_memory(text: str) -> int | None:
    """Parse a machine's memory in MiB: a size (a bare number counts MiB, as in QEMU), or auto, which is None."""
    if text.strip() == "auto":
        return None
    size = int(text) * MIB if text.strip().isdigit() else parse_size(text)
    if size < 16 * MIB:
        raise UsageError(f"memory {text!r}: no kernel starts in less than 16M")
    return size // MIB


def auto_memory(compressed: int, unpacked: int) -> int:
    """Return MiB that boot an image of these sizes (bytes) with room to work in.

    The root file system is a tmpfs, which may take half of what is free when the kernel mounts it, and the
    compressed image lies in memory at that moment (init/initramfs.c, mm/shmem.c). The kernel itself, its page
    descriptors and the loaded modules have 128 MiB, processes what remains of the tmpfs's other half. Rounded up to
    64 MiB, and never below 256 MiB.
    """
    need = 2 * unpacked + compressed + 128 * MIB
    return max(256, -(-need // (64 * MIB)) * 64)


def machine_names() -> list[str]:
    """Return the names of the machines that come with hostbuild."""
    return sorted(path.stem for path in NAMED_MACHINES.glob("*.toml"))


def read_machine(name: str) -> Machine:
    """Read a machine that comes with hostbuild by its name, or a machine file by its path. Raises InputError."""
    is_path = name.endswith(".toml") or "/" in name
    path = Path(name) if is_path else NAMED_MACHINES / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        if not is_path:
            known = ", ".join(machine_names())
            raise InputError(f"there is no machine {name!r}; known are {known}, and any FILE.toml") from e
        raise InputError(f"cannot read the machine file {path}: {getattr(e, 'strerror', None) or e}") from e
    return parse_machine(text, path.stem, str(path))


def parse_machine(text: str, name: str, origin: str = "machine file") -> Machine:
    """Parse a machine file's text; messages name `origin`. Raises InputError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"{origin}: not TOML: {e}") from e
    if unknown := sorted(set(table) - _KEYS):
        raise InputError(f"{origin}: unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    try:
        return Machine(
            name=name,
            description=_string(table, "description", ""),
            type=_machine_type(_string(table, "machine", "q35")),
            cpus=_count(table, "cpus", 1, 1, 255),
            cpu=_string(table, "cpu", "max"),
            memory=parse_memory(_string(table, "memory", "auto")),
            root_ports=_count(table, "root_ports", 0, 0, MAX_ROOT_PORTS),
            devices=tuple(map(parse_device, _strings(table, "devices"))),
            raw=tuple((_RAW_SECTIONS[key], item) for key in _RAW_SECTIONS for item in _strings(table, key)),
        )
    except UsageError as e:
        raise InputError(f"{origin}: {e}") from e


def machine_argv(
    machine: Machine,
    *,
    accel: str,
    memory: int,
    kernel: str,
    initrd: str,
    append: str,
    icount: bool = False,
) -> list[str]:
    """Return QEMU's command line for the machine, all but the serial lines and the monitor.

    accel: kvm or tcg. memory: MiB, used where the machine does not fix its own.
    icount: count time by instructions, one a nanosecond, so that the guest's clock does not depend on the host.
    """
    argv = ["qemu-system-x86_64", "-machine", machine.type.value, "-accel", accel, "-cpu", machine.cpu]
    argv += ["-smp", str(machine.cpus), "-m", str(machine.memory or memory)]
    # Nothing but what the machine names: no default NIC (whose option ROM tries to boot), no VGA, no files of the host.
    argv += ["-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-no-reboot"]  # a panicking guest ends (with panic=-1) where it would boot for ever
    if icount:
        argv += ["-icount", "shift=0,sleep=off"]
    argv += hardware_argv(machine)
    return [*argv, "-kernel", kernel, "-initrd", initrd, "-append", append]


def hardware_argv(machine: Machine) -> list[str]:
    """Return the part of the command line that makes root ports, backends, controllers and devices."""
    argv = ["-audiodev", f"none,id={AUDIODEV}"]
    for option, value in machine.raw:
        argv += [option, value]
    for number in range(machine.root_ports):
        argv += ["-device", str(_root_port(number))]
    for number, device in enumerate(_with_controllers(machine)):
        plugged, backend = with_backend(device, f"backend{number}")
        argv += backend_argv(backend)
        argv += ["-device", str(plugged)]
    return argv


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend to be made: its kind and id; for disks the raw image (null where None), for memory the size."""

    kind: Backend
    id: str
    size: int = _DEFAULT_DISK
    file: str | None = None
    read_only: bool = False


def with_backend(device: Device, backend_id: str) -> tuple[Device, BackendSpec | None]:
    """Return the device ready for QEMU, and the backend that has to be made first, None where none is needed."""
    missing = tuple(pair for pair in _DEFAULT_PROPS.get(device.driver, ()) if device.get(pair[0]) is None)
    device = replace(device, props=device.props + missing)
    kind = device.backend
    if kind is None or device.get(kind.value) is not None:
        return device, None
    if kind is Backend.AUDIODEV:
        return device.having(audiodev=AUDIODEV), None
    size = device.get("size")
    default = _DEFAULT_DISK if kind is Backend.DRIVE else MIB
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
        return ["-object", f"memory-backend-ram,id={spec.id},size={spec.size},share=on"]
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
        memory = {"qom-type": "memory-backend-ram", "id": spec.id, "size": spec.size, "share": True}
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


def root_port_names(machine: Machine) -> Sequence[str]:
    """Return the ids of the free PCI Express ports."""
    return [f"rp{number}" for number in range(machine.root_ports)]


def _block_node(spec: BackendSpec) -> dict[str, object]:
    if spec.file is None:
        node: dict[str, object] = {"driver": "null-co", "node-name": spec.id, "size": spec.size}
        node["read-zeroes"] = True  # else reads return what lay in QEMU's memory
    else:
        node = {"driver": "raw", "node-name": spec.id, "file.driver": "file", "file.filename": spec.file}
    if spec.read_only:
        node["read-only"] = True
    return node


def _with_controllers(machine: Machine) -> list[Device]:
    """Return the machine's devices, those controllers put before that devices need and nobody brought."""
    devices: list[Device] = []
    for device in machine.devices:
        pattern, default = _CONTROLLERS.get(device.bus, ("", ""))
        if default and device.get("bus") is None and not any(re.fullmatch(pattern, d.driver) for d in devices):
            devices.append(Device(default))
        devices.append(device)
    return devices


def _root_port(number: int) -> Device:
    slot, function = _FIRST_PORT_SLOT - number // 8, number % 8
    return Device("pcie-root-port").having(
        id=f"rp{number}",
        bus="pcie.0",
        addr=f"{slot:#x}.{function}",
        multifunction="on",
        chassis=str(number + 1),
        slot=str(number + 1),
    )


def _escaped(value: str) -> str:
    return value.replace(",", ",,")


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _machine_type(text: str) -> MachineType:
    try:
        return MachineType(text)
    except ValueError:
        known = ", ".join(kind.value for kind in MachineType)
        raise UsageError(f"machine {text!r} is unknown; known are {known}") from None


def _string(table: Mapping[str, object], key: str, default: str) -> str:
    value = table.get(key, default)
    if key == "memory" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a string, not {value!r}")
    return value


def _count(table: Mapping[str, object], key: str, default: int, low: int, high: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{key} must be a number from {low} to {high}, not {value!r}")
    return value


def _strings(table: Mapping[str, object], key: str) -> list[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{key} must be a list of strings, not {value!r}")
    return value
