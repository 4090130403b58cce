"""The index file's format: header, tables and the meaning of their words; lookup.py draws the whole.

Layout: the header, the pool of texts (each ended by NUL), the tables. The header is a magic string and
words, the tables are words. A word has 32 bits in the byte order of the machine that reads the file; its
order mark tells a reader of the other order.
"""

from __future__ import annotations

from binascii import crc32

from modaliasd.core.errors import FormatError, Problem
from modaliasd.core.kmod.names import text_of

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Protocol

    class Buffer(Protocol):
        """What an index is read from: bytes, or a mapping of a file."""

        def __len__(self) -> int: ...
        def __getitem__(self, place: slice, /) -> bytes: ...
        def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int:
            """As bytes.find."""


INDEX_NAME = "modules.alias.trie"  # how both halves call the file, which lies beside modules.alias
MAGIC = b"MODTRIE\n"
_ALIASES = "modules.alias"
VERSION = 2
ORDER_MARK = 0x01020304
FIELDS = (
    "order_mark",
    "version",
    "size",  # of the whole file, bytes
    "header_sum",  # crc32 of the header, this word being 0
    "body_sum",  # crc32 of all that follows the header
    "alias_size",  # bytes of modules.alias, of modules.order and of modules.builtin.modinfo
    "order_size",
    "builtin_size",
    "patterns",  # aliases of modules.alias in here
    "warnings",  # lines of modules.alias that are not
    "warnings_at",  # their text in the pool: "LINE REASON" each, ended by NUL
    "exact_heads",  # in the pool: the first bytes of all aliases without wildcards
    "root",  # the node where every lookup starts
    "pool",  # bytes; the tables follow in this order, each with its number of entries
    "bucket_bits",
    "nodes",
    "exact_bits",
    "exact",
    "items",
    "rows",
    "modules",
    "raw",
    "first_builtin",  # the first row that is an alias of something built in
)
HEADER_SIZE = len(MAGIC) + 4 * len(FIELDS)
HEADER_SUM_AT = len(MAGIC) + 4 * FIELDS.index("header_sum")

# A node's items are pairs of words. The first has the kind, a bit for the last item, and an operand: where
# the tail's text stands, or how many question marks. The second is the row of an alias (or where several rows
# stand), or where the star's groups stand, or the node behind the question marks, or where the grams stand, or
# where tails stand of which the first that matches is enough. A group is three words: where its text stands, its
# node, and where the edges out of that node are listed. Grams are their number, the grams (four bytes as they
# stand in a string, read as a word), and for each where its tails stand.
LAST = 1 << 31
KIND_SHIFT, KINDS = 28, 7
TAIL, STAR, END, SKIP, GRAMS, FIRST = range(6)
OPERAND = (1 << KIND_SHIFT) - 1
MANY = 1 << 31  # in a row: it is the place of a list of rows
RAW = 1  # in a row, which is its number << 1: its pattern as the file has it stands in the pool
GRAM = 4  # bytes: as many as a word has
ONCE = 1 << 31  # in a group's node: only the anchor's first place counts
HOP = 255  # in a node's edge: the length of the edges out of it; above, the place of its own edge's text


def read_header(data: Buffer) -> dict[str, int]:
    """Parse the header's fields. Raises FormatError where they cannot be believed."""
    head = data[:HEADER_SIZE]
    if len(head) < HEADER_SIZE or head[: len(MAGIC)] != MAGIC:
        raise FormatError("not an alias index")
    fields = dict(zip(FIELDS, memoryview(head)[len(MAGIC) :].cast("I"), strict=True))
    if fields["order_mark"] != ORDER_MARK:
        raise FormatError("an alias index for machines of the other byte order")
    if fields["version"] != VERSION:
        raise FormatError(f"an alias index of version {fields['version']}, not {VERSION}")
    if crc32(head[:HEADER_SUM_AT] + bytes(4) + head[HEADER_SUM_AT + 4 :]) != fields["header_sum"]:
        raise FormatError("its header's checksum is wrong")
    if fields["size"] != len(data):
        raise FormatError(f"{len(data)} bytes long, not {fields['size']} as its header says")
    return fields


def check_body(data: Buffer, body_sum: int) -> None:
    """Check all that follows the header against its checksum: some 4 ms of guest time. Raises FormatError."""
    if crc32(data[HEADER_SIZE : len(data)]) != body_sum:
        raise FormatError("its body's checksum does not match the header")


def tables(data: Buffer, header: dict[str, int]) -> list[memoryview]:
    """Return the tables, in the file's order. Raises FormatError if they do not fit."""
    whole = memoryview(data)  # type: ignore[arg-type]  # bytes and mmap both have the buffer protocol
    views = []
    at = HEADER_SIZE + header["pool"]
    nodes, exact = header["nodes"], header["exact"]
    for count in (
        *((1 << header["bucket_bits"]) + 1, nodes, nodes, nodes),
        *(1 << header["exact_bits"], exact + 2, exact + 1, exact),
        *(header["items"], header["rows"], header["rows"], header["modules"], header["raw"], header["raw"]),
    ):
        views.append(whole[at : at + 4 * count].cast("I"))
        at += 4 * count
    if at != len(data):
        raise FormatError("its tables are not as long as the header says")
    return views


def text_at(data: Buffer, at: int) -> bytes:
    """Return the text of the pool that begins here."""
    return data[at : data.find(b"\0", at)]


def write_warning(problem: Problem) -> bytes:
    """Return a skipped line as text of the pool: "LINE MESSAGE" for modules.alias, else "FILE:LINE MESSAGE"."""
    file = "" if problem.file == _ALIASES else f"{problem.file}:"
    return f"{file}{problem.line} {problem.message}".encode("utf-8", "surrogateescape")


def read_warnings(data: Buffer, header: dict[str, int]) -> tuple[Problem, ...]:
    """Return the lines of modules.alias, and of what else went into the index, that were skipped."""
    warnings = []
    at = header["warnings_at"]
    for _ in range(header["warnings"]):
        text = text_at(data, at)
        place, _, message = text_of(text).partition(" ")
        file, _, number = place.rpartition(":")
        warnings.append(Problem(file or _ALIASES, int(number), message))
        at += len(text) + 1
    return tuple(warnings)
