"""Which applets a busybox has, and where their links go, read from its program.

Two tables of include/applet_tables.h lie in the read-only data of every busybox:

    applet_names          "[", "[[", "acpid", ...: NUL-terminated, in strcmp's order
    applet_install_loc    half a byte for each, the first in the low half: 0 is /, 1 /bin, 2 /sbin, 3 /usr/bin,
                          4 /usr/sbin (include/applets.src.h, enum bb_install_loc_t)

The second is found by what every busybox has in it: sh is in /bin, init in /sbin.
"""

import re
from collections.abc import Iterator

from hostbuild.errors import InputError

_NAMES = re.compile(rb"\[\0\[\[\0(?:[A-Za-z0-9_.-]{1,32}\0){15,1000}")
_DIRECTORIES = ("", "bin", "sbin", "usr/bin", "usr/sbin")
# Where the usual ones belong (include/applets.src.h); those that a busybox has are the anchors.
_KNOWN = {
    **dict.fromkeys(
        ("ash", "cat", "chmod", "cp", "date", "dd", "echo", "grep", "ln", "ls", "mkdir", "mount"), 1
    ),
    **dict.fromkeys(("mv", "ps", "rm", "sed", "sh", "sleep", "stty", "sync", "umount", "uname"), 1),
    **dict.fromkeys(("halt", "init", "insmod", "ip", "lsmod", "modprobe", "poweroff", "reboot", "rmmod"), 2),
    **dict.fromkeys(
        ("[", "[[", "awk", "cut", "du", "env", "find", "free", "head", "id", "test", "tr", "wc"), 3
    ),
    **dict.fromkeys(("chroot", "crond", "inetd", "rdate", "sendmail"), 4),
}
_ENOUGH = 12  # anchors


def applets_in(program: bytes) -> list[str]:
    """Return the paths of a busybox's applets, as `busybox --list-full` prints them. Raises InputError."""
    found = [answer for match in _NAMES.finditer(program) if (answer := _placed(program, match[0]))]
    if len(found) != 1:
        raise InputError(f"a busybox with {len(found)} tables of applets, not one: it is of an unknown make")
    return found[0]


def _placed(program: bytes, table: bytes) -> list[str]:
    """Give the paths of a table of names; [] where it is none, or its places are not found."""
    names = list(_ascending(table.decode("ascii").split("\0")[:-1]))
    anchors = {index: _KNOWN[name] for index, name in enumerate(names) if name in _KNOWN}
    if len(anchors) < _ENOUGH:
        return []
    places = set(_places(program, len(names), anchors))
    if len(places) != 1:
        return []
    return [
        "/".join(filter(None, (_DIRECTORIES[at], name))) for at, name in zip(places.pop(), names, strict=True)
    ]


def _ascending(names: list[str]) -> Iterator[str]:
    """Give the names up to where their order ends: other texts may follow."""
    last = ""
    for name in names:
        if name <= last:
            return
        yield name
        last = name


def _places(program: bytes, count: int, anchors: dict[int, int]) -> Iterator[bytes]:
    """Find runs of half bytes, none larger than 4, that have the anchors' values: a byte an applet."""
    length = -(-count // 2)
    pattern = bytearray()
    for at in range(length):
        low, high = anchors.get(2 * at), anchors.get(2 * at + 1)
        fits = (
            value
            for value in range(0x45)
            if value & 15 <= 4 and (low is None or value & 15 == low) and (high is None or value >> 4 == high)
        )
        pattern += b"[" + b"".join(b"\\x%02x" % value for value in fits) + b"]"
    for match in re.finditer(b"(?=(" + bytes(pattern) + b"))", program, re.DOTALL):
        yield bytes(half for byte in match[1] for half in (byte & 15, byte >> 4))[:count]
