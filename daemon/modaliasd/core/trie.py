"""The index of all aliases: `Index` answers which modules a modalias wants, `Match` is one answer."""

from modaliasd.core.alias import BadLine, text_of
from modaliasd.core.errors import FormatError
from modaliasd.core.lean import Record
from modaliasd.core.names import UnbalancedBracketsError, normalize_alias

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"modalias-trie 0\n"


class Match(Record):
    """A module that a modalias wants, with the pattern that says so as modules.alias has it.

    line: the pattern's line in modules.alias, from 1; 0 for an alias of modules.builtin.modinfo.
    builtin: the module is part of the kernel: there is nothing to load.
    """

    module: str
    alias: str
    line: int = 0
    builtin: bool = False


class Index:
    """Reads an index from a bytes-like object. Raises FormatError for one that is damaged or of another version.

    aliases: number of patterns of modules.alias in it; warnings: the lines that were skipped.
    source_size: size in bytes of the modules.alias it was made from.
    """

    aliases: int
    warnings: "Sequence[BadLine]"
    source_size: int

    def __init__(self, data: "bytes | memoryview") -> None:
        raw = bytes(data)
        if raw[: len(MAGIC)] != MAGIC:
            raise FormatError("not an alias index, or one of another version")
        from modaliasd.core.alias import parse_builtin_modinfo, parse_modules_alias, parse_modules_order

        sizes = [int(raw[at : at + 16]) for at in (16, 32, 48)]
        texts = []
        at = 64
        for size in sizes:
            texts.append(raw[at : at + size])
            at += size
        aliases, bad = parse_modules_alias(texts[0])
        rank = parse_modules_order(texts[1])
        aliases.sort(key=lambda alias: rank.get(alias.module, 1 << 30))
        self.aliases = len(aliases)
        self.warnings = tuple(bad)
        self.source_size = sizes[0]
        self._table = [(normalize_alias(a.pattern), a) for a in aliases]
        self._builtin = [(normalize_alias(a.pattern), a) for a in parse_builtin_modinfo(texts[2])]

    def lookup(self, modalias: str) -> list[Match]:
        """The modules that the modalias wants, in kmod's load order, each once.

        Built-in ones if no other matches.
        """
        from fnmatch import fnmatchcase

        try:
            text = text_of(normalize_alias(modalias.encode("utf-8", "surrogateescape")))
        except UnbalancedBracketsError:
            return []
        for table, builtin in ((self._table, False), (self._builtin, True)):
            found: dict[str, Match] = {}
            for pattern, alias in table:
                if alias.module not in found and fnmatchcase(text, text_of(pattern)):
                    found[alias.module] = Match(alias.module, text_of(alias.pattern), alias.line, builtin)
            if found:
                return list(found.values())
        return []

    def verify(self) -> None:
        """Check every byte against the checksum. Raises FormatError."""


def build(modules_alias: bytes, modules_order: bytes = b"", builtin_modinfo: bytes = b"") -> bytes:
    """The index file's bytes, from the bytes of modules.alias, modules.order and modules.builtin.modinfo."""
    texts = (modules_alias, modules_order, builtin_modinfo)
    return MAGIC + b"".join(b"%-16d" % len(t) for t in texts) + b"".join(texts)
