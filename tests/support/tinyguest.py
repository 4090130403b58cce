"""A guest of one shell script and busybox, for tests of the machine: no modules, no Python, no daemon."""

import stat
from pathlib import Path

from hostbuild.formats.initramfs.newc import Member, Writer
from tests.support.programs import require_program

# What every tiny guest begins with. A serial line is held open while it is set up and used: what comes in
# while nobody has it open is lost.
PROLOGUE = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
stty -F /dev/ttyS1 raw -echo
exec 3>/dev/ttyS1
"""

# Run the agent as the contract says, and never end.
AGENT = """exec 4<>/dev/ttyS2
stty raw -echo <&4
sh /dev/ttyS2 >&4 2>&1 &
while :; do sleep 1000; done
"""


def write_image(path: Path, script: str) -> Path:
    """Write an image whose /init is `script`; all else it has is busybox, the host's static one."""
    busybox = require_program("busybox")
    with path.open("wb") as out:
        archive = Writer(out.write)
        archive.add(Member("bin", stat.S_IFDIR | 0o755, ino=1, nlink=2))
        archive.add(Member("bin/busybox", stat.S_IFREG | 0o755, ino=2), Path(busybox).read_bytes())
        archive.add(Member("init", stat.S_IFREG | 0o755, ino=3), script.encode())
        archive.add(Member("dev", stat.S_IFDIR | 0o755, ino=4, nlink=2))
        # The kernel opens it for /init's output before devtmpfs is there.
        archive.add(Member("dev/console", stat.S_IFCHR | 0o600, ino=5, device=(5, 1)))
        archive.close()
    return path
