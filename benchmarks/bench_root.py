"""From power-on to the root file system's init: `make bench-root`.

An ext4 file system on a virtio disk, found by UUID, on an otherwise empty q35 machine with Debian's kernel; our images,
and those that dracut and mkinitramfs make of the same kernel (peers.py; making these takes root, once). Time is the
guest's, counted in instructions (power_on.py): the kernel's clock when the root's first process writes its first line.
Where the guest waits for the disk, its clock runs on, the longer the busier this machine is: the quickest of the runs
is shown.

    PYTHONPATH=. python benchmarks/bench_root.py [--runs N] [--only WORD]...     rows whose name has one of the words
"""

import tempfile
from pathlib import Path

from benchmarks.images import KERNEL, Made, parse_arguments, rows
from benchmarks.power_on import UUID, boot, make_bare_image, make_disk
from hostbuild.kernels.kernel import require_kernel
from hostbuild.qemu.machine import read_machine
from hostbuild.ui import Silent

WAYS = ("", "--strip", "--compress lz4", "--compress-modules squashfs-zstd")


def main() -> None:
    """Make each image, boot it, print the table."""
    asked = parse_arguments("From power-on to the init of a root file system.")
    kernel = require_kernel(KERNEL, None, Silent())
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        disk, ledger = make_disk(directory), directory / "boot.jsonl"
        bare = Made(make_bare_image(directory / "bare.img"), 0)
        machine = read_machine("empty", [f"virtio-blk-pci,file={disk}"])
        print("| image | MB | modules | power-on to the root's init |\n|---|---:|---:|---:|")
        alone = [("the kernel alone: the init lies in the image", lambda: bare)][
            : asked.wants("the kernel alone")
        ]
        ours = rows(asked, directory, kernel, ledger, WAYS, "--with root")
        for name, make in (row for some in (alone, ours) for row in some):
            made = make()
            words = f"root=UUID={UUID}"
            times = [boot(kernel.vmlinuz, made.path, machine, words, traced=False) for _ in range(asked.runs)]
            if made.ours and not ledger.exists():
                ledger.write_bytes(times[0].ledger)
            size, took = made.path.stat().st_size / 1e6, min(time.init for time in times)
            print(f"| {name} | {size:.1f} | {made.modules} | {took:,.0f} ms |", flush=True)


if __name__ == "__main__":
    main()
