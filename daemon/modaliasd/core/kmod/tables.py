"""What depmod and the kernel's build wrote about aliases: modules.alias, modules.order, built-in ones.

- modules.alias (depmod): lines `alias PATTERN MODULE`, comments with `#`. depmod quotes nothing, so what
  stands between the first and the last blank is the pattern, blanks included (`platform:Fixed MDIO bus`).
- modules.builtin.modinfo (scripts/Makefile.modinst): NUL-ended strings `MODULE.KEY=VALUE`.
- modules.order (the kernel's build): a path a line, in link order, in which kmod loads what a modalias
  wants.
"""

from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.kmod.names import UnbalancedBracketsError, module_name, normalize_alias


class Alias(NamedTuple):
    """A pattern and the module it stands for, as the file has them.

    `line` counts from 1, 0 for a built-in one.
    """

    pattern: bytes
    module: str
    line: int = 0


class BadLine(NamedTuple):
    """A line that was skipped; `line` counts from 1."""

    line: int
    reason: str


def text_of(raw: bytes) -> str:
    """Bytes of a file or of the kernel as text; what is not UTF-8 becomes lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def parse_modules_alias(data: bytes) -> tuple[list[Alias], list[BadLine]]:
    """Parse the aliases of a modules.alias, in the file's order, and the lines that are none."""
    aliases: list[Alias] = []
    bad: list[BadLine] = []
    names: dict[bytes, str] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if line[:6] != b"alias ":
            if line.strip() and line[:1] != b"#":
                bad.append(BadLine(number, f"not `alias PATTERN MODULE`: {line[:80]!r}"))
            continue
        pattern, blank, raw = line[6:].strip().rpartition(b" ")
        pattern = pattern.strip()
        if not blank or not pattern:
            bad.append(BadLine(number, f"no module after the pattern: {line[:80]!r}"))
            continue
        if b"[" in pattern or b"]" in pattern:
            try:
                normalize_alias(pattern)
            except UnbalancedBracketsError as error:
                bad.append(BadLine(number, str(error)))
                continue
        module = names.get(raw)
        if module is None:
            module = names[raw] = module_name(text_of(raw))
        aliases.append(Alias(pattern, module, number))
    return aliases, bad


def parse_builtin_modinfo(data: bytes) -> list[Alias]:
    """Parse the aliases of what is built into the kernel.

    Those with unbalanced brackets are left out, as depmod does.
    """
    aliases: list[Alias] = []
    for entry in data.split(b"\0"):
        module, dot, rest = entry.partition(b".")
        key, equals, value = rest.partition(b"=")
        if not (module and dot and equals and value) or key != b"alias":
            continue
        try:
            normalize_alias(value)
        except UnbalancedBracketsError:
            continue
        aliases.append(Alias(value, module_name(text_of(module)), 0))
    return aliases


def parse_modules_order(data: bytes) -> dict[str, int]:
    """Each module's place in the load order.

    Where a module stands twice, its last place counts, as for depmod.
    """
    return {
        module_name(text_of(line.strip())): place
        for place, line in enumerate(data.split(b"\n"))
        if line.strip()
    }
