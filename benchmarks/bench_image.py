"""Images side by side, ours and other builders', of the same kernel: `make bench-image`.

For each: its size, how many modules it has, the CPU time that its builder took on this machine, and when, in the
machine `virtio`, the disk and the network card were there and everything had settled. Times are the guest's, from
power-on, counted in instructions (power_on.py), of the quickest of the runs: where the guest waits for its disks, its
clock runs on, the longer the busier this machine is. Settled is our daemon's word, or udevd's: `udevadm settle` has
come back, after all devices were triggered, in the image's own hook before the root file system is mounted (peers.py).
Ours are made by `hostbuild make-image --again`, with what its cache holds. Making the others takes root, once. What
never came, for want of a driver, is shown as -.

    PYTHONPATH=. python benchmarks/bench_image.py [--runs N] [--only WORD]...    rows whose name has one of the words
    make bench-image BENCH="--also='--python build'"            a row for other options
"""

import tempfile
from math import isnan
from pathlib import Path

from benchmarks.images import KERNEL, parse_arguments, rows
from benchmarks.peers import SETTLED_WORD
from benchmarks.power_on import UUID, boot, make_disk
from hostbuild.kernels.kernel import require_kernel
from hostbuild.qemu.machine import NAMED_MACHINES, Machine, read_machine
from hostbuild.ui import Silent

WAYS = ("", "--strip", "--compress-modules squashfs-zstd", "--compress lz4", "--compress xz")
# words of the kernel's command line that end a boot when it has settled
_OURS = "modaliasd.poweroff=settled"
_THEIRS = f"root=UUID={UUID} {SETTLED_WORD}"


def read_virtio(disk: Path, directory: Path) -> Machine:
    """Give the machine `virtio` with this disk."""
    text, file = (NAMED_MACHINES / "virtio.toml").read_text(), directory / "virtio.toml"
    assert "serial=vblk" in text
    file.write_text(text.replace("serial=vblk", f"serial=vblk,file={disk}"))
    return read_machine(str(file))


def main() -> None:
    """Make each image, boot it, print the table."""
    asked = parse_arguments("Images side by side, ours and other builders'.")
    kernel = require_kernel(KERNEL, None, Silent())
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        machine, ledger = read_virtio(make_disk(directory), directory), directory / "boot.jsonl"
        print(
            "| image | MB | modules | CPU s to make it | power-on to vda, ms | to the network card | to settled |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, make in rows(asked, directory, kernel, ledger, WAYS):
            made = make()
            words = _OURS if made.ours else _THEIRS
            times = [boot(kernel.vmlinuz, made.path, machine, words, traced=True) for _ in range(asked.runs)]
            if made.ours and not ledger.exists():
                ledger.write_bytes(times[0].ledger)
            columns = zip(*((one.disk, one.nic, one.settled) for one in times), strict=True)
            marks = ["-" if any(map(isnan, column)) else f"{min(column):,.0f}" for column in columns]
            size = made.path.stat().st_size / 1e6
            row = [name, f"{size:.1f}", str(made.modules), f"{made.cpu_s:.1f}", *marks]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
