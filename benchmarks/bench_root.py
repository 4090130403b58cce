"""From power-on to the root file system's init: `make bench-root`.

An ext4 file system on a virtio disk, found by UUID, on an otherwise empty q35 machine with Debian's kernel. Time is the
guest's, counted in instructions (QEMU's -icount shift=0,sleep=off): the kernel's clock when the root's first process
writes its first line. Where the guest waits for the disk, the clock runs to its next timer, so that runs differ by a
few milliseconds.

    PYTHONPATH=. python benchmarks/bench_root.py [RUNS]
"""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hostbuild import debs
from hostbuild.formats.compress import Compressor
from hostbuild.fs.files import write_file
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.modules.storage import Store
from hostbuild.image.sources.extras import Extra
from hostbuild.predict.file import read_capture
from hostbuild.predict.learn import learn
from hostbuild.predict.target import open_kernel
from hostbuild.qemu.lines import Line
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.session import prepare

UUID = "11111111-2222-3333-4444-555555555555"
INIT = '#!/bin/sh\necho "<2>bench-root: init" >/dev/kmsg\npoweroff -f\n'
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
LIMIT_S = 900.0
KERNEL = "deb:linux-image-amd64"


def make_disk(directory: Path) -> Path:
    """Make the root file system: busybox, and an init that says when it runs."""
    [package] = debs.describe(["busybox-static"])
    root = debs.require_unpacked(package)
    busybox = next(p for p in (root / "bin/busybox", root / "usr/bin/busybox") if p.is_file())
    source, disk = directory / "source", directory / "disk.img"
    for name in ("bin", "sbin", "proc", "sys", "dev", "run"):
        (source / name).mkdir(parents=True)
    for name in ("sh", "poweroff"):
        shutil.copy(busybox, source / "bin" / name)
        (source / "bin" / name).chmod(0o755)
    (source / "sbin/init").write_text(INIT)
    (source / "sbin/init").chmod(0o755)
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    argv = ["/sbin/mke2fs", "-q", "-t", "ext4", "-U", UUID, "-d", str(source), str(disk)]
    subprocess.run(argv, check=True)
    return disk


def measure(built: BuiltImage, disk: Path, ledger: Path) -> float:
    """Boot once; milliseconds to the root's init. The ledger is kept."""
    machine = read_machine("empty", [f"virtio-blk-pci,file={disk}"])
    words = f"quiet printk.time=1 root=UUID={UUID}"
    session = prepare(built.image, machine, append=words, accel="tcg", icount=True, limit_s=LIMIT_S)
    received: list[bytes] = []

    with session.vm(listeners={Line.CHANNEL: received.append}) as vm:
        vm.wait()
        found = re.search(r"\[ *(\d+\.\d+)\] bench-root: init", vm.console)
    assert found is not None, vm.console
    write_file(ledger, b"".join(received), "the ledger")
    return float(found[1]) * 1000


def main() -> None:
    """Build each image, boot it, print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        disk, ledger = make_disk(directory), directory / "boot.jsonl"
        root = (Extra.ROOT,)
        default = build_image(directory / "default.img", ImageOptions(KERNEL, extras=root))
        first = [measure(default, disk, ledger) for _ in range(RUNS)]
        capture = read_capture(ledger)
        learned = ImageOptions(
            KERNEL,
            modules="",
            wanted=lambda kernel, modprobe_d: (learn(capture, open_kernel(kernel, modprobe_d)).modules, ()),
            extras=root,
        )
        ways = {
            "default, lz4": ImageOptions(KERNEL, extras=root, compressor=Compressor.LZ4),
            "default, modules in a squashfs": ImageOptions(KERNEL, extras=root, store=Store.SQUASHFS),
            "learned from that boot": learned,
        }
        print("| image | power-on to the root's init |\n|---|---:|")
        print(f"| default (zstd) | {statistics.median(first):,.0f} ms |", flush=True)
        for number, (name, options) in enumerate(ways.items()):
            built = build_image(directory / f"{number}.img", options)
            times = [measure(built, disk, directory / "other.jsonl") for _ in range(RUNS)]
            print(f"| {name} | {statistics.median(times):,.0f} ms |", flush=True)


if __name__ == "__main__":
    main()
