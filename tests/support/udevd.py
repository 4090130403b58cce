"""Debian's systemd-udevd as an overlay for an image: its package unpacked, never installed.

For what is measured beside it and compared with it: benchmarks/bench_boot.py, tests/vm/test_same_as_udev.py and
test_architectures.py.
"""

from pathlib import Path

from hostbuild import debs
from hostbuild.apt import OWN, Lists
from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.sources.libraries import Libraries

LOADING_RULES = ("50-udev-default.rules", "80-drivers.rules")  # the two without which nothing is loaded
UDEVD = "/lib/systemd/systemd-udevd"
_PROGRAM = "bin/udevadm"  # udevd is the same program under another name
_GROUP = "udev"

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /run
mount -t tmpfs -o mode=0755 tmpfs /run
grep -q loader=udevd /proc/cmdline || exec /sbin/init
/lib/systemd/systemd-udevd --daemon
udevadm trigger --type=subsystems --action=add
udevadm trigger --type=devices --action=add
udevadm settle
while :; do /usr/lib/micro/agent; done
"""
# USB and SCSI devices are found long after their host's driver is in: wait until nothing has come for a while.
WAIT = """old=; same=0
while [ $same -lt 4 ]; do
    new=$(cut -d' ' -f1 /proc/modules | sort)
    if [ "$new" = "$old" ]; then same=$((same + 1)); else same=0; fi
    old=$new
    sleep 1
done
echo "$new" """


def make_overlay(directory: Path, lists: Lists = OWN) -> Path:
    """Fill `directory` with udevd, udevadm, what they link against, and the rules; gives it.

    lists: the packages' architecture and release. All of Debian's rules and helpers are in usr/lib/udev, the two
    loading rules alone in usr/lib/udev-two.
    """
    [package] = debs.describe(["udev"], lists)
    root = debs.require_unpacked(package)
    tree = FileTree()
    program = next(path for path in (root / _PROGRAM, root / "usr" / _PROGRAM) if path.is_file())
    tree.file("usr/bin/udevadm", program, group=_GROUP, origin="udev", permissions=0o755)
    tree.symlink("usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm", group=_GROUP, origin="udev")
    helpers = next(path for path in (root / "lib/udev", root / "usr/lib/udev") if path.is_dir())
    programs = [program]
    for path in sorted(helpers.rglob("*")):
        if not path.is_file() or "hwdb.d" in path.parts:
            continue
        executable = bool(path.stat().st_mode & 0o100)
        if executable and path.read_bytes()[:4] == b"\x7fELF":
            programs.append(path)
        inside = f"usr/lib/udev/{path.relative_to(helpers)}"
        tree.file(inside, path, group=_GROUP, origin="udev", permissions=0o755 if executable else 0o644)
    for name in LOADING_RULES:
        rules = helpers / "rules.d" / name
        tree.file(f"usr/lib/udev-two/{name}", rules, group=_GROUP, origin="udev")
    # what loads modules; since systemd 256 by dlopen(3), which no header tells
    Libraries(lists).put(tree, programs, group=_GROUP, loaded=("libkmod.so.2",))
    write_tree(tree, directory)
    return directory


def make_choice(directory: Path, lists: Lists = OWN) -> Path:
    """Make the same overlay with an init by which `loader=udevd` on the kernel's command line chooses udevd."""
    overlay = make_overlay(directory, lists)
    Path(overlay, "init").write_text(INIT)
    Path(overlay, "init").chmod(0o755)
    return overlay


def write_tree(tree: FileTree, directory: Path) -> None:
    """Write the tree's files, directories and symlinks below `directory`."""
    for path, entry in tree.items():
        target = directory / path
        if entry.kind is NodeKind.DIRECTORY:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind is NodeKind.SYMLINK:
            target.symlink_to(entry.target)
            continue
        target.write_bytes(entry.read())
        target.chmod(entry.permissions)
