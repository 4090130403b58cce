"""One boot from power-on, of anybody's image: when its disk, its network card and the root's init came.

The guest's time is counted in instructions (QEMU's -icount shift=0,sleep=off), by the kernel's clock, which begins
when the kernel does. What is seen is the kernel's own: its tracer writes a line to the console for each disk and each
network interface, so that images need nothing for it. All images get the same words.
"""

import json
import re
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from benchmarks.peers import SETTLED
from hostbuild import debs
from hostbuild.errors import GuestError
from hostbuild.formats.initramfs.newc import Member, Writer
from hostbuild.qemu.boot import TESTED_APPEND, Boot
from hostbuild.qemu.lines import Line
from hostbuild.qemu.machine import Machine
from hostbuild.qemu.vm import VM

UUID = "11111111-2222-3333-4444-555555555555"
LIMIT_S = 1200.0
MEMORY = 2048  # MiB, for all: dracut's generic image takes 500 of them while it is unpacked
_STARTED = "bench: init"
_INIT = f"#!/bin/sh\necho '<2>{_STARTED}' >/dev/kmsg\nreboot -f\n"
# kprobetrace.rst: the second argument of device_add_disk is a gendisk (three ints, then the name), the first of
# register_netdevice a net_device, which begins with its name. tp_printk sends events to the log, as warnings.
_PROBES = (
    "p:disk,device_add_disk,name=+12(%si):string",
    "p:nic,register_netdevice,name=+0(%di):string",
)
_WORDS = f"printk.time=1 {TESTED_APPEND}"
_TRACED = f"loglevel=5 tp_printk kprobe_event={';'.join(_PROBES)}"


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of the kernel's clock, nan for what did not happen.

    init: the first line of the root's first process. settled: the image's word for it. ledger: of our images.
    """

    init: float
    disk: float
    nic: float
    settled: float
    ledger: bytes = b""


def boot(kernel: Path, image: Path, machine: Machine, words: str, *, traced: bool) -> Times:
    """Boot once, to the end. traced: see disks and network interfaces; else the console stays empty meanwhile."""
    received: list[bytes] = []
    line = f"{_WORDS} {_TRACED if traced else 'quiet'} {words}"
    what = Boot(
        kernel, image, append=line, memory=MEMORY, icount=True, agent=False, shell=False, limit_s=LIMIT_S
    )
    with VM(machine, what, listeners={Line.CHANNEL: received.append}) as vm:
        with suppress(
            GuestError
        ):  # others' images reset the machine by the kernel's own key, which says nothing
            vm.wait()
        console = vm.console
    times = read_times(console, b"".join(received))
    if isnan(times.init) and isnan(times.settled):
        raise AssertionError(f"{image} did not come so far:\n{console[-4000:]}")
    return times


def read_times(console: str, ledger: bytes) -> Times:
    """Read what a boot left on its console, with the kernel's times, and its ledger, b"" for others' images."""
    return Times(
        init=_time(console, _STARTED),
        disk=_time(console, r"disk:.*name=\"vda\""),
        nic=_time(console, r"nic:.*name=\"(?!lo\")"),
        settled=_settled(ledger, console),
        ledger=ledger,
    )


def _time(console: str, event: str) -> float:
    # not only at a line's beginning: an image's own words may stand before it
    found = re.search(rf"\[ *(\d+\.\d+)\] [^\[\n]*{event}", console)
    return float(found[1]) * 1000 if found else float("nan")


def _settled(ledger: bytes, console: str) -> float:
    for record in map(json.loads, ledger.splitlines()):
        if record["type"] == "settled":
            return float(record["t_us"]) / 1000
    return _time(console, SETTLED)


def make_disk(directory: Path) -> Path:
    """Make the root file system: busybox, and an init that says when it runs. systemd wants to see that it is one."""
    source, disk = directory / "source", directory / "disk.img"
    for name in ("bin", "sbin", "usr", "etc", "proc", "sys", "dev", "run"):
        (source / name).mkdir(parents=True)
    for name in ("sh", "reboot"):
        shutil.copy(_busybox(), source / "bin" / name)
        (source / "bin" / name).chmod(0o755)
    (source / "etc/os-release").write_text("ID=bench\n")
    (source / "sbin/init").write_text(_INIT)
    (source / "sbin/init").chmod(0o755)
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    argv = ["/sbin/mke2fs", "-q", "-t", "ext4", "-U", UUID, "-d", str(source), str(disk)]
    subprocess.run(argv, check=True)
    return disk


def make_bare_image(path: Path) -> Path:
    """Make the image that shows what the kernel takes by itself: its first process is the root's init, as above."""
    shell = _busybox().read_bytes()
    with path.open("wb") as out:
        archive = Writer(out.write)
        for ino, folder in enumerate(("bin", "dev"), 1):
            archive.add(Member(folder, stat.S_IFDIR | 0o755, ino=ino, nlink=2))
        archive.add(Member("dev/console", stat.S_IFCHR | 0o600, ino=3, device=(5, 1)))
        archive.add(Member("dev/kmsg", stat.S_IFCHR | 0o600, ino=4, device=(1, 11)))
        for ino, name in enumerate(("bin/sh", "bin/reboot"), 5):
            archive.add(Member(name, stat.S_IFREG | 0o755, ino=ino), shell)
        archive.add(Member("init", stat.S_IFREG | 0o755, ino=7), _INIT.encode())
        archive.close()
    return path


def _busybox() -> Path:
    [package] = debs.describe(["busybox-static"])
    root = debs.require_unpacked(package)
    return next(p for p in (root / "bin/busybox", root / "usr/bin/busybox") if p.is_file())
