"""Machines as values: from a machine file (TOML) to QEMU's arguments.

A machine file has these keys, all optional:

    description = "what it is for"
    arch = "amd64"              # or arm64, riscv64; the image's where it is not given
    machine = "q35"             # or pc, microvm; virt for arm64 and riscv64; the architecture's first if not given
    cpus = 1
    cpu = "max"                 # QEMU's CPU model (-cpu); max has RDRAND, which spares the guest a second of waiting
    memory = "auto"             # or 512M, 2G; auto is reckoned from the image
    max_memory = "4G"           # room for memory to plug in (dimm); none where it is not given
    options = ["cxl=on"]        # further options of QEMU's -machine
    root_ports = 8              # q35, virt: free PCI Express ports rp0..rp7 to plug into while the guest runs
    devices = ["e1000", "nvme,serial=a"]          # as QEMU's -device, in this order
    blockdevs = []  netdevs = []  audiodevs = []  chardevs = []  objects = []  fsdevs = []  tpmdevs = []
    numa = []
                                # as the QEMU options; docs/machines.md has examples

A device that needs a backend and names none gets one: an empty disk (`size=64M`, or `file=PATH` for a raw
image, are ours and not QEMU's), a closed network (user, restrict=on), silence (audiodev none), a null
character device. One that needs a controller which the machine lacks (a USB device, a SCSI disk, an SD
card) gets it too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hostbuild.arch import Arch, parse_arch
from hostbuild.board import Board, MachineType, archs_with, default_arch, default_type, find_board
from hostbuild.errors import InputError, UsageError
from hostbuild.formats.sniff import Kind, instead, kind_of_file, require_there, use_of
from hostbuild.near import did_you_mean, listed
from hostbuild.qemu.device import (
    AUDIODEV,
    MIB,
    Device,
    backend_argv,
    parse_device,
    parse_size,
    with_backend,
    with_controllers,
)
from hostbuild.qemu.references import check_references

NAMED_MACHINES = Path(__file__).with_name("machines")
MAX_ROOT_PORTS = 16
MAX_CPUS = 255

_FIRST_PORT_SLOT = 0x1C  # where an ICH9 has its root ports; the second eight go to the slot below


# Key of a machine file -> QEMU's option.
_RAW_SECTIONS: Mapping[str, str] = {
    "blockdevs": "-blockdev",
    "netdevs": "-netdev",
    "audiodevs": "-audiodev",
    "chardevs": "-chardev",
    "objects": "-object",
    "fsdevs": "-fsdev",
    "tpmdevs": "-tpmdev",
    "numa": "-numa",  # after the objects that its nodes are made of
}
# What an option is called by, in QEMU's own form and in JSON.
_ID = re.compile(r'(?:^|[,.])(?:id|node-name)=([^,]+)|"(?:id|node-name)"\s*:\s*"([^"]+)"')
KEYS = {
    "description",
    "arch",
    "machine",
    "options",
    "cpus",
    "cpu",
    "memory",
    "max_memory",
    "root_ports",
    "devices",
    *_RAW_SECTIONS,
}
# What all other devices stand behind, and QEMU wants to hear of first.
_IOMMUS = ("intel-iommu", "amd-iommu", "virtio-iommu-pci")
TPMS = ("tpm-crb", "tpm-tis")
_PORTS = re.compile(r"virtio-serial(-pci.*|-device)?")
_MEMORY_SLOTS = 8  # for dimms


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine's hardware.

    type, arch: None where the machine file leaves them to the image. cpu: "" for the board's. options: of QEMU's
    -machine, beside the type. memory: MiB, None to reckon it from the image. max_memory: MiB with all that can be
    plugged in, None where none can. raw: (QEMU option, its argument) as the machine file gave them.
    """

    name: str = "machine"
    description: str = ""
    type: MachineType | None = None
    cpus: int = 1
    cpu: str = ""
    memory: int | None = None
    max_memory: int | None = None
    options: tuple[str, ...] = ()
    root_ports: int = 0
    devices: tuple[Device, ...] = ()
    raw: tuple[tuple[str, str], ...] = ()
    arch: Arch | None = None

    @property
    def board(self) -> Board:
        """What it is built on. Raises InputError where its architecture has no such machine type."""
        arch = self.arch or default_arch(self.type)
        kind = self.type or default_type(arch)
        found = find_board(arch, kind)
        if found is None:
            raise InputError(
                f"the machine {self.name} is a {kind.value}: QEMU has that for "
                f"{listed([str(one) for one in archs_with(kind)])}, not for {arch}",
                hint=f'machine = "{default_type(arch).value}" for {arch}; the machine virtio is for all',
            )
        return found

    def for_arch(self, arch: Arch) -> "Machine":
        """Return the machine as an image of an architecture gets it. Raises InputError for another one's."""
        if self.arch not in (None, arch):
            raise InputError(
                f"the machine {self.name} is for {self.arch}, the image for {arch}",
                hint=f"--machine virtio is for all; or make-image --arch {self.arch}",
            )
        made = replace(self, arch=arch)
        return replace(made, type=made.board.type)

    @property
    def takes_port(self) -> bool:
        """Whether a virtio port can be added: it has a controller for them, whose number nobody has limited."""
        controllers = [device for device in self.devices if _PORTS.fullmatch(device.driver)]
        return bool(controllers) and not any(device.get("max_ports") for device in controllers)

    def plus(self, devices: Iterable[Device]) -> "Machine":
        """Return the machine with these devices added."""
        return replace(self, devices=(*self.devices, *devices))


