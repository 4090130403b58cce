"""Which accelerator QEMU can use here: KVM if it works, software emulation (TCG) otherwise.

/dev/kvm proves nothing: it may be closed to this user, or lead to a nested KVM that takes seconds for what
emulation does in a tenth of one. So a machine is started in it, with nothing but the firmware and a boot
sector of seven bytes that ends QEMU through its isa-debug-exit device; on arm64, a kernel of four instructions that
has the firmware switch it off (PSCI SYSTEM_OFF, Arm DEN 0022). The time limit is generous for a KVM that works. One
that keeps it and yet takes its time is held against emulation, which runs on the same busy machine. KVM runs this
machine's own architecture only.
"""

import os
import re
import time
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from hostbuild import arch as architectures
from hostbuild.arch import Arch
from hostbuild.errors import CommandError, ToolMissingError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.run import run

KVM_DEVICE = Path("/dev/kvm")
_THREADS_SAFE = (8, 1)  # QEMU's commit deba78709ae8, "accel/tcg: Always lock pages before translation"
PROBE_LIMIT_S = 2.0  # a working KVM, like TCG, needs a tenth of a second
_QUICK_S = 0.5  # one that ends the probe within this needs no comparison
_TOO_SLOW = 3.0  # times as long as emulation; a nested KVM without hardware's help takes ten times and more

_EXIT_VALUE = 0x10
_EXIT_STATUS = _EXIT_VALUE << 1 | 1  # hw/misc/debugexit.c
_BOOT_CODE = bytes((
    0xB0, _EXIT_VALUE,  # mov al, value
    0xE6, 0xF4,         # out 0xf4, al
    0xF4,               # hlt
    0xEB, 0xFD,         # jmp back to the hlt
))  # fmt: skip
BOOT_SECTOR = _BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"
_ARM64_CODE = b"".join(word.to_bytes(4, "little") for word in (
    0x52B08000,  # mov  w0, 0x84000000
    0x72800100,  # movk w0, 8: SYSTEM_OFF
    0xD4000002,  # hvc  0
    0x14000000,  # b    .
))  # fmt: skip


class Accel(Enum):
    """What runs the guest's instructions; the value is QEMU's name for it."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Choice:
    """The accelerator that was taken, and why."""

    accel: Accel
    why: str


def choose(wanted: str = "auto", arch: Arch = Arch.AMD64) -> Choice:
    """Return the accelerator for `wanted`: auto, kvm or tcg, and a guest of an architecture.

    Raises WorldError if kvm is demanded and does not work. The probe runs once a process.
    """
    if wanted == "tcg":
        return Choice(Accel.TCG, "asked for")
    foreign = architectures.is_foreign(arch)
    trouble = f"KVM runs no {arch} guests on this machine" if foreign else kvm_trouble()
    if not trouble:
        return Choice(Accel.KVM, "KVM works")
    if wanted == "kvm":
        raise WorldError(f"KVM cannot be used: {trouble}", hint="hostbuild run --accel tcg")
    return Choice(Accel.TCG, trouble)


def why_in_turns(arch: Arch, cpus: int) -> str:
    """Say why emulated CPUs have to share one thread of QEMU's; "" where each may have its own.

    An x86 kernel patches its own code while its CPUs run it, by way of a breakpoint (smp_text_poke_batch_finish,
    arch/x86/kernel/alternative.c). With a QEMU before 8.1 a CPU could meet it when it was gone already, and the kernel
    panicked: "Oops: int3".
    """
    if cpus < 2 or arch is not Arch.AMD64:
        return ""
    version = qemu_version(arch.facts.qemu)
    if version is None or version >= _THREADS_SAFE:
        return ""
    number = ".".join(map(str, version))
    return f"QEMU {number} emulates the {cpus} CPUs in turns: all at once, they make kernels panic (mended in QEMU 8.1)"


@cache
def qemu_version(program: str) -> tuple[int, ...] | None:
    """Return QEMU's version, as (7, 2, 22); None where it cannot be told."""
    try:
        text = run([program, "--version"], timeout=20).stdout
    except (CommandError, ToolMissingError):
        return None
    found = re.match(rb"QEMU emulator version (\d{1,4}(?:\.\d{1,4}){1,2})", text)
    return None if found is None else tuple(map(int, found[1].split(b".")))


@cache
def kvm_trouble(device: Path = KVM_DEVICE, limit_s: float = PROBE_LIMIT_S) -> str:
    """Say why KVM cannot be used here; "" if it works."""
    if not device.exists():
        return f"{device} is absent (no hardware virtualisation, or the kvm module is not loaded)"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened by this user (add the user to the group kvm)"
    try:
        took = boot_tiny(Accel.KVM, limit_s)
    except CommandError as e:
        if e.status is None:
            return f"{device} is there, but a machine of seven bytes does not end in it within {limit_s:g} s"
        return f"QEMU cannot use {device}: {e.stderr or e}"
    return _slowness(took) if took > _QUICK_S else ""


def _slowness(took: float) -> str:
    """Say that a KVM that took `took` seconds for the probe is slower than emulation; "" if it is not."""
    try:
        emulated = boot_tiny(Accel.TCG, took)
    except CommandError:
        return ""  # emulation is no faster, or not there
    if took <= _TOO_SLOW * emulated:
        return ""
    return f"a machine of seven bytes takes {took:.2g} s in it, and {emulated:.2g} s under emulation"


def boot_tiny(accel: Accel, limit_s: float, arch: Arch | None = None) -> float:
    """Boot the few bytes; gives the seconds it took. CommandError unless they end it as they should, and in time."""
    arch = arch or architectures.own() or Arch.AMD64
    if arch is Arch.RISCV64:
        raise CommandError("KVM on riscv64 was never tried", argv=(arch.facts.qemu,), status=0, stderr="")
    with scratch_directory() as directory:
        disk = directory / "boot.img"
        argv = [arch.facts.qemu, "-accel", accel.value]
        argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        if arch is Arch.ARM64:
            wanted = 0
            disk.write_bytes(_ARM64_CODE)
            cpu = "host" if accel is Accel.KVM else "cortex-a57"
            argv += ["-machine", "virt,gic-version=max", "-m", "64", "-cpu", cpu, "-kernel", str(disk)]
        else:
            wanted = _EXIT_STATUS
            disk.write_bytes(BOOT_SECTOR)
            argv += ["-machine", "pc", "-m", "16", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
            # the disk is the machine's own; a snapshot would take room in TMPDIR, and its lack be taken for KVM's
            argv += ["-drive", f"file={str(disk).replace(',', ',,')},format=raw,if=ide"]
        begun = time.monotonic()
        done = run(argv, timeout=limit_s, check=False)
        took = time.monotonic() - begun
    if done.status != wanted:
        text = done.stderr.decode("utf-8", "replace").strip()
        message = f"the trial machine ended with status {done.status}, not {wanted}"
        raise CommandError(message, argv=done.argv, status=done.status, stderr=text)
    return took
