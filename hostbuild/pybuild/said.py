"""What configure, make and the compiler print, understood: how far it is, and what went wrong. Pure."""

import re
from collections.abc import Iterable, Sequence

_COMPILES = re.compile(r"^\s*\S*\b(?:gcc|cc)\b.* -c ")
_ERRORS = (
    re.compile(r"^[^\s:][^:]*:\d+:(?:\d+:)? (?:fatal )?error: "),  # the compiler
    re.compile(r"^(?:\S*/)?ld(?:\.\w+)?: .*(?:undefined|cannot|error|multiple)"),  # the linker
    re.compile(r"undefined reference to"),
    re.compile(r"^configure: error: (?!in )"),
    re.compile(r"No space left on device"),
    re.compile(r"^make(?:\[\d+\])?: \*\*\* "),
)
# What a missing header or library is called -> the Debian package that brings it
_BRINGS = (
    (re.compile(r"fatal error: linux/|fatal error: asm/"), "linux-libc-dev"),
    (re.compile(r"fatal error: ffi\w*\.h|cannot find -lffi\b"), "libffi-dev"),
    (re.compile(r"fatal error: [\w/]+\.h|cannot find -l(?:c|m|dl|pthread)\b"), "libc6-dev"),
    (re.compile(r"no acceptable C compiler|gcc: not found|C compiler cannot create executables"), "gcc"),
    (re.compile(r"make: not found"), "make"),
)
_TAIL = 8


def is_compiled(line: str) -> bool:
    """Return whether a line, of make or of `make -n`, compiles something."""
    return _COMPILES.match(line) is not None


def count_compiled(lines: Iterable[str]) -> int:
    """Count what `make -n` says will be compiled."""
    return sum(map(is_compiled, lines))


def first_error(log: Sequence[str]) -> str:
    """Return the line that says what went wrong, "" where none does; make's own words only if nobody else has any."""
    for pattern in _ERRORS:
        for line in log:
            if pattern.search(line):
                return line.strip()
    return ""


def missing_package(log: Sequence[str]) -> str:
    """Name the Debian package whose absence a log tells of; "" for none."""
    return next((name for pattern, name in _BRINGS if any(map(pattern.search, log))), "")


def tail(log: Sequence[str]) -> str:
    """Return a log's last lines."""
    return "\n".join(line.rstrip()[:300] for line in [one for one in log if one.strip()][-_TAIL:])
