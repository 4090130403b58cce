"""The tables beside modules.dep that no boot reads on its way to the disk (it has an index made of some).

All but the softdeps; modules.devname is read after the first walk.

    modules.alias             alias PATTERN MODULE            depmod; quotes nothing, so a pattern can hold blanks
    modules.symbols           alias symbol:NAME MODULE        depmod
    modules.weakdep           weakdep MODULE NAME...          depmod of kmod 33: what the module may ask for later
    modules.requested         MODULE ASKER WORD               hostbuild: who may ask for it, and by which word
    modules.devname           MODULE NODE TYPEMAJOR:MINOR     depmod; "fuse fuse c10:229"
    modules.order             PATH                            the kernel's build, in link order: kmod's order of loading
    modules.builtin.modinfo   MODULE.KEY=VALUE, NUL-ended     scripts/Makefile.modinst

Lines that are blank or begin with `#` say nothing. A line that is none of its file's is left out, as kmod leaves it
out, and becomes a Problem: the daemon writes it down and goes on, the host shows it. Source: kmod's tools/depmod.c and
libkmod/libkmod-index.c.
"""

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.modules_dep import configuration_lines, nameless_lines
from modaliasd.core.kmod.names import UnbalancedBracketsError, module_name, normalize_alias, text_of

_MAJORS, _MINORS = (1 << 12) - 1, (1 << 20) - 1  # the largest: include/linux/kdev_t.h, MINORBITS
_LONGEST = 16  # characters of TYPEMAJOR:MINOR
_SHOWN = 80  # characters of a line that a problem shows


class Alias(NamedTuple):
    """A pattern and the module it stands for, as the file has them.

    `line` counts from 1, 0 for a built-in one.
    """

    pattern: bytes
    module: str
    line: int = 0


class Weakdep(NamedTuple):
    """Modules, or aliases, that `module` may ask for once it is in."""

    module: str
    wanted: tuple[str, ...]
    file: str = ""
    line: int = 0


class MayAsk(NamedTuple):
    """A module that may have the kernel ask for another by `word`, an alias or a pattern: `dm-*`."""

    module: str
    asker: str
    word: str


class DeviceNode(NamedTuple):
    """A node in /dev whose opening has the kernel load `module`. kind: "c" or "b"; path: below /dev."""

    module: str
    path: str
    kind: str
    major: int
    minor: int


def parse_modules_alias(data: bytes, file: str = "modules.alias") -> tuple[list[Alias], list[Problem]]:
    """Parse the aliases of a modules.alias, in the file's order, and the lines that are none."""
    aliases: list[Alias] = []
    bad: list[Problem] = []
    names: dict[bytes, str] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if line[:6] != b"alias ":
            if line.strip() and line[:1] != b"#":
                bad.append(Problem(file, number, f"not `alias PATTERN MODULE`: {line[:_SHOWN]!r}"))
            continue
        pattern, blank, raw = line[6:].strip().rpartition(b" ")
        pattern = pattern.strip()
        if not blank or not pattern:
            bad.append(Problem(file, number, f"no module after the pattern: {line[:_SHOWN]!r}"))
            continue
        if b"[" in pattern or b"]" in pattern:
            try:
                normalize_alias(pattern)
            except UnbalancedBracketsError as error:
                bad.append(Problem(file, number, str(error)))
                continue
        module = names.get(raw)
        if module is None:
            module = names[raw] = module_name(text_of(raw))
        aliases.append(Alias(pattern, module, number))
    return aliases, bad


def parse_builtin_modinfo(
    data: bytes, file: str = "modules.builtin.modinfo"
) -> tuple[list[Alias], list[Problem]]:
    """Parse the aliases of what is built into the kernel; a problem's line is the entry's number, from 1.

    Those with unbalanced brackets are left out, as depmod does.
    """
    aliases: list[Alias] = []
    bad: list[Problem] = []
    for number, entry in enumerate(data.split(b"\0"), 1):
        module, dot, rest = entry.partition(b".")
        key, equals, value = rest.partition(b"=")
        if not (module and dot and key and equals):
            if entry.strip():
                bad.append(Problem(file, number, f"not `MODULE.KEY=VALUE`: {entry[:_SHOWN]!r}"))
            continue
        if key != b"alias" or not value:
            continue
        try:
            normalize_alias(value)
        except UnbalancedBracketsError as error:
            bad.append(Problem(file, number, str(error)))
            continue
        aliases.append(Alias(value, module_name(text_of(module)), 0))
    return aliases, bad


def parse_modules_order(data: bytes, file: str = "modules.order") -> tuple[dict[str, int], list[Problem]]:
    """Return each module's place in the load order.

    Where a module stands twice, its last place counts, as for depmod.
    """
    places = {
        module_name(text_of(line.strip())): place
        for place, line in enumerate(data.split(b"\n"))
        if line.strip()
    }
    if "" not in places:
        return places, []
    del places[""]
    return places, nameless_lines(text_of(data), file)


def parse_weakdeps(text: str, file: str = "modules.weakdep") -> tuple[tuple[Weakdep, ...], list[Problem]]:
    """Return the lines of modules.weakdep."""
    lines, bad = configuration_lines(text, "weakdep", file)
    return tuple(Weakdep(module, tuple(words), file, number) for number, module, words in lines), bad


def parse_requested(text: str, file: str = "modules.requested") -> tuple[list[MayAsk], list[Problem]]:
    """Parse modules.requested: who may ask for which module while it runs."""
    found: list[MayAsk] = []
    bad: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if len(words) == 3:
            found.append(MayAsk(module_name(words[0]), module_name(words[1]), words[2]))
        elif words and not line.startswith("#"):
            bad.append(Problem(file, number, f"not `MODULE ASKER WORD`: {line[:_SHOWN]!r}"))
    return found, bad


def parse_symbols(text: str, file: str = "modules.symbols") -> tuple[dict[str, str], list[Problem]]:
    """modules.symbols: `alias symbol:NAME MODULE` gives {"symbol:NAME": MODULE}."""
    symbols: dict[str, str] = {}
    bad: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if len(words) == 3 and words[0] == "alias":
            symbols[words[1]] = module_name(words[2])
        elif words and not line.startswith("#"):
            bad.append(Problem(file, number, f"not `alias symbol:NAME MODULE`: {line[:_SHOWN]!r}"))
    return symbols, bad


def parse_devname(text: str, file: str = "modules.devname") -> tuple[list[DeviceNode], list[Problem]]:
    """modules.devname: the nodes that have to be in /dev before anybody can ask for their modules."""
    nodes: list[DeviceNode] = []
    bad: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        node = _node(line.split())
        if node is None:
            bad.append(Problem(file, number, f"not `MODULE NODE TYPEMAJOR:MINOR`: {line[:_SHOWN]!r}"))
        else:
            nodes.append(node)
    return nodes, bad


def _node(words: list[str]) -> DeviceNode | None:
    """Return the node of a line's words; None where it is none, or would be anywhere but below /dev."""
    if len(words) != 3 or words[2][0] not in "bc" or len(words[2]) > _LONGEST:
        return None
    major, colon, minor = words[2][1:].partition(":")
    if not (colon and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        return None
    if not {"", ".", ".."}.isdisjoint(words[1].split("/")) or int(major) > _MAJORS or int(minor) > _MINORS:
        return None
    return DeviceNode(module_name(words[0]), words[1], words[2][0], int(major), int(minor))