def parse_memory(text: str) -> int | None:
    """Parse a machine's memory in MiB: a size (a bare number counts MiB), or auto, which is None."""
    if text.strip() == "auto":
        return None
    try:
        size = int(text) * MIB if text.strip().isdigit() else parse_size(text)
    except UsageError as e:
        raise UsageError(f"memory {text!r}: expected auto, or a size: 512 (MiB), 512M, 2G") from e
    if size < 16 * MIB:
        raise UsageError(f"memory {text!r} is too little: no kernel starts in less than 16M")
    return size // MIB


def machine_names() -> list[str]:
    """Return the names of the machines that come with hostbuild."""
    return sorted(path.stem for path in NAMED_MACHINES.glob("*.toml"))


def read_machine(name: str, devices: Iterable[str] = ()) -> Machine:
    """Read a machine that comes with hostbuild by name, or a machine file by path, and add devices to it.

    devices: as QEMU's -device. Raises InputError for the machine, UsageError for a device.
    """
    is_path = name.endswith(".toml") or "/" in name
    path = Path(name) if is_path else NAMED_MACHINES / f"{name}.toml"
    if not is_path and not path.is_file():
        raise _unknown_machine(name)
    require_there(path, "machine file")
    if other := instead(path, Kind.MACHINE, Kind.TEXT, Kind.EMPTY):
        raise InputError(other, hint=use_of(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"cannot read the machine file {path}: {getattr(e, 'strerror', None) or e}") from e
    return parse_machine(text, path.stem, str(path)).plus(map(parse_device, devices))


def _unknown_machine(name: str) -> InputError:
    here = next((path for path in (Path(name), Path(f"{name}.toml")) if path.is_file()), None)
    if here is not None:
        kind = kind_of_file(here)
        if kind in (Kind.MACHINE, Kind.TEXT):
            return InputError(
                f"there is no machine {name!r}, but a file {here}", hint=f"--machine ./{here} names the file"
            )
        return InputError(f"{here} is {kind.value}, not a machine file", hint=use_of(here, kind))
    known = "".join(f"\n  {one:8}{read_machine(one).description}" for one in machine_names())
    near = did_you_mean(name, machine_names())
    return InputError(f"there is no machine {name!r}{near}; use any FILE.toml, or one of{known}")


def parse_machine(text: str, name: str, origin: str = "machine file") -> Machine:
    """Parse a machine file's text; messages name `origin`. Raises InputError."""
    import tomllib  # for who boots one

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"{origin}: not TOML: {e}") from e
    if unknown := sorted(set(table) - KEYS):
        raise InputError(
            f"{origin}: unknown key {unknown[0]!r}{did_you_mean(unknown[0], KEYS)}; known are {', '.join(sorted(KEYS))}"
        )
    try:
        return Machine(
            name=name,
            description=_string(table, "description", ""),
            arch=parse_arch(arch) if (arch := _string(table, "arch", "")) else None,
            type=_machine_type(kind) if (kind := _string(table, "machine", "")) else None,
            cpus=_count(table, "cpus", 1, 1, MAX_CPUS),
            cpu=_string(table, "cpu", ""),
            memory=parse_memory(_string(table, "memory", "auto")),
            max_memory=_most(table),
            options=tuple(_strings(table, "options")),
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
    in_turns: bool = False,
) -> list[str]:
    """Return QEMU's command line for the machine, all but the serial lines and the monitor.

    accel: kvm or tcg. memory: MiB, used where the machine does not fix its own.
    icount: count time by instructions, one a nanosecond, so that the guest's clock is the same on any host.
    in_turns: the CPUs that are emulated share one thread.
    """
    board = machine.board
    kind = machine_option(machine)
    accelerator = f"{accel},thread=single" if in_turns else accel
    argv = [
        board.arch.facts.qemu,
        "-machine",
        kind,
        "-accel",
        accelerator,
        "-cpu",
        cpu_option(machine, accel),
    ]
    argv += ["-smp", str(machine.cpus), "-m", memory_option(machine, memory)]
    # Nothing but what the machine names: no default NIC (its option ROM would boot), no VGA, no host files.
    argv += ["-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-no-reboot"]  # a panicking guest ends (with panic=-1) where it would boot for ever
    if icount:
        argv += ["-icount", "shift=0,sleep=off"]
    argv += hardware_argv(machine)
    return [*argv, "-kernel", kernel, "-initrd", initrd, "-append", append]


