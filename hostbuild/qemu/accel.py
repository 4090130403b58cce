"""Which accelerator QEMU can use here: KVM if it works, software emulation (TCG) otherwise.

/dev/kvm proves nothing: it may be closed to this user, or lead to a nested KVM that takes seconds for what
emulation does in a tenth of one. So a machine is started in it, with nothing but the firmware and a boot
sector of seven bytes that ends QEMU through its isa-debug-exit device. The time limit is generous for a KVM
that works, and too short for one that is slower than emulation.
"""

import os
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from hostbuild.errors import CommandError, WorldError
from hostbuild.fs.scratch import scratch_directory
from hostbuild.run import run

KVM_DEVICE = Path("/dev/kvm")
PROBE_LIMIT_S = 2.0  # a working KVM, like TCG, needs a tenth of a second

_EXIT_VALUE = 0x10
_EXIT_STATUS = _EXIT_VALUE << 1 | 1  # hw/misc/debugexit.c
_BOOT_CODE = bytes((
    0xB0, _EXIT_VALUE,  # mov al, value
    0xE6, 0xF4,         # out 0xf4, al
    0xF4,               # hlt
    0xEB, 0xFD,         # jmp back to the hlt
))  # fmt: skip
BOOT_SECTOR = _BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"


class Accel(Enum):
    """What runs the guest's instructions; the value is QEMU's name for it."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Choice:
    """The accelerator that was taken, and why."""

    accel: Accel
    why: str


def choose(wanted: str = "auto") -> Choice:
    """Return the accelerator for `wanted`: auto, kvm or tcg.

    Raises WorldError if kvm is demanded and does not work. The probe runs once a process.
    """
    if wanted == "tcg":
        return Choice(Accel.TCG, "asked for")
    trouble = kvm_trouble()
    if not trouble:
        return Choice(Accel.KVM, "KVM works")
    if wanted == "kvm":
        raise WorldError(f"KVM cannot be used: {trouble}", hint="hostbuild run --accel tcg")
    return Choice(Accel.TCG, trouble)


@cache
def kvm_trouble(device: Path = KVM_DEVICE, limit_s: float = PROBE_LIMIT_S) -> str:
    """Say why KVM cannot be used here; "" if it works."""
    if not device.exists():
        return f"{device} is absent (no hardware virtualisation, or the kvm module is not loaded)"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened by this user (add the user to the group kvm)"
    try:
        boot_tiny(Accel.KVM, limit_s)
    except CommandError as e:
        if e.status is None:
            return f"{device} is there, but a machine of seven bytes does not end in it within {limit_s:g} s"
        return f"QEMU cannot use {device}: {e.stderr or e}"
    return ""


def boot_tiny(accel: Accel, limit_s: float) -> None:
    """Boot the seven bytes; CommandError unless they end the machine as they should, and in time."""
    with scratch_directory() as directory:
        disk = directory / "boot.img"
        disk.write_bytes(BOOT_SECTOR)
        argv = ["qemu-system-x86_64", "-machine", "pc", "-accel", accel.value, "-m", "16"]
        argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        # the disk is the machine's own; a snapshot would take room in TMPDIR, and its lack be taken for KVM's
        argv += ["-drive", f"file={str(disk).replace(',', ',,')},format=raw,if=ide"]
        done = run(argv, timeout=limit_s, check=False)
    if done.status != _EXIT_STATUS:
        text = done.stderr.decode("utf-8", "replace").strip()
        message = f"the trial machine ended with status {done.status}, not {_EXIT_STATUS}"
        raise CommandError(message, argv=done.argv, status=done.status, stderr=text)
