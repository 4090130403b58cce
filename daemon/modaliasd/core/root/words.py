"""The words of the kernel's command line that say which root file system to mount, and how.

As the kernel has them (init/do_mounts.c; Documentation/admin-guide/kernel-parameters), with what initramfs builders
have made of them: UUID= and LABEL=, the links of /dev/disk, a tag of 9p or virtiofs, `rootovl`. A word that cannot be
used becomes a problem, and its default stays.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.settings import next_args

LONGEST_DELAY_S = 3600
TAGGED = ("9p", "virtiofs")  # file systems that are named by a tag, and lie on no block device
_OWN = (
    "",
    "none",
    "/dev/ram",
    "/dev/ram0",
    "ram0",
)  # loaders' ways to say that the initramfs is all there is
_LINKS = {
    "/dev/disk/by-uuid/": "UUID",
    "/dev/disk/by-label/": "LABEL",
    "/dev/disk/by-partuuid/": "PARTUUID",
    "/dev/disk/by-partlabel/": "PARTLABEL",
}
_FSCK = ("auto", "force", "skip")


class By(Enum):
    """What `root=` names the file system by."""

    UUID = "UUID"
    LABEL = "LABEL"
    PARTUUID = "PARTUUID"
    PARTLABEL = "PARTLABEL"
    NODE = "device"
    NUMBER = "device number"
    TAG = "tag"


class Target(NamedTuple):
    """What `root=` asks for. value: without its prefix; a NODE's path is absolute.

    offset: PARTNROFF, partitions to count from the one that PARTUUID names. system: the file system of a TAG.
    """

    by: By
    value: str
    offset: int = 0
    system: str = ""

    def __str__(self) -> str:
        if self.by in (By.NODE, By.NUMBER, By.TAG):
            return self.value
        offset = f"/PARTNROFF={self.offset}" if self.offset else ""
        return f"{self.by.value}={self.value}{offset}"


class RootWords(NamedTuple):
    """What is asked for. target: None where there is no root to be mounted.

    types: of rootfstype=, () for whatever the device holds. flags: of rootflags=. wait: stay for ever. delay_s: stay
    for so long although nothing is on its way. overlay: a tmpfs over it. init: "" for the usual places.
    fsck: auto, force or skip. problems: a sentence each.
    """

    target: Target | None = None
    types: tuple[str, ...] = ()
    flags: str = ""
    writable: bool = False
    wait: bool = False
    delay_s: int = 0
    overlay: bool = False
    init: str = ""
    fsck: str = "auto"
    problems: tuple[str, ...] = ()


def parse_root(command_line: str) -> RootWords:
    """Parse /proc/cmdline. The last of a word that is given twice counts, as it does for the kernel."""
    values: dict[str, str | None] = {}
    writable = False
    for name, value in next_args(command_line):
        if name in ("ro", "rw"):
            writable = name == "rw"
        else:
            values[name] = value
    problems: list[str] = []
    # ramfs and tmpfs say what the initramfs itself lies in (init/do_mounts.c, init_rootfs)
    listed = (values.get("rootfstype") or "").split(",")
    types = tuple(kind for kind in listed if kind not in ("", "ramfs", "tmpfs"))
    wait, delay = _patience(values, problems)
    overlay = values.get("rootovl", "0")
    fsck = values.get("fsck.mode") or ("skip" if "fastboot" in values else "auto")
    if fsck not in _FSCK:
        problems.append(f"`fsck.mode={fsck}` is ignored: expected {', '.join(_FSCK)}")
        fsck = "auto"
    init = values.get("init") or ""
    if init and not init.startswith("/"):
        problems.append(f"`init={init}` is ignored: expected the path of a program, from /")
        init = ""
    target, why = _target(values.get("root") or "", types)
    problems += [why] if why else []
    return RootWords(
        target,
        types,
        values.get("rootflags") or "",
        writable,
        wait,
        delay,
        overlay not in ("0", "n", "no", "off"),
        init,
        fsck,
        tuple(problems),
    )


def _target(text: str, types: tuple[str, ...]) -> tuple[Target | None, str]:
    """Return what `root=TEXT` asks for, None if nothing; and what is wrong with it."""
    if text in _OWN:
        return None, ""
    prefix, colon, tag = text.partition(":")
    if colon and prefix in TAGGED and tag:
        return Target(By.TAG, tag, system=prefix), ""
    if types and types[0] in TAGGED:
        return Target(By.TAG, text, system=types[0]), ""
    for start, kind in _LINKS.items():
        if text.startswith(start):
            return Target(By(kind), _unescaped(text[len(start) :])), ""
    kind, equals, value = text.partition("=")
    if equals and kind in ("UUID", "LABEL", "PARTUUID", "PARTLABEL"):
        return _named(By(kind), value, text)
    if text.startswith("/dev/"):
        return Target(By.NODE, text), ""
    if _is_number(text):
        return Target(By.NUMBER, text), ""
    if text.startswith("/") or equals:
        return None, f"`root={text}` is none of UUID=, LABEL=, PARTUUID=, PARTLABEL=, /dev/NAME, MAJOR:MINOR"
    return Target(By.NODE, f"/dev/{text}"), ""


def _named(by: By, value: str, text: str) -> tuple[Target | None, str]:
    value = value.strip('"')
    offset = 0
    if by is By.PARTUUID:
        value, _, rest = value.partition("/PARTNROFF=")
        number = rest.removeprefix("-")
        if rest and not (number.isascii() and number.isdigit() and len(number) < 5):
            return None, f"`root={text}`: expected a number behind PARTNROFF="
        offset = int(rest or 0)
    if not value:
        return None, f"`root={text}` names nothing: expected a value behind {by.value}="
    return Target(by, value, offset), ""


def _patience(values: dict[str, str | None], problems: list[str]) -> tuple[bool, int]:
    """Return rootwait and rootdelay=; `rootwait=SECONDS` (Linux 6.8) is a time, as rootdelay= is for us."""
    times = []
    for name in ("rootdelay", "rootwait"):
        text = values.get(name)
        if name not in values or (name == "rootwait" and not text):
            continue
        if text and text.isascii() and text.isdigit() and int(text[:9]) <= LONGEST_DELAY_S:
            times.append(int(text[:9]))
        else:
            problems.append(f"`{name}={text or ''}` is ignored: expected seconds, up to {LONGEST_DELAY_S}")
    return "rootwait" in values and not values["rootwait"], max(times, default=0)


def _is_number(text: str) -> bool:
    """Tell whether it is MAJOR:MINOR."""
    major, _, minor = text.partition(":")
    return all(part.isascii() and part.isdigit() for part in (major, minor))


def _unescaped(name: str) -> str:
    r"""Undo what udev does to a name in /dev/disk: `\x20` is a blank."""
    parts = name.split("\\x")
    text = parts[0]
    for part in parts[1:]:
        try:
            text += chr(int(part[:2], 16)) + part[2:]
        except ValueError:
            text += f"\\x{part}"
    return text
