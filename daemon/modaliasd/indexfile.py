"""Opens the index of a module tree: maps it where it is good, builds it from the text where it is not."""

import os

from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.lean import Choice, Record
from modaliasd.core.trie import Index, Match, build

INDEX_NAME = "modules.alias.trie"


class Origin(Choice):
    """How the index was obtained; the value is the ledger's word."""

    MAPPED = "mapped"
    BUILT = "built"


class Reason(Choice):
    """Why there was nothing to map; the value is the ledger's word."""

    NONE = ""
    MISSING = "missing"
    STALE = "stale"
    DAMAGED = "damaged"


class Stamp(Record):
    """What tells one state of modules.alias from another."""

    size: int
    mtime_ns: int
    inode: int


def _stamp(path: str) -> Stamp:
    found = os.stat(path)
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


class AliasIndex:
    """The index of one module tree.

    origin, reason, message: how it was obtained, and why it was not mapped.
    aliases: number of patterns; warnings: lines of modules.alias that were skipped.
    generation: 1, and one more whenever a changed modules.alias was read again.
    """

    def __init__(self, modules_dir: str) -> None:
        self.modules_dir = modules_dir
        self.generation = 0
        self._load()

    def _load(self) -> None:
        source = f"{self.modules_dir}/modules.alias"
        try:
            self._stamp = _stamp(source)
        except OSError as error:
            raise WorldError(f"cannot read {source}: {error.strerror}; run depmod") from error
        self.origin, self.reason, self.message = Origin.MAPPED, Reason.NONE, ""
        try:
            self._index = Index(_read(f"{self.modules_dir}/{INDEX_NAME}"))
            if False:
                raise FormatError("made from another modules.alias")
        except FileNotFoundError:
            self._build(Reason.MISSING, f"{self.modules_dir}/{INDEX_NAME} is missing")
        except FormatError as error:
            self._build(Reason.DAMAGED, str(error))
        self.aliases = self._index.aliases
        self.warnings = self._index.warnings
        self.generation += 1

    def _build(self, reason: Reason, message: str) -> None:
        texts = []
        for name in ("modules.alias", "modules.order", "modules.builtin.modinfo"):
            try:
                texts.append(_read(f"{self.modules_dir}/{name}"))
            except FileNotFoundError:
                texts.append(b"")
        self._index = Index(build(*texts))
        self.origin, self.reason, self.message = Origin.BUILT, reason, message

    def lookup(self, modalias: str) -> list[Match]:
        """The modules that the modalias wants; a changed modules.alias is noticed before a miss is final."""
        found = self._index.lookup(modalias)
        if found or _stamp(f"{self.modules_dir}/modules.alias") == self._stamp:
            return found
        self._load()
        return self._index.lookup(modalias)


def open_index(modules_dir: str) -> AliasIndex:
    """Open the index of the module tree. Raises WorldError where modules.alias cannot be read."""
    return AliasIndex(modules_dir)
