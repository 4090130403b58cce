"""A cell's machine for a QEMU that others start: what they are told of its hardware, its memory and its kernel's words.

They have one serial line to the guest, its console, with a shell on it. The ledger stays in the guest (/run/modaliasd).
"""

import re
from dataclasses import dataclass

from hostbuild.arch import Arch
from hostbuild.board import MachineType
from hostbuild.qemu.boot import CONSOLE_WORD, PANIC_APPEND
from hostbuild.qemu.machine import TPMS, Machine, cpu_option, hardware_argv, machine_option, memory_option
from hostbuild.qemu.session import Session

PROMPT = r"micro:\S*# "  # a regular expression: the shell's prompt (rootfs-overlay/etc/profile)
_PLAIN = re.compile(r"[\w@%+=:,./-]+")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a lab's QEMU is started with, besides the kernel and the image.

    machine, memory: the arguments of -machine and -m. words: the kernel's command line. hardware: QEMU's arguments for
    the devices, an option and its value in turn.
    """

    arch: Arch
    qemu: str
    machine: str
    cpu: str
    cpus: int
    memory: str
    words: str
    hardware: tuple[str, ...]


def why_not(machine: Machine) -> str:
    """Say why a lab cannot have a machine; "" where it can."""
    if machine.board.type is MachineType.MICROVM:
        return f"the machine {machine.name} is a microvm, which has no PCI for what a lab adds"
    if any(device.driver in TPMS and device.get("tpmdev") is None for device in machine.devices):
        return f"the machine {machine.name} has a TPM, for which swtpm would have to run beside QEMU"
    return ""


def wiring_of(session: Session, *, emulated: bool) -> Wiring:
    """Return what a lab's QEMU needs to boot it. emulated: it is known that there is no KVM."""
    machine = session.machine
    board = machine.board
    words = [f"{CONSOLE_WORD}{board.console}", PANIC_APPEND]
    words += [board.clock] if emulated and board.clock else []
    return Wiring(
        arch=board.arch,
        qemu=board.arch.facts.qemu,
        machine=machine_option(machine),
        cpu=cpu_option(machine, session.boot.accel.value),
        cpus=machine.cpus,
        memory=memory_option(machine, session.boot.memory),
        words=" ".join([*words, *session.boot.append.split()]),
        hardware=tuple(hardware_argv(machine)),
    )


def quoted(word: str) -> str:
    """Return a word as pexpect's and shlex's splitting take it; a backslash between double quotes differs in them."""
    if _PLAIN.fullmatch(word):
        return word
    if "'" not in word:
        return f"'{word}'"
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", word)
