"""The ledger's door: one line in, a record whose fields have the types and bounds of docs/ledger.schema.json out.

A ledger comes from a guest, over a serial line, from a stranger's bug report. Every reader has its lines admitted
here, and nobody behind the door checks again:

    admit(b'{"type":"load","t_us":5,"module":"e1000","outcome":"inserted"}')    -> the record
    admit(b'{"type":"device","t_us":5,"action":"add"}')     raises FormatError: it has no devpath

A field that is listed has its type; one that is required here is there: what readers cannot do without, which is
less than what the daemon writes, since ledgers of other versions tell what they can. Types and fields of later
versions pass through where they are harmless: nested no deeper than DEPTH, all numbers finite and below 2**64.
"""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.write import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Check = Callable[[object], str]  # gives what is wrong with a value, "" for nothing
    Record = dict[str, Any]

DEPTH = 16  # how deep objects and lists may stand in one another
DEVPATH_LIMIT = 4096  # characters: PATH_MAX (limits.h), more than sysfs has for any device
_TIME_END = (
    1 << 53
)  # microseconds, 285 years; a JSON number holds integers up to here exactly (RFC 8259, section 6)
_COUNT_END = 1 << 64  # sequence numbers have 64 bits (lib/kobject_uevent.c)

# A string, whole or cut off by the line's end, or a bracket outside of strings. Each byte is looked at once.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[][{}]', re.DOTALL)


class ForeignFormatError(FormatError):
    """A `start` line of a format that this program does not read."""


def admit(line: bytes) -> Record:
    """Return the record that the line (without its newline) holds. Raises FormatError if it does not fit."""
    if not line.isascii():
        raise FormatError("it is not ASCII")
    if _is_deep(line):
        raise FormatError(f"it is nested deeper than {DEPTH} levels")
    try:
        record = _DECODER.decode(line.decode("ascii"))
    except JSONDecodeError as e:
        raise FormatError(f"it is not JSON: {e.msg} at character {e.pos + 1}") from e
    except ValueError as e:  # sys.set_int_max_str_digits, or a word of JavaScript's
        raise FormatError("it is not JSON: a number that is none, or of thousands of digits") from e
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise FormatError("it is not a record with a type")
    if wrong := _misfit(record, TYPES.get(record["type"], _UNKNOWN)):
        raise FormatError(wrong)
    if record["type"] == "start" and record.get("format", FORMAT) != FORMAT:
        raise ForeignFormatError(f"it is of format {record['format']}; this program reads format {FORMAT}")
    return record


def _is_deep(line: bytes) -> bool:
    """Do the line's brackets nest deeper than DEPTH? Asked before json, which is recursive."""
    if line.count(b"[") + line.count(b"{") <= DEPTH:
        return False
    depth = 0
    for found in _TOKEN.finditer(line):
        token = found[0]
        if token in b"[{":
            depth += 1
            if depth > DEPTH:
                return True
        elif token in b"]}":
            depth -= 1
    return False


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


_DECODER = JSONDecoder(parse_constant=_refuse)


class Fields:
    """The fields of a kind of object, with their checks. required: those that have to be there."""

    def __init__(self, required: str, **checks: Check) -> None:
        self.required = tuple(required.split())
        self.checks = checks


def _misfit(record: Record, fields: Fields) -> str:
    """Return what is wrong with the object, in words; "" if it fits."""
    for name in fields.required:
        if name not in record:
            return f"it has no {name}"
    checks = fields.checks
    for name, value in record.items():
        if wrong := checks.get(name, any_value)(value):
            return f"its {name if name in checks else 'unknown field'} {wrong}"
    return ""


def _has_bytes(value: str) -> bool:
    """Return whether it is what bytes were read as (PEP 383); a lone surrogate of another kind never is."""
    if value.isascii():
        return True
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def text(value: object) -> str:
    """Check for a string."""
    if not isinstance(value, str):
        return "is not text"
    return "" if _has_bytes(value) else "has half a character"


def devpath(value: object) -> str:
    """Check for a path below /sys."""
    if not isinstance(value, str) or not value.startswith("/"):
        return "is not a path"
    if not _has_bytes(value):
        return "has half a character"
    return "" if len(value) <= DEVPATH_LIMIT else f"is longer than {DEVPATH_LIMIT} characters"


def time(value: object) -> str:
    """Check for microseconds of CLOCK_BOOTTIME."""
    return "" if type(value) is int and 0 <= value < _TIME_END else "is not a time"


