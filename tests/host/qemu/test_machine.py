"""hostbuild.qemu.machine and hostbuild.qemu.device: machine files to QEMU's arguments; QEMU itself is the oracle."""

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.arch import Arch
from hostbuild.beside.swtpm import swtpms
from hostbuild.board import MachineType
from hostbuild.errors import InputError, UsageError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.qemu.device import (
    AUDIODEV,
    Backend,
    Bus,
    Device,
    backend_argv,
    backend_commands,
    parse_device,
    parse_size,
    with_backend,
)
from hostbuild.qemu.machine import (
    Machine,
    hardware_argv,
    machine_argv,
    machine_names,
    parse_machine,
    parse_memory,
    read_machine,
    root_port_names,
)
from hostbuild.qemu.outside import with_tpms
from hostbuild.run import find_program

MIB = 1 << 20


def qemu_accepts(machine: Machine) -> str:
    """Have QEMU make the hardware, stopped before the first instruction, and list its PCI and USB devices.

    Text of the human monitor; an assertion fails with QEMU's own complaint if it refuses the machine.
    """
    with scratch_directory() as directory:
        ready, sockets = with_tpms(machine, directory)
        with swtpms(sockets):
            return _made_by_qemu(ready)


def _made_by_qemu(machine: Machine) -> str:
    argv = machine_argv(machine, accel="tcg", memory=64, kernel="", initrd="", append="")
    argv = argv[: argv.index("-kernel")]
    monitor = [
        {"execute": "qmp_capabilities"},
        {"execute": "human-monitor-command", "arguments": {"command-line": "info qtree"}},
        {
            "execute": "human-monitor-command",
            "arguments": {"command-line": "info qom-tree /machine/peripheral"},
        },
        {"execute": "quit"},
    ]
    done = subprocess.run(
        [*argv, "-S", "-qmp", "stdio"],
        input="\n".join(map(json.dumps, monitor)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return "".join(
        answer["return"]
        for line in done.stdout.splitlines()
        if isinstance((answer := json.loads(line)).get("return"), str)
    )


@pytest.mark.parametrize("name", machine_names())
def test_qemu_makes_every_named_machine(name: str) -> None:
    """Every machine that comes along is accepted by QEMU, and each of its devices is there under its id."""
    machine = read_machine(name)
    if machine.board.arch is Arch.RISCV64 and find_program("qemu-system-riscv64") is None:
        pytest.skip("qemu-system-misc is not installed: make test-riscv64 is for whoever has it")
    tree = qemu_accepts(machine)
    for device in machine.devices:
        assert f'id "{device.get("id")}"' in tree or f"/{device.get('id')} (" in tree
    for port in root_port_names(machine):
        assert f'id "{port}"' in tree


def test_the_zoo_is_large() -> None:
    """The machine for demo and benchmarks has at least 25 devices, 10 kinds of driver and 5 kinds of bus."""
    devices = read_machine("q35").devices
    assert len(devices) >= 25
    assert len({device.driver for device in devices}) >= 10
    assert len({device.bus for device in devices}) >= 5


@pytest.mark.parametrize(
    "text",
    [
        "e1000",
        "virtio-blk-pci",
        "virtio-net-pci,mac=52:54:00:12:34:56",
        "nvme",
        "usb-storage,size=1M",
        "usb-kbd",
        "scsi-hd",
        "scsi-cd",
        "sd-card",
        "hda-duplex",
        "AC97",
        "usb-audio",
        "usb-net",
        "usb-serial",
        "virtserialport",
        "pci-serial",
        "ivshmem-plain",
        "ide-cd",
        "edu",
    ],
)
def test_a_bare_driver_name_is_enough(text: str) -> None:
    """--device DRIVER works on a machine that has nothing: backend and controller come by themselves."""
    device = parse_device(text)
    tree = qemu_accepts(Machine().plus([device]))
    assert f"dev: {device.driver}, id " in tree


def test_devices_of_one_kind_share_a_controller() -> None:
    """Two USB devices bring one controller, and none if the machine has one."""
    two = hardware_argv(Machine().plus(map(parse_device, ["usb-kbd", "usb-mouse"])))
    assert sum("qemu-xhci" in word for word in two) == 1
    own = hardware_argv(Machine().plus(map(parse_device, ["usb-ehci", "usb-mouse"])))
    assert not any("qemu-xhci" in word for word in own)


def test_a_named_backend_is_left_alone() -> None:
    """A device that names its backend gets no other."""
    device = parse_device("e1000,netdev=mine")
    assert with_backend(device, "b0") == (device, None)


def test_a_file_becomes_a_raw_disk() -> None:
    """file= opens a raw image, commas in its path are escaped as QEMU wants them."""
    device, spec = with_backend(Device("nvme").having(file="/a,b.img"), "b0")
    assert device.get("file") is None
    assert device.get("drive") == "b0"
    assert backend_argv(spec) == [
        "-blockdev",
        "driver=raw,node-name=b0,file.driver=file,file.filename=/a,,b.img",
    ]
    assert backend_commands(spec) == [
        (
            "blockdev-add",
            {"driver": "raw", "node-name": "b0", "file": {"driver": "file", "filename": "/a,b.img"}},
        )
    ]


def test_sound_cards_share_the_silent_backend() -> None:
    """A sound card needs nothing made: every machine has the silent backend, so hotplug works too."""
    device, spec = with_backend(Device("AC97"), "b0")
    assert (device.get("audiodev"), spec) == (AUDIODEV, None)
    assert f"none,id={AUDIODEV}" in hardware_argv(Machine())


@pytest.mark.parametrize(
    ("driver", "bus", "backend"),
    [
        ("virtio-blk-pci", Bus.PCI, Backend.DRIVE),
        ("virtio-net", Bus.PCI, Backend.NETDEV),
        ("usb-storage", Bus.USB, Backend.DRIVE),
        ("usb-ehci", Bus.PCI, None),
        ("scsi-hd", Bus.SCSI, Backend.DRIVE),
        ("hda-output", Bus.HDA, Backend.AUDIODEV),
        ("virtio-rng-pci", Bus.PCI, None),
        ("some-new-device", Bus.PCI, None),
        ("nvme-ns", Bus.OTHER, Backend.DRIVE),
    ],
)
def test_what_a_driver_needs(driver: str, bus: Bus, backend: Backend | None) -> None:
    """Bus and backend follow from the driver's name."""
    assert (Device(driver).bus, Device(driver).backend) == (bus, backend)


_WORDS = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=12)
_NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)