def cpu_option(machine: Machine, accel: str) -> str:
    """Return the argument of -cpu. accel: kvm or tcg."""
    return machine.cpu or (machine.board.cpu_kvm if accel == "kvm" else machine.board.cpu)


def hardware_argv(machine: Machine) -> list[str]:
    """Return the part of the command line that makes root ports, backends, controllers and devices."""
    made = _made(machine)
    argv = ["-audiodev", f"none,id={AUDIODEV}"]
    for option, value in machine.raw:
        argv += [option, value]
    iommus = [device for device in machine.devices if device.driver in _IOMMUS]
    others = [device for device in machine.devices if device.driver not in _IOMMUS]
    for device in iommus:
        argv += ["-device", str(device)]
    for number in range(machine.root_ports):
        argv += ["-device", str(_root_port(number))]
    for number, device in enumerate(with_controllers(others, ide=machine.board.ide)):
        check_references(device, made)
        plugged, backend = with_backend(device, f"backend{number}")
        argv += backend_argv(backend)
        argv += ["-device", str(plugged)]
    return argv


def memory_option(machine: Machine, memory: int) -> str:
    """Return the argument of -m, MiB. memory: used where the machine does not fix its own."""
    room = f",slots={_MEMORY_SLOTS},maxmem={machine.max_memory}M" if machine.max_memory else ""
    return f"{machine.memory or memory}{room}"


def machine_option(machine: Machine) -> str:
    """Return the argument of -machine: its type, then the board's options and its own."""
    return ",".join([machine.board.type.value, *_board_options(machine), *machine.options])


def _board_options(machine: Machine) -> list[str]:
    """Return the board's own options, without those that the machine file gives itself."""
    given = {option.partition("=")[0] for option in machine.options}
    return [option for option in machine.board.options if option.partition("=")[0] not in given]


def _made(machine: Machine) -> dict[str, frozenset[str]]:
    """Return the ids of what the machine file makes, by its keys."""
    option_of = {option: key for key, option in _RAW_SECTIONS.items()}
    made: dict[str, set[str]] = {"audiodevs": {AUDIODEV}}
    for option, value in machine.raw:
        for found in _ID.finditer(value):
            made.setdefault(option_of[option], set()).add(found[1] or found[2])
    return {key: frozenset(ids) for key, ids in made.items()}


def root_port_names(machine: Machine) -> list[str]:
    """Return the ids of the free PCI Express ports."""
    return [f"rp{number}" for number in range(machine.root_ports)]


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


def _most(table: Mapping[str, object]) -> int | None:
    """Return the memory that the machine may grow to, MiB; None where it cannot grow."""
    text = _string(table, "max_memory", "")
    if text.strip() == "auto":
        raise UsageError("max_memory must be a size, for example 4G")
    return parse_memory(text) if text else None


def _machine_type(text: str) -> MachineType:
    try:
        return MachineType(text)
    except ValueError:
        known = ", ".join(kind.value for kind in MachineType)
        raise UsageError(f"machine {text!r} is unknown; known are {known}") from None


def _string(table: Mapping[str, object], key: str, default: str) -> str:
    value = table.get(key, default)
    if key in ("memory", "max_memory") and isinstance(value, int) and not isinstance(value, bool):
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