def count(value: object) -> str:
    """Check for a number of things, or a sequence number."""
    return "" if type(value) is int and 0 <= value < _COUNT_END else "is not a count"


def status(value: object) -> str:
    """Check for an exit status."""
    return "" if type(value) is int and 0 <= value <= 255 else "is not an exit status"


def milliseconds(value: object) -> str:
    """Check for a span of time."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _TIME_END
    return "" if fits else "is not a span of time"


def flag(value: object) -> str:
    """Check for true or false."""
    return "" if isinstance(value, bool) else "is not true or false"


def names(value: object) -> str:
    """Check for a list of strings."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "" if all(map(_has_bytes, value)) else "has half a character"
    return "is not a list of names"


def counts(value: object) -> str:
    """Check for numbers of things, each by the name of its kind."""
    if isinstance(value, dict) and not any(count(number) for number in value.values()):
        return ""
    return "is not an object of counts"


def any_value(value: object) -> str:
    """Check for whatever JSON has; no reader knows what it means. Its depth is bounded already."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (int, float)) and not abs(one) < _COUNT_END:  # so is NaN
            return "has a number out of range"
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
    return ""


def _objects(fields: Fields) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, list):
            return "are not a list"
        for item in value:
            if not isinstance(item, dict):
                return "have an item that is not an object"
            if wrong := _misfit(item, fields):
                return f"have an item that does not fit: {wrong}"
        return ""

    return check


MATCH = Fields("module", alias=text, line=count, file=text, module=text, builtin=flag)
CAUSE = Fields(
    "",
    devpath=devpath,
    subsystem=text,
    modalias=text,
    alias=text,
    line=count,
    file=text,
    module=text,
    softdep=text,
    request=text,
)
INITCALL = Fields("name", name=text, end_us=time, ms=milliseconds)
initcalls = _objects(INITCALL)
matches = _objects(MATCH)
causes = _objects(CAUSE)


def _line(required: str = "", **checks: Check) -> Fields:
    return Fields(required, type=text, t_us=time, **checks)


_UNKNOWN = _line()

# The record types. A closed choice (an action, an outcome) is text here: later versions may know more.
TYPES: dict[str, Fields] = {
    "start": _line(
        format=count,
        version=text,
        kernel=text,
        pid=count,
        respawn=count,
        mode=text,
        modprobe=text,
        index=text,
        aliases=count,
    ),
    "boot": _line(unpack_us=time, unpacked_us=time, init_us=time, initcalls=initcalls),
    "walk": _line(walk=count, reason=text),
    "walked": _line(walk=count, devices=count, with_modalias=count, matched=count),
    "device": _line(
        "devpath",
        action=text,
        devpath=devpath,
        subsystem=text,
        modalias=text,
        driver=text,
        module=text,
        devtype=text,
        devname=text,
        ifname=text,
        of_node=text,
        seqnum=count,
        walk=count,
        matches=matches,
        **{"from": devpath},
    ),
    "load": _line(
        "module outcome",
        module=text,
        outcome=text,
        causes=causes,
        more_causes=count,
        deps=names,
        message=text,
        failure=text,
        blocked_by=text,
        queued_us=time,
        start_us=time,
        end_us=time,
        ms=milliseconds,
    ),
    "verdict": _line(
        "module",
        verdict=text,
        module=text,
        modalias=text,
        devpath=devpath,
        phase=text,
        file=text,
        line=count,
    ),
    "frozen": _line(),
    "unload": _line("module", module=text, devpath=devpath, outcome=text, message=text),
    "slow": _line("module", module=text, causes=causes, running_ms=milliseconds),
    "module": _line("module", action=text, module=text, causes=causes, seqnum=count),
    "unbound": _line("devpath", devpath=devpath, subsystem=text, modalias=text, drivers=names, modules=names),
    "lost": _line(reason=text, events=count, seqnum=count),
    "dropped": _line(reason=text, count=count),
    "warning": _line(what=text, path=text, line=count, message=text),
    "settled": _line(
        seqnum=count,
        devices=count,
        with_modalias=count,
        matched=count,
        bound=count,
        loads=count,
        failed=count,
        ms=milliseconds,
        lost=count,
        recovered=count,
        unseen=count,
        dropped=count,
    ),
    "root": _line(
        "outcome",
        outcome=text,
        root=text,
        device=text,
        fstype=text,
        init=text,
        fsck=text,
        reason=text,
        message=text,
        fix=text,
        details=names,
    ),
    "trimmed": _line(from_us=time, at_us=time, lines=count, types=counts),
    "exit": _line(status=status),
}
