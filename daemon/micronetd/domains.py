"""Domain names as they come over the wire, compressed or not: bytes -> names (RFC 1035, 3.1 and 4.1.4). Pure."""

from __future__ import annotations

import re

MOST_NAMES = 6  # of a search list: what resolvers have taken of old (resolv.conf(5))
_LONGEST = 253  # characters of a name
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_POINTER = 0xC0


def is_name(text: object) -> bool:
    """Tell whether it is a name that may stand in resolv.conf."""
    return isinstance(text, str) and ".." not in text and _NAME.fullmatch(text) is not None


def parse_names(data: bytes, *, compressed: bool) -> list[str]:
    """Return the names that `data` holds one after the other; what is no name is left out, and with a cut one it ends.

    compressed: a name may go on in an earlier one (RFC 3397, 2; in advertisements none does, RFC 8106, 5.2).
    """
    names: list[str] = []
    at = 0
    while at < len(data) and len(names) < MOST_NAMES:
        if not data[at]:  # padding
            at += 1
            continue
        name, end = _name(data, at, compressed=compressed)
        if end is None:
            break
        if is_name(name) and name not in names:
            names.append(name)
        at = end
    return names


def _name(data: bytes, at: int, *, compressed: bool) -> tuple[str, int | None]:
    """Return the name that begins at `at`, and where the next one does; None for a name that does not end."""
    labels: list[str] = []
    end: int | None = None
    before = at  # each pointer leads further to the front, so that none leads in a ring
    while at < len(data):
        length = data[at]
        if not length:
            return ".".join(labels), at + 1 if end is None else end
        if length & _POINTER == _POINTER and compressed and at + 1 < len(data):
            target = (length & ~_POINTER) << 8 | data[at + 1]
            if target >= before:
                break
            end = at + 2 if end is None else end
            at = before = target
            continue
        label = data[at + 1 : at + 1 + length]
        if (
            length & _POINTER
            or len(label) < length
            or sum(map(len, labels)) + len(labels) + length > _LONGEST
        ):
            break
        labels.append(
            label.decode("latin-1") if b"." not in label else " "
        )  # a dot within a label is no name of ours
        at += 1 + length
    return "", None
