"""What tests do to a guest that is to go wrong: replug a device, put something in modprobe's place, kill the daemon."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from hostbuild.ledger.stream import Record
from hostbuild.qemu.vm import VM
from tests.support.packed import read_packed

RESCAN = "echo 1 >/sys/bus/pci/devices/%s/remove; echo 1 >/sys/bus/pci/rescan"
PYTHON = "python3 -SsP"


def settle(vm: VM, timeout: float = 120) -> Record:
    """Wait until it has settled; gives the record of that."""
    vm.check(f"modaliasd settle --timeout {timeout:g}", timeout=timeout + 10)
    return read_ledger(vm, "settled")[-1]


def read_ledger(vm: VM, kind: str) -> list[Record]:
    """The records of one type, from the guest's own file."""
    text = read_packed(vm, f'grep -F \'"type":"{kind}"\' /run/modaliasd/ledger.jsonl')
    return [json.loads(line) for line in text.splitlines()]


def slot_of(vm: VM, driver: str) -> str:
    """The PCI address of the device that has the driver."""
    return vm.check(f"basename $(readlink -f /sys/bus/pci/drivers/{driver}/0000:*)").strip()


def replug(vm: VM, slot: str) -> Record:
    """Take a PCI device out and find it again, as its kernel sees a new one; gives the settle after that."""
    vm.check(RESCAN % slot, timeout=60)
    return settle(vm)


@contextmanager
def other_modprobe(vm: VM, script: str | None) -> Iterator[None]:
    """Have a script in modprobe's place, or nothing, for a while."""
    vm.check("mv /sbin/modprobe /sbin/modprobe.real")
    try:
        if script is not None:
            text = shlex.quote(f"#!/bin/sh\n{script}\n")
            vm.check(f"printf %s {text} >/sbin/modprobe; chmod +x /sbin/modprobe")
        yield
    finally:
        vm.check("mv -f /sbin/modprobe.real /sbin/modprobe")


def last_load(vm: VM, module: str) -> Record:
    return [record for record in read_ledger(vm, "load") if record["module"] == module][-1]


def slot_of_idle(vm: VM, device: str) -> str:
    """The PCI address of the device with this number, bound or not."""
    return vm.check(f"basename $(dirname $(grep -l {device} /sys/bus/pci/devices/*/device))").strip()


def restart(vm: VM) -> int:
    """Kill the daemon and wait for the next; gives which life that is."""
    lives = int(vm.check("cat /run/modaliasd/lives")) + 1
    vm.check("kill -9 $(pidof modaliasd)")
    vm.check(f"until grep -q '^{lives}$' /run/modaliasd/lives; do usleep 50000; done", timeout=30)
    return lives


def want_other_symbol(vm: VM, path: str) -> None:
    """Have the module at `path` need `pci_enable_devicX`, which no kernel has; the whole one is kept as /tmp/whole."""
    vm.check(f"cp {path} /tmp/whole; {PYTHON} -c {shlex.quote(OTHER_SYMBOL)} {path}")


# Takes the signature off (scripts/sign-file.c: its length stands before the last line), and changes a symbol's name.
OTHER_SYMBOL = """import sys
data = open(sys.argv[1], "rb").read()
end = len(data) - 28 - 12
end -= int.from_bytes(data[end + 8:end + 12], "big")
assert b"pci_enable_device\\0" in data[:end]
open(sys.argv[1], "wb").write(data[:end].replace(b"pci_enable_device\\0", b"pci_enable_devicX\\0"))
"""
