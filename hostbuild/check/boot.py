"""Rules for the way to the first program: the archives, /init, the nodes and directories that it needs.

Source: init/initramfs.c, init/main.c (kernel_init, console_on_rootfs), Documentation/driver-api/early-userspace.
"""

import posixpath
import stat
from collections.abc import Iterator

from hostbuild.check.finding import Finding, Level, error, fatal, note
from hostbuild.check.view import View
from hostbuild.formats.compress import KERNEL_OPTION, Compressor
from modaliasd.core.settings import split_words

_NODES = {
    "dev/console": (5, 1),
    "dev/null": (1, 3),
    "dev/zero": (1, 5),
    "dev/kmsg": (1, 11),
    "dev/tty": (5, 0),
}
_MOUNTED = ("dev", "proc", "sys")
_INSTEAD = ", and tries /sbin/init and /bin/sh, with nothing mounted"  # "Failed to execute /init"
# What rootfs-overlay/init and inittab start; without one of them nothing is loaded.
_OWN = ("/sbin/init", "/bin/sh", "/usr/bin/modaliasd", "/sbin/modprobe")


def check_boot(view: View) -> Iterator[Finding]:
    """Check what the kernel needs to come to the image's first program."""
    yield from _init(view)
    yield from _nodes(view)
    if view.own:
        yield from _own(view)


def check_archives(view: View) -> Iterator[Finding]:
    """Check that the kernel unpacks the image, and all of it."""
    found = view.archives
    if found.trouble:
        yield fatal(
            "image-damaged", "image", f"the kernel stops unpacking: {found.trouble}", "build it again"
        )
    for compressor in dict.fromkeys(found.compressors):
        option = KERNEL_OPTION.get(compressor)
        if option is None or compressor is Compressor.NONE or view.kernel is None:
            continue
        if view.kernel.option(option.removeprefix("CONFIG_")) == "n":
            able = [c.value for c, o in KERNEL_OPTION.items() if view.kernel.option(o[7:]) == "y"]
            yield fatal(
                "image-compressor",
                "image",
                f"it is packed by {compressor.value}, which the kernel {view.kernel.version} cannot unpack "
                f"({option} is off)",
                f"hostbuild make-image --compress {able[0] if able else 'none'}",
            )
    for name, why in found.dropped:
        yield (error if view.own else note)(
            "member-dropped",
            f"/{name.lstrip('/')}",
            f"the kernel ignores it silently: {why}",
            "build it again",
        )
    for path in dict.fromkeys(found.late_microcode):
        yield note(
            "microcode-late",
            f"/{path}",
            "the kernel looks for CPU microcode in the plain archives at the image's beginning only",
            "hostbuild make-image --microcode",
        )
    for offset in found.untrailed if not found.trouble else ():
        yield note(
            "archive-untrailed",
            "image",
            f"the archive at offset {offset} has no trailer: the kernel takes it, but it may be cut short",
            "compare the image's size with the original's",
        )


def _init(view: View) -> Iterator[Finding]:
    words = [word.partition("=")[2] for word in split_words(view.append) if word.startswith("rdinit=")]
    path = words[-1] if words else "/init"
    place = view.root.find(path)
    if place is None:
        target = view.root.find_link(path)
        why = (
            f"it is a link to {target.target}, which is not there" if target is not None else "there is none"
        )
        yield fatal(
            "init-missing",
            path,
            f"{why}, so the kernel looks for a root file system on a disk and panics",
            "add one by --overlay",
        )
        return
    if not stat.S_ISREG(place.mode):
        yield fatal(
            "init-not-a-file",
            path,
            f"it is not a regular file: the kernel cannot run it{_INSTEAD}",
            "make it a program or a script",
        )
        return
    if not place.mode & 0o111:
        yield fatal(
            "init-not-executable",
            path,
            f"its mode is {place.mode & 0o7777:04o}: the kernel cannot run it{_INSTEAD}",
            "chmod +x",
        )
        return
    program = view.program(path)
    if program is None or not (program.elf or program.script):
        yield fatal(
            "init-format",
            path,
            f"it is neither an ELF program nor a script that begins with #!: the kernel cannot run it{_INSTEAD}",
            "begin it with #!/bin/sh",
        )


def _nodes(view: View) -> Iterator[Finding]:
    root = view.root
    for path, device in _NODES.items():
        node = root.find_link(path)
        if node is None:
            continue
        if not stat.S_ISCHR(node.mode) or node.device != device:
            what = "not a device node" if not stat.S_ISCHR(node.mode) else "device {} {}".format(*node.device)
            yield error(
                "node-wrong",
                f"/{path}",
                f"it is {what}, not the character device {device[0]} {device[1]}",
                "leave it out; devtmpfs makes it",
            )
    for name in _MOUNTED:
        node = root.find(name)
        if node is None or node.children is None:
            what = "there is no directory" if node is None else "it is not a directory"
            level = Level.FATAL if view.own and name != "dev" else Level.ERROR if view.own else Level.NOTE
            yield Finding(
                "mount-point",
                level,
                f"/{name}",
                f"{what}, so nothing can be mounted there{'' if view.own else ' before /init makes one'}",
                "create an empty directory there",
            )
    for path, node in root.walk():
        if posixpath.dirname(path) == "dev" and stat.S_ISREG(node.mode) and path not in _NODES:
            yield note(
                "node-file",
                f"/{path}",
                "a plain file in /dev, which devtmpfs hides once it is mounted",
                "leave it out",
            )


def _own(view: View) -> Iterator[Finding]:
    for path in _OWN:
        node = view.root.find(path)
        if node is None:
            yield fatal(
                "part-missing",
                path,
                "it is not there, and /init, or what /init starts, needs it",
                "build the image again, or check which overlay hides it",
            )
        elif not node.mode & 0o111:
            yield fatal(
                "part-not-executable",
                path,
                f"its mode is {node.mode & 0o7777:04o}, and /init, or what it starts, runs it",
                "chmod +x",
            )
    if view.root.find("/etc/inittab") is None:
        yield fatal(
            "part-missing",
            "/etc/inittab",
            "it is not there, so init does not start the daemon",
            "build the image again, or check which overlay hides it",
        )
