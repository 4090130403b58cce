"""CPython's modules in C: which of them are built in, and why the others are not. Pure.

    @MODULE_ARRAY_TRUE@array arraymodule.c          a line of Modules/Setup.stdlib.in: the name, its sources
    array arraymodule.c                             the same in Modules/Setup.local, which makesetup reads first: what
                                                    is under *static* or *disabled* there stays so

All that need no library beside libc and what the source brings along are compiled. A program that is linked names those
that its image imports (link.py); the linker leaves the others out.
"""

import re
from collections.abc import Iterable, Mapping

from hostbuild.errors import InputError

_LINE = re.compile(r"#?@MODULE_\w+_(?:TRUE|STATE)@(\w+)\s+(\S.*)")

# module -> the library that it needs, which no static interpreter has
_LIBRARY_OF = {
    "_bz2": "libbz2",
    "_crypt": "libcrypt",
    "_ctypes": "libffi, which --python ctypes adds",
    "_curses": "ncurses",
    "_curses_panel": "ncurses",
    "_dbm": "a dbm",
    "_gdbm": "gdbm",
    "_hashlib": "OpenSSL",
    "_lzma": "liblzma",
    "_sqlite3": "SQLite",
    "_ssl": "OpenSSL",
    "_tkinter": "Tk",
    "_uuid": "libuuid",
    "_zstd": "libzstd",
    "nis": "libnsl",
    "ossaudiodev": "a sound system",
    "readline": "readline",
    "zlib": "zlib",
}
# Not for guests: tests, other systems', tables of hundreds of kilobytes.
_NOT_WANTED = re.compile(r"_?xx\w*|_test\w*|_scproxy|audioop|spwd|_codecs_\w+|_multibytecodec|_ctypes_test")
_DECLARED, _LISTED = "/* -- ADDMODULE MARKER 1 -- */", "/* -- ADDMODULE MARKER 2 -- */"
_ROW = re.compile(r"(?m)^[ \t]*\{\"(\w+)\",\s*\w+\},.*\n")


def local_setup(stdlib: str) -> str:
    """Write Modules/Setup.local of Modules/Setup.stdlib.in: all that is built in, static. Raises InputError."""
    lines = [f"{name} {sources}" for name, sources in _modules(stdlib) if _is_wanted(name)]
    if not lines:
        raise InputError("its Modules/Setup.stdlib.in names no modules: CPython has that file since 3.11")
    others = [
        name for name, _ in _modules(stdlib) if not _is_wanted(name)
    ]  # or 3.12 takes those that have a library
    return "\n".join(["*static*", *lines, "*disabled*", *others, ""])


def chosen(stdlib: str) -> list[str]:
    """Give the modules that local_setup() names; an interpreter has others without which it does not start."""
    return [name for name, _ in _modules(stdlib) if _is_wanted(name)]


def without(config_c: str, names: Iterable[str]) -> str:
    """Take the rows of modules out of the table of what is built in: Modules/config.c, as makesetup wrote it."""
    gone = frozenset(names)
    return _ROW.sub(lambda match: "" if match[1] in gone else match[0], config_c)


def added(config_c: str, name: str) -> str:
    """Add a module to the table of what is built in. Raises InputError for a table that reads otherwise."""
    if _DECLARED not in config_c or _LISTED not in config_c:
        raise InputError("CPython's Modules/config.c has no marks where makesetup puts modules")
    declared = config_c.replace(_DECLARED, f"extern PyObject* PyInit_{name}(void);\n\n{_DECLARED}")
    return declared.replace(_LISTED, f'    {{"{name}", PyInit_{name}}},\n\n{_LISTED}')


def reasons(names: Iterable[str]) -> Mapping[str, str]:
    """Say of modules in C why an interpreter of our own has not got them; those that it has are left out."""
    return {name: f"{name} needs {_LIBRARY_OF[name]}" for name in names if name in _LIBRARY_OF}


def _modules(stdlib: str) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for line in stdlib.splitlines() if (match := _LINE.match(line))]


def _is_wanted(name: str) -> bool:
    return name not in _LIBRARY_OF and _NOT_WANTED.fullmatch(name) is None
