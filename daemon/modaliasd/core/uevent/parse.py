"""The kernel's uevent datagrams and the `uevent` files of sysfs, from bytes to values.

A datagram of the kernel group is a header and NUL-terminated KEY=VALUE strings (lib/kobject_uevent.c):

    add@/devices/pci0000:00/0000:00:03.0\\0ACTION=add\\0DEVPATH=/devices/...\\0SUBSYSTEM=pci\\0...SEQNUM=1234\\0

What user space sends on (group 2) starts with "libudev" instead and is not for us. A `uevent` file has the
same strings, one a line, without ACTION, DEVPATH, SUBSYSTEM and SEQNUM. An ACPI device that has a device tree's
`compatible`, too, brings MODALIAS twice, and two lines in its `modalias` file (drivers/acpi/device_sysfs.c).
"""

from __future__ import annotations

from modaliasd.core.device import Device
from modaliasd.core.errors import FormatError
from modaliasd.core.fasttypes import Enum, NamedTuple

_MODALIAS = b"MODALIAS="
SEQNUM_DIGITS = 20  # of a u64


class Action(Enum):
    """What happened to a device: the kernel's eight actions (lib/kobject_uevent.c, kobject_actions)."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"
    MOVE = "move"
    ONLINE = "online"
    OFFLINE = "offline"
    BIND = "bind"
    UNBIND = "unbind"


class Uevent(NamedTuple):
    """One event: `env` holds every KEY=VALUE of the datagram, undecodable bytes as surrogate escapes."""

    action: Action
    devpath: str
    seqnum: int
    env: dict[str, str]


def parse_uevent(datagram: bytes) -> Uevent:
    """Read one datagram; FormatError says what is wrong with it."""
    if not datagram.endswith(b"\0"):
        raise FormatError("uevent does not end in NUL")
    header, *strings = datagram[:-1].decode("utf-8", "surrogateescape").split("\0")
    action_word, at, devpath = header.partition("@")
    if not at or not devpath.startswith("/"):
        raise FormatError(f"uevent header is not action@/devpath: {header[:80]!r}")
    env: dict[str, str] = {}
    for string in strings:
        key, equals, value = string.partition("=")
        if not equals:
            raise FormatError(f"uevent field without '=': {string[:80]!r}")
        env[key] = value
    if len(env) != len(strings):
        _keep_all_modaliases(env, strings)
    if env.get("ACTION") != action_word or env.get("DEVPATH") != devpath:
        raise FormatError(f"uevent header and fields disagree: {header[:80]!r}")
    number = env.get("SEQNUM", "")
    if not (number.isascii() and number.isdigit() and len(number) <= SEQNUM_DIGITS):
        raise FormatError(f"uevent without a SEQNUM: {header[:80]!r}")
    try:
        action = Action(action_word)
    except ValueError as e:
        raise FormatError(f"uevent with an unknown action: {header[:80]!r}") from e
    return Uevent(action, devpath, int(number), env)


def parse_uevent_file(content: bytes) -> dict[str, str]:
    """Parse the KEY=VALUE lines of a sysfs `uevent` file; lines without `=` are passed over."""
    env: dict[str, str] = {}
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            env[key] = value
    if content.count(_MODALIAS) > 1:
        _keep_all_modaliases(env, content.decode("utf-8", "surrogateescape").split("\n"))
    return env


def _keep_all_modaliases(env: dict[str, str], strings: list[str]) -> None:
    """Join a key that stands there twice: of MODALIAS every value counts."""
    found = [string[len(_MODALIAS) :] for string in strings if string.startswith("MODALIAS=")]
    if len(found) > 1:
        env["MODALIAS"] = "\n".join(found)


def _modaliases(env: dict[str, str]) -> str:
    """Return the modaliases, one a line. The HD-audio bus ends its own with a newline (hda_bus_type.c)."""
    modalias = env.get("MODALIAS", "")
    if "\n" not in modalias:
        return modalias
    return "\n".join(dict.fromkeys(line for line in modalias.split("\n") if line))


def device_from_env(devpath: str, subsystem: str, env: dict[str, str]) -> Device:
    """Return the device that a datagram's or a uevent file's strings describe."""
    get = env.get
    return Device(
        devpath,
        subsystem,
        _modaliases(env),
        get("DRIVER", ""),
        get("DEVTYPE", ""),
        get("DEVNAME", ""),
        get("INTERFACE", "") if subsystem == "net" else "",
        get("OF_FULLNAME", ""),
    )
