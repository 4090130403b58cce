"""Reads policy.toml: text in, tables with line numbers out. The format is a part of TOML 1.0 (toml.io):

    hotplug = "deny"                  # a key of the file
    [[rule]]                          # a rule begins; what follows is its own
    action = "allow"
    subsystem = ["usb", "scsi"]       # arrays hold strings and stay on their line
    removable = true

Strings are "basic", with the escapes \\" and \\\\ only, or 'literal'. Everything else of TOML is refused by its
line: a policy must not be read otherwise than it was meant. Whatever is accepted, tomllib reads alike
(tests/guest/core/policy/test_rules.py); tomllib itself would cost a boot some 60 ms, and knows no lines.
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

BARE_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = str | bool | tuple[str, ...]


class Table(NamedTuple):
    """The file's own keys, or a rule's: key -> (value, line). `line` is that of its header, 0 for the file's."""

    line: int
    entries: dict[str, tuple[Value, int]]


class TextError(Exception):
    """A line that is not of the format: `line` and the reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def parse_tables(text: str) -> list[Table]:
    """Parse the file's own table, then the rules in their order. Raises TextError for the first line that is wrong."""
    tables = [Table(0, {})]
    for number, raw in enumerate(text.removesuffix("\n").split("\n"), 1):
        line = raw.removesuffix("\r").strip(" \t")
        if any((ord(char) < 32 and char != "\t") or 0x7F <= ord(char) < 0x80 for char in line):
            raise TextError(number, "a control character")
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if _without_comment(line) != "[[rule]]":
                raise TextError(number, f"the only table is [[rule]], not {line[:40]!r}")
            tables.append(Table(number, {}))
            continue
        key, equals, rest = line.partition("=")
        key = key.strip(" \t")
        if not equals or not key or not BARE_KEY.issuperset(key):
            raise TextError(number, f"neither [[rule]] nor KEY = VALUE: {line[:40]!r}")
        entries = tables[-1].entries
        if key in entries:
            raise TextError(number, f"{key} was already given in line {entries[key][1]}")
        entries[key] = (_value(rest.strip(" \t"), number), number)
    return tables


def _without_comment(text: str) -> str:
    return text.partition("#")[0].strip(" \t")


def _value(text: str, line: int) -> Value:
    if text.startswith(('"', "'")):
        value, rest = _string(text, line)
        if _without_comment(rest):
            raise TextError(line, f"unexpected {rest[:40]!r} after the string")
        return value
    if text.startswith("["):
        return _array(text, line)
    word = _without_comment(text)
    if word not in {"true", "false"}:
        raise TextError(line, f"expected a string, an array of strings, true or false, not {word[:40]!r}")
    return word == "true"


def _string(text: str, line: int) -> tuple[str, str]:
    """Parse the string that `text` begins with; return it and what follows it."""
    quote = text[0]
    if text.startswith(quote * 3):
        raise TextError(line, "multi-line strings are not supported here")
    characters: list[str] = []
    at = 1
    while at < len(text):
        char = text[at]
        if char == quote:
            return "".join(characters), text[at + 1 :].strip(" \t")
        if char == "\\" and quote == '"':
            at += 1
            char = text[at : at + 1]
            if char not in {'"', "\\"}:
                raise TextError(line, f'unsupported escape \\{char}: only \\" and \\\\ work here')
        characters.append(char)
        at += 1
    raise TextError(line, "the string does not end on its line")


def _array(text: str, line: int) -> tuple[str, ...]:
    values: list[str] = []
    rest = text[1:].strip(" \t")
    while not rest.startswith("]"):
        if not rest.startswith(('"', "'")):
            raise TextError(line, "an array must hold only strings and end on its line")
        value, rest = _string(rest, line)
        values.append(value)
        if rest.startswith(","):
            rest = rest[1:].strip(" \t")
        elif not rest.startswith("]"):
            raise TextError(line, "an array's strings are separated by commas and closed by ]")
    if _without_comment(rest[1:]):
        raise TextError(line, f"unexpected {rest[1:41]!r} after the array")
    return tuple(values)
