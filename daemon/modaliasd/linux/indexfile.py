"""Opens the index of a module tree: reads it where it is good, builds it from the text where it is not.

The index is good if it is whole and was made from files as long as those that lie beside it, and
modules.alias is not younger than it. (An image's files all have one time, so "not younger" is all that can
be asked; depmod in the running guest makes modules.alias younger.) Opening checks the header; `check` reads
and sums everything and is for a time when nobody waits. Whatever is wrong is told in `reason` and
`message`, never only fixed.
"""

from __future__ import annotations

import posix

from modaliasd.core.errors import FormatError, WorldError
from modaliasd.core.fasttypes import Enum, NamedTuple
from modaliasd.core.index.format import INDEX_NAME
from modaliasd.core.index.lookup import Hit, Index, build
from modaliasd.linux.config import read_bytes

SOURCES = ("modules.alias", "modules.order", "modules.builtin.modinfo")


class IndexOrigin(Enum):
    """How the index was obtained; the value is the ledger's word."""

    READ = "mapped"  # the word is older than the reading of it in one piece
    BUILT = "built"


class IndexReason(Enum):
    """Why the index file was not good, if so."""

    NONE = ""
    MISSING = "missing"
    STALE = "stale"
    DAMAGED = "damaged"  # or of another version, or for another byte order


class _Stamp(NamedTuple):
    """What tells one state of a file from another."""

    size: int
    mtime_ns: int
    inode: int


class AliasIndex:
    """The index of one module tree.

    origin, reason, message: how it was obtained, and why it could not be used.
    aliases: number of patterns; warnings: lines of modules.alias that were skipped.
    generation: 1, and one more whenever the index was opened again: because modules.alias had changed, or
    because what was read turned out to be damaged.
    """

    def __init__(self, modules_dir: str, *, tolerant: bool = False) -> None:
        """tolerant: make do with an empty modules.alias where it cannot be read."""
        self.modules_dir = modules_dir
        self._tolerant = tolerant
        self._source: _Stamp | None = None
        self.generation = 0
        self._doubtful = False  # did a damaged index answer before it was found out?
        self._open()

    def lookup(self, modalias: str) -> list[Hit]:
        """Return the modules that the modalias wants, in load order.

        A changed modules.alias is noticed before a miss is final.
        """
        try:
            found = self._index.lookup(modalias)
        except FormatError as error:
            self._rebuild_damaged(error)
            self._doubtful = True
            found = self._index.lookup(modalias)
        if found or not self.changed():
            return found
        self._open()
        return self._index.lookup(modalias)

    def changed(self) -> bool:
        """Return whether modules.alias is another file than it was when the index was opened."""
        try:
            return _stamp(f"{self.modules_dir}/{SOURCES[0]}") != self._source
        except OSError:
            return False  # being replaced: what is known stays until there is something new

    def check(self) -> bool:
        """Sum up all of the index, some 4 ms of guest time; build from the text if it is damaged.

        False if it was, or if a lookup has found that before: answers before that may have been wrong then.
        """
        if self._doubtful or self.origin is IndexOrigin.BUILT:
            right, self._doubtful = not self._doubtful, False
            return right
        try:
            self._index.verify()
        except FormatError as error:
            self._rebuild_damaged(error)
            return False
        return True

    def _open(self) -> None:
        source = f"{self.modules_dir}/{SOURCES[0]}"
        try:
            self._source = _stamp(source)
        except OSError as error:
            message = f"cannot read {source}: {error.strerror}; create it with depmod"
            if not self._tolerant:
                raise WorldError(message) from error
            self._source = None
            self._build(IndexReason.MISSING, message)
            return
        try:
            self._index = self._read_good()
        except FileNotFoundError:
            self._build(IndexReason.MISSING, f"{self._path} is missing")
            return
        except _StaleError as error:
            self._build(IndexReason.STALE, f"{self._path} {error}")
            return
        except OSError as error:
            self._build(IndexReason.DAMAGED, f"{self._path} cannot be used: {error.strerror}")
            return
        except FormatError as error:
            self._rebuild_damaged(error)
            return
        self._note(IndexOrigin.READ, IndexReason.NONE, "")

    @property
    def _path(self) -> str:
        return f"{self.modules_dir}/{INDEX_NAME}"

    def _read_good(self) -> Index:
        data, stamp = _read_index(self._path)
        index = Index(data)
        sizes = tuple(_size(f"{self.modules_dir}/{name}") for name in SOURCES)
        if sizes != index.sizes:
            raise _StaleError(f"was made from files of {index.sizes} bytes, and now they have {sizes}")
        if self._source is not None and self._source.mtime_ns > stamp.mtime_ns:
            raise _StaleError(f"is older than {SOURCES[0]}")
        return index

    def _build(self, reason: IndexReason, message: str) -> None:
        texts = []
        for name in SOURCES:
            try:
                texts.append(read_bytes(f"{self.modules_dir}/{name}"))
            except FileNotFoundError:
                texts.append(b"")
            except OSError as error:
                if not self._tolerant:
                    raise WorldError(
                        f"cannot read {self.modules_dir}/{name}: {error.strerror}; create it with depmod"
                    ) from error
                message += f"; cannot read {name}: {error.strerror}"
                texts.append(b"")
        try:
            self._index = Index(build(*texts))
        except FormatError as error:
            if not self._tolerant:
                raise
            message += f"; {error}"
            self._index = Index(build(b""))
        self._note(IndexOrigin.BUILT, reason, message)

    def _rebuild_damaged(self, error: FormatError) -> None:
        self._build(IndexReason.DAMAGED, f"{self._path} cannot be used: {error}")

    def _note(self, origin: IndexOrigin, reason: IndexReason, message: str) -> None:
        self.origin, self.reason, self.message = origin, reason, message
        self.aliases = self._index.aliases
        self.warnings = self._index.warnings
        self.generation += 1


class _StaleError(FormatError):
    """The index was made from other files than those beside it."""


def open_index(modules_dir: str, *, tolerant: bool = False) -> AliasIndex:
    """Open the index of the module tree. Raises WorldError where one of SOURCES cannot be read.

    tolerant: no error then, but an index without patterns, whose `message` says why; it is opened again when there
    is a modules.alias. A daemon that ended for this would only be started again, for ever.
    """
    return AliasIndex(modules_dir, tolerant=tolerant)


def _stamp(path: str) -> _Stamp:
    found = posix.stat(path)
    return _Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _size(path: str) -> int:
    try:
        return posix.stat(path).st_size
    except FileNotFoundError:
        return 0


def _read_index(path: str) -> tuple[bytes, _Stamp]:
    """Return the file's bytes and its stamp.

    They are read, and not mapped: whoever truncates a mapped file ends its readers by SIGBUS. In guest time this costs
    nothing that can be measured for an image's 209 modules, and 3 ms of 64 to the first modprobe for a distribution's
    4,023 (benchmarks/bench_boot.py).
    """
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        found = posix.fstat(descriptor)
        stamp = _Stamp(found.st_size, found.st_mtime_ns, found.st_ino)
        data = posix.read(descriptor, found.st_size)
        while len(data) < found.st_size and (more := posix.read(descriptor, found.st_size - len(data))):
            data += more
        return data, stamp
    finally:
        posix.close(descriptor)
