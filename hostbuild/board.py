"""QEMU's machine types as boards: the processor, the console, and where the two other serial lines are.

        console     channel, agent
q35 pc  ttyS0       ttyS1, ttyS2: an ISA bus has room for four
microvm ttyS0       none: it has one UART (hw/i386/microvm.c)
virt    ttyAMA0     ttyS0, ttyS1 on arm64: it has but a PL011 (hw/arm/virt.c), so a card with two UARTs is added
        ttyS0       ttyS1, ttyS2 on riscv64, in the same way (hw/riscv/virt.c)

The card stands in the first slot, so that its lines are numbered before those of others (a bus is searched upwards).
Its driver, 8250_pci, has to be in the kernel, as it is in Debian's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hostbuild import arch as architectures
from hostbuild.arch import Arch

_CARD = "pci-serial-2x"
_CARD_SLOT = "0x1"


class MachineType(Enum):
    """QEMU's machine types that the project knows."""

    Q35 = "q35"
    PC = "pc"
    MICROVM = "microvm"
    VIRT = "virt"


@dataclass(frozen=True, slots=True)
class Board:
    """A machine type of an architecture's QEMU.

    options: of QEMU's -machine. cpu: QEMU's processor model where software emulates it; cpu_kvm: where KVM runs it.
    console: of the kernel's command line. lines: the devices of the channel and the agent; () where there are none.
    card: these two are a PCI card's. clock: words for an emulated guest's clock. pcie: devices may be plugged into root
    ports. ide: it has a controller for disks of PCs. has_tree: QEMU describes it by a device tree.
    """

    arch: Arch
    type: MachineType
    console: str = "ttyS0"
    lines: tuple[str, ...] = ("/dev/ttyS1", "/dev/ttyS2")
    card: bool = False
    options: tuple[str, ...] = ()
    cpu: str = "max"
    cpu_kvm: str = "max"
    clock: str = ""
    pcie: bool = False
    ide: bool = False
    has_tree: bool = False

    @property
    def serial_lines(self) -> int:
        """How many serial lines it has, the console counted."""
        return 1 + len(self.lines)

    def serial_argv(self, chardevs: Sequence[str]) -> list[str]:
        """Return QEMU's options that lead the lines to chardevs: the console's, then the others'."""
        on_board = chardevs[:1] if self.card else chardevs
        argv = [word for name in on_board for word in ("-serial", f"chardev:{name}")]
        if not self.card or len(chardevs) < 2:
            return argv
        ends = ",".join(f"chardev{number}={name}" for number, name in enumerate(chardevs[1:], 1))
        return ["-device", f"{_CARD},addr={_CARD_SLOT},{ends}", *argv]


# Emulated, a kernel measures the TSC's rate while the host may give it no time, and then believes in 41 MHz; its clock
# would run 60 times too fast. The HPET says itself how fast it counts. It costs half a percent of a boot's CPU time.
# In the same way it counts ten ticks of its timer at the start (timer_irq_works in arch/x86/kernel/apic/io_apic.c), for
# 40 ms, and panics where the host has kept them back: "IO-APIC + timer doesn't work". Under KVM it leaves that test out
# itself (arch/x86/kernel/kvm.c).
_HPET = "clocksource=hpet no_timer_check"
# `max` says that it copies and clears memory fast by single bytes (ERMS, FSRM: rep movsb, rep stosb), and so kernels do
# it that way; emulated, each byte is a round of its own. Without the two they take words, and a boot a sixth less time.
_BY_WORDS = "max,erms=off,fsrm=off"
_BOARDS = (
    Board(Arch.AMD64, MachineType.Q35, cpu=_BY_WORDS, clock=_HPET, pcie=True, ide=True),
    Board(Arch.AMD64, MachineType.PC, cpu=_BY_WORDS, clock=_HPET, ide=True),
    Board(Arch.AMD64, MachineType.MICROVM, cpu=_BY_WORDS, lines=(), clock=_HPET),
    Board(
        Arch.ARM64,
        MachineType.VIRT,
        console="ttyAMA0",
        lines=("/dev/ttyS0", "/dev/ttyS1"),
        card=True,
        # The newest interrupt controller that the accelerator has: under KVM only the host's own works.
        options=("gic-version=max",),
        # `max` has pointer authentication, which takes a third of an emulated boot's time. KVM knows no cortex-a57.
        cpu="cortex-a57",
        cpu_kvm="host",
        pcie=True,
        has_tree=True,
    ),
    Board(Arch.RISCV64, MachineType.VIRT, card=True, cpu="rv64", cpu_kvm="host", pcie=True, has_tree=True),
)


def default_arch(kind: MachineType | None) -> Arch:
    """Give the architecture of a machine that names none: that of its type, or else this machine's."""
    having = [board.arch for board in _BOARDS if kind in (None, board.type)]
    own = architectures.own()
    return own if own in having else having[0]


def default_type(arch: Arch) -> MachineType:
    """Give the machine type that an architecture's machines have where they name none."""
    return next(board.type for board in _BOARDS if board.arch is arch)


def find_board(arch: Arch, kind: MachineType) -> Board | None:
    """Find a machine type of an architecture's QEMU, None where it has none of the name."""
    return next((board for board in _BOARDS if board.arch is arch and board.type is kind), None)


def archs_with(kind: MachineType) -> list[Arch]:
    """Give the architectures that have a machine type."""
    return [board.arch for board in _BOARDS if board.type is kind]