@given(_NAMES, st.lists(st.tuples(_NAMES, _WORDS), max_size=4))
def test_devices_survive_their_text(driver: str, props: list[tuple[str, str]]) -> None:
    """What str() writes, parse_device reads back: commas in values included."""
    device = Device(driver, tuple(props))
    assert parse_device(str(device)) == device


@pytest.mark.parametrize("text", ["", ",a=b", "e1000,", "e1000,=x", "two words"])
def test_a_bad_device_is_the_callers_fault(text: str) -> None:
    """Text that is no device is refused with a message that quotes it."""
    with pytest.raises(UsageError, match="device"):
        parse_device(text)


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("1K", 1024), ("512M", 512 * MIB), ("2G", 2048 * MIB), ("1m", MIB)]
)
def test_parse_size(text: str, size: int) -> None:
    """Sizes have QEMU's suffixes."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "M", "1T", "-1", "1.5G"])
def test_bad_sizes(text: str) -> None:
    """What is no size is refused."""
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


def test_memory_counts_mebibytes() -> None:
    """A bare number counts MiB, auto leaves it open, and less than a kernel needs is refused."""
    assert [parse_memory(text) for text in ("512", "1G", "auto")] == [512, 1024, None]
    with pytest.raises(UsageError, match="16M"):
        parse_memory("1M")


def test_a_machine_file_says_everything() -> None:
    """Each key of a machine file arrives in QEMU's arguments."""
    machine = parse_machine(
        """
        machine = "pc"
        cpus = 2
        cpu = "qemu64"
        memory = 300
        devices = ["e1000,netdev=n0", "edu"]
        netdevs = ["user,id=n0"]
        """,
        "mine",
    )
    assert (machine.type, machine.name) == (MachineType.PC, "mine")
    argv = machine_argv(machine, accel="tcg", memory=64, kernel="k", initrd="i", append="a b", icount=True)
    text = " ".join(argv)
    for part in (
        "-machine pc ",
        "-smp 2 ",
        "-cpu qemu64 ",
        "-m 300 ",
        "-netdev user,id=n0 ",
        "-device e1000,netdev=n0 ",
        "-icount shift=0,sleep=off ",
        "-kernel k -initrd i -append a b",
    ):
        assert part in f"{text} "


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("machine = ", "not TOML"),
        ("colour = 'red'", "unknown key 'colour'"),
        ("machine = 'amiga'", "known are q35, pc, microvm"),
        ("cpus = 0", "cpus must be a number from 1"),
        ("cpus = true", "cpus must be a number"),
        ("cpu = 3", "cpu must be a string"),
        ("devices = 'e1000'", "devices must be a list of strings"),
        ("devices = ['a b']", "not the name of a QEMU device"),
        ("memory = 'lots'", "memory 'lots'"),
        ("root_ports = 99", "root_ports must be a number from 0 to 16"),
    ],
)
def test_bad_machine_files(text: str, complaint: str) -> None:
    """A message names the file and what is wrong in it."""
    with pytest.raises(InputError, match=r"my\.toml: ") as caught:
        parse_machine(text, "my", "my.toml")
    assert complaint in str(caught.value)


def test_an_unknown_machine_lists_the_known_ones() -> None:
    """A wrong name is answered with the right ones, and what each of them is for."""
    with pytest.raises(InputError, match=r"(?s)\n  empty .*\n  q35     The zoo: .*\n  virtio "):
        read_machine("q36")


def test_an_unreadable_machine_file() -> None:
    """A path that cannot be read is an error that names it."""
    with pytest.raises(InputError, match=r"nowhere/m\.toml: No such file"):
        read_machine("nowhere/m.toml")
