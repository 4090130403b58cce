"""Shared folders by 9p and by virtiofs: a tree of small files looked through, read and written, by the guest's clock.

Each transport has a guest of its own for all runs; medians, by the wall: compare them on one idle machine.

    PYTHONPATH=. python benchmarks/bench_share.py TREE [--runs 3]     TREE: a kernel's net/, say; it stays as it is
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hostbuild.guest.share import Transport
from hostbuild.image.build import ImageOptions, build_image

# Words of the table -> what runs in the folder, its caches dropped before.
WORK = {
    "find, every file looked at": "find tree -type f -size +1000k >/dev/null",
    "grep -r": "grep -r EXPORT_SYMBOL_GPL tree >/dev/null",
    "tar to /dev/null": "tar cf /dev/null tree",
    "64 MB read": "cat big >/dev/null",
    "64 MB written": "head -c 67108864 /dev/zero >out",
    "200 files made": "mkdir new; i=0; while [ $i -lt 200 ]; do echo >new/$i; i=$((i+1)); done; rm -r new",
}
MARK = "took"


def script(runs: int) -> str:
    """Return what the guest runs: after each piece of work a line with its time in hundredths of a second."""
    lines = []
    for number, work in enumerate(WORK.values()):
        lines += ["echo 3 >/proc/sys/vm/drop_caches", "read before x </proc/uptime", f"( {work} )"]
        lines += ["read after x </proc/uptime", f"echo {MARK} {number} $before $after"]
    return f"for run in $(seq {runs}); do\n" + "\n".join(lines) + "\ndone\n"


def main() -> None:
    """Share, measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    print(f"{sum(1 for path in given.tree.rglob('*') if path.is_file())} files")
    with tempfile.TemporaryDirectory() as directory:
        image, shared = Path(directory, "x.img"), Path(directory, "shared")
        build_image(image, ImageOptions("deb:linux-image-amd64", modules="virtio"))
        shared.mkdir()
        shutil.copytree(given.tree, shared / "tree", symlinks=True)
        (shared / "big").write_bytes(bytes(64 << 20))
        found = {by: measure(image, shared, by, given.runs) for by in Transport}
    for number, words in enumerate(WORK):
        print(f"{words:28}", *(f"{by.value} {found[by][number]:6.2f} s" for by in Transport), sep="  ")


def measure(image: Path, shared: Path, by: Transport, runs: int) -> list[float]:
    """Return the median seconds of each piece of work."""
    options = ["--share", f"{shared}:/mnt", "--share-by", by.value, "--cwd", "/mnt", "--timeout", "7200"]
    argv = [sys.executable, "-m", "hostbuild", "run", image, *options, "--", "sh", "-c", script(runs)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(rf"{MARK} (\d+) (\S+) (\S+)", done.stdout)
    return [
        statistics.median(
            float(after) - float(before) for index, before, after in rows if int(index) == number
        )
        for number in range(len(WORK))
    ]


if __name__ == "__main__":
    main()
