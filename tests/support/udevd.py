"""Debian's systemd-udevd as an overlay for an image: its package unpacked, never installed.

For what is measured beside it and compared with it: benchmarks/bench_boot.py, tests/vm/test_same_as_udev.py.
"""

from pathlib import Path

from hostbuild import debs
from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.sources.libraries import Libraries

LOADING_RULES = ("50-udev-default.rules", "80-drivers.rules")  # the two without which nothing is loaded
UDEVD = "/lib/systemd/systemd-udevd"
_PROGRAM = "bin/udevadm"  # udevd is the same program under another name
_GROUP = "udev"


def make_overlay(directory: Path) -> Path:
    """Fill `directory` with udevd, udevadm, what they link against, and the rules; gives it.

    All of Debian's rules and helpers are in usr/lib/udev. The two loading rules alone are in usr/lib/udev-two.
    """
    [package] = debs.describe(["udev"])
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
    Libraries().put(tree, programs, group=_GROUP, loaded=("libkmod.so.2",))
    write_tree(tree, directory)
    return directory


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
