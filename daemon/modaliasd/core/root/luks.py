"""What the kernel's command line says of encrypted disks: which to open, as what, and with which key.

The words are systemd's and dracut's (systemd-cryptsetup-generator(8), dracut.cmdline(7)):

    rd.luks.uuid=UUID           open this one and no other; also luks-UUID
    rd.luks.name=UUID=NAME      the same, as /dev/mapper/NAME
    rd.luks.key=[UUID=]PATH     a file of the image that has the key
    rd.luks=0                   open none
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.settings import next_args

KEYS = "/etc/cryptsetup-keys.d"  # NAME.key, where no word names one (systemd-cryptsetup@.service(8))
_LONGEST_NAME = 127  # include/uapi/linux/dm-ioctl.h, DM_NAME_LEN with its end
_NO = ("0", "no", "off", "n")


class LuksWords(NamedTuple):
    """The words as one value. names: UUID, name. keys: UUID, path; "" for every other disk. problems: sentences."""

    off: bool = False
    uuids: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()

    def wants(self, uuid: str) -> bool:
        """Tell whether this disk is to be opened: all are, where none is named."""
        named = (*self.uuids, *(one for one, _ in self.names))
        return not self.off and (not named or uuid.lower() in named)

    def name_of(self, uuid: str) -> str:
        """Return what it is called below /dev/mapper."""
        return dict(self.names).get(uuid.lower(), f"luks-{uuid}")

    def key_of(self, uuid: str) -> str:
        """Return the path that a word gives for its key; "" for none."""
        keys = dict(self.keys)
        return keys.get(uuid.lower()) or keys.get("", "")


def parse_luks(command_line: str) -> LuksWords:
    """Parse /proc/cmdline; a word that cannot be used becomes a problem."""
    off = False
    uuids: list[str] = []
    names: dict[str, str] = {}
    keys: dict[str, str] = {}
    problems: list[str] = []
    for word, given in next_args(command_line):
        value = given or ""
        if word in ("rd.luks", "luks"):
            off = value in _NO
        elif word in ("rd.luks.uuid", "luks.uuid"):
            uuid = value.lower().removeprefix("luks-")
            if _is_uuid(uuid):
                uuids.append(uuid)
            else:
                problems.append(f"`{word}={value}` is ignored: expected a UUID")
        elif word in ("rd.luks.name", "luks.name"):
            uuid, _, name = value.partition("=")
            if _is_uuid(uuid.lower()) and _is_name(name):
                names[uuid.lower()] = name
            else:
                problems.append(f"`{word}={value}` is ignored: expected UUID=NAME")
        elif word in ("rd.luks.key", "luks.key"):
            uuid, equals, path = value.rpartition("=")
            if path.startswith("/") and ":" not in path and (not equals or _is_uuid(uuid.lower())):
                keys[uuid.lower()] = path
            else:
                problems.append(
                    f"`{word}={value}` is ignored: expected the path of a file of the image, from /"
                )
    return LuksWords(off, tuple(uuids), tuple(names.items()), tuple(keys.items()), tuple(problems))


def is_safe_uuid(uuid: str) -> bool:
    """Tell whether what a header has as its UUID can be part of a path and of a name."""
    return _is_uuid(uuid.lower())


def _is_uuid(text: str) -> bool:
    return [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12] and set(text) <= set(
        "0123456789abcdef-"
    )


def _is_name(name: str) -> bool:
    plain = name.replace("-", "").replace("_", "").replace(".", "").replace("+", "")
    return 0 < len(name) <= _LONGEST_NAME and name[0] not in "-." and plain.isalnum() and plain.isascii()
