"""kmod's two normalisations: of a module's name, and of an alias or a modalias.

Rules (kmod, shared/util.c, modname_normalize and alias_normalize; seen alike in versions 30 to 34):
- A module's name is its file's name up to the first dot, with `-` turned into `_`. "kernel/" and ".ko" have none.
- An alias (a pattern) and a modalias (a device's string) are made comparable by the same function: `-` is
  `_` outside brackets, a bracket expression ends at the first `]` after its `[`, and a `]` without a `[` or
  a `[` without a `]` is an error, in the device's string as much as in the pattern.
- Both are C strings in a buffer of PATH_MAX: they end at a NUL, and what follows byte 4,095 is not looked
  at.
"""

from __future__ import annotations

from modaliasd.core.errors import FormatError

NAME_LIMIT = 4095  # PATH_MAX - 1, bytes


class UnbalancedBracketsError(FormatError):
    """An alias or a modalias with a `[` or a `]` that has no partner; kmod answers EINVAL."""


def module_name(name: str) -> str:
    """Return the kernel's name of a module, from its name or from the path of its file, compressed or not."""
    return name.rpartition("/")[2].partition(".")[0].replace("-", "_")


def text_of(raw: bytes) -> str:
    """Return the bytes of a file or of the kernel as text; what is not UTF-8 becomes lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def underscored(text: str) -> str | None:
    """`-` turned into `_` outside brackets; None if the brackets are not balanced."""
    if "[" not in text and "]" not in text:
        return text.replace("-", "_")
    done = ""
    while "[" in text:
        before, _, rest = text.partition("[")
        inside, closed, text = rest.partition("]")
        if not closed or "]" in before:
            return None
        done += f"{before.replace('-', '_')}[{inside}]"
    return None if "]" in text else done + text.replace("-", "_")


def normalize_alias(alias: bytes) -> bytes:
    """Make an alias or a modalias comparable. Raises UnbalancedBracketsError."""
    if 0 in alias:
        alias = alias[: alias.index(0)]
    if b"[" not in alias and b"]" not in alias:
        return alias[:NAME_LIMIT].replace(b"-", b"_")
    parts: list[bytes] = []
    position = 0
    while True:
        opening = alias.find(b"[", position)
        outside = alias[position:] if opening < 0 else alias[position:opening]
        if b"]" in outside[: NAME_LIMIT - position]:
            raise UnbalancedBracketsError(f"{alias!r}: a ] without a [ before it")
        parts.append(outside.replace(b"-", b"_"))
        if opening < 0 or opening >= NAME_LIMIT:
            return b"".join(parts)[:NAME_LIMIT]
        closing = alias.find(b"]", opening)
        if closing < 0:
            raise UnbalancedBracketsError(f"{alias!r}: a [ without a ] after it")
        position = closing + 1
        parts.append(alias[opening:position])
