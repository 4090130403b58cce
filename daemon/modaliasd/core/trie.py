"""The index of all aliases, read in place: which modules does a modalias want?

The index is a trie. An edge is a run of literal bytes, a node's wildcard tails are compiled from fnmatch's syntax
when they are first needed, and nothing is read but what a lookup passes. Part of Debian 12's table:

    (root) -pci-> -:v-+-> * ... d*sv*sd  then bc -+-> 01sc06i01 -> * ahci
                      |                           +-> 0Csc03i20 -> * ehci_pci
                      +-00008086d-> -00001521sv-> *sd*bc*sc*i*  igb
    (root) -of:-> N -> * T  then C -+-> fsl,-> imx6q_usb -> (end), *
                                    +-> tcg,-> tpm_tis_spi -> (end), C -> *

- **Literal edges are hashed.** All edges out of a node are of one length, the node's `hop`: the shortest run that
  stands there; longer ones are cut into several edges. A step is one slice, one crc32 and a look into one bucket. A
  node's key is crc32(edge, key of its parent + salt), which for a given edge is one-to-one in the parent's key; no
  two nodes with children have the same key (the builder tries salts until that is so), and the edge's bytes are
  compared: a step is exact, though a node does not name its parent.
- **Tails.** Up to three patterns that go on with a `*` at a node are tails: literals that have to be found one after
  the other. Taking each at its first place never loses a match (see glob.py).
- **Stars.** More than that, and the literals after the star are edges again, in groups with a common beginning (the
  anchor). `bytes.find` looks for the anchors; behind each place a trie of its own goes on. A node reached again
  further right in the same lookup has only its exact ends left to try, so that a lookup takes at most one step for
  each node and place, whatever the string.
- Patterns without wildcards have a table of their own, hashed as a whole.

Tried and left: one dictionary of literal prefixes (some prefixes have 1,500 patterns behind them, and all of it must be
loaded at the start); kmod's byte-wise trie (a step in CPython costs as much as a whole edge here); a list of edge
lengths a bus (seven to nine probes for a miss, where cutting edges gives up after the first); fields split by bus
(faster for pci by a tenth, but a special case for each bus, and wrong for the patterns that do not keep to them).
Measured figures: docs/matching.md.

Layout: a header of words, the pool of texts, tables of words. A word has 32 bits, in the byte order of the machine
the index is for; the order mark tells a reader of the other order.
"""

from zlib import crc32

from modaliasd.core.alias import BadLine, text_of
from modaliasd.core.errors import FormatError
from modaliasd.core.glob import compile_pattern
from modaliasd.core.lean import Record
from modaliasd.core.names import NAME_LIMIT, UnbalancedBracketsError, normalize_alias

INDEX_NAME = "modules.alias.trie"  # beside modules.alias
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from modaliasd.core.glob import Matcher

    class Buffer(Protocol):
        """What an index is read from: bytes, or a mapping of a file."""

        def __len__(self) -> int: ...
        def __getitem__(self, place: slice, /) -> bytes: ...
        def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int: ...

    # (row, pattern up to the last wildcard passed, where the text after it begins, where it ends, the rest)
    Found = tuple[int, bytes, int, int, bytes]
    # (literals to find, what has to hold behind them, the text of it all)
    Tail = tuple[tuple[bytes, ...], Matcher | None, bytes]
    # (literals to find, their text, the anchor, only its first place counts, node)
    Group = tuple[tuple[bytes, ...], bytes, bytes, bool, int]


MAGIC = b"MODTRIE\n"
VERSION = 1
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
    "salt",
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

# A node's items are pairs of words. The first has the kind, a bit for the last item, and an operand; the second the row
# (or where several rows stand), or where the star's groups stand, or a node.
LAST = 1 << 31
KIND_SHIFT = 29
TAIL, STAR, END, SKIP = range(4)
OPERAND = (1 << KIND_SHIFT) - 1
MANY = 1 << 31  # in a row: it is the place of a list of rows
RAW = 1 << 30  # in a row: its pattern as the file has it stands in the pool
ROW = RAW - 1
ONCE = 1 << 31  # in a group's node: only the anchor's first place counts
HOP = 255  # a node's edge text: place in the pool << 8 | length of the edges out of the node

_DASHES = bytes(range(256)).replace(b"-", b"_")
_AWKWARD = b"[]\0"


class Match(Record):
    """A module that a modalias wants, with the pattern that says so as modules.alias has it.

    line: the pattern's line in modules.alias, from 1; 0 for an alias of modules.builtin.modinfo.
    builtin: the module is part of the kernel: there is nothing to load.
    """

    module: str
    alias: str
    line: int = 0
    builtin: bool = False


def read_header(data: "Buffer") -> dict[str, int]:
    """The header's fields. Raises FormatError where they cannot be believed."""
    head = data[:HEADER_SIZE]
    if len(head) < HEADER_SIZE or head[: len(MAGIC)] != MAGIC:
        raise FormatError("not an alias index")
    fields = dict(zip(FIELDS, memoryview(head)[len(MAGIC) :].cast("I"), strict=True))
    if fields["order_mark"] != ORDER_MARK:
        raise FormatError("an alias index for machines of the other byte order")
    if fields["version"] != VERSION:
        raise FormatError(f"an alias index of version {fields['version']}, not {VERSION}")
    if crc32(head[:HEADER_SUM_AT] + bytes(4) + head[HEADER_SUM_AT + 4 :]) != fields["header_sum"]:
        raise FormatError("the header does not have the checksum it claims")
    if fields["size"] != len(data):
        raise FormatError(f"{len(data)} bytes long, not {fields['size']} as its header says")
    return fields


class Index:
    """An index in a bytes object or in a mapping of a file. Raises FormatError for what is not one.

    aliases: number of patterns of modules.alias in it; warnings: the lines of it that were skipped.
    sizes: bytes of the modules.alias, modules.order and modules.builtin.modinfo it was made from.
    """

    def __init__(self, data: "Buffer") -> None:
        header = read_header(data)
        self._data = data
        self._body_sum = header["body_sum"]
        self.aliases = header["patterns"]
        self.sizes = (header["alias_size"], header["order_size"], header["builtin_size"])
        self.warnings = _read_warnings(data, header) if header["warnings"] else ()
        self._search = _searcher(data, header)

    def lookup(self, modalias: str) -> list[Match]:
        """The modules that the modalias wants, in kmod's load order, each once; built-in ones if no others.

        None for a modalias with unbalanced brackets. Raises FormatError where the index turns out to be damaged.
        """
        raw = modalias.encode("utf-8", "surrogateescape")
        text = raw.translate(_DASHES, _AWKWARD)
        if len(text) != len(raw) or len(text) > NAME_LIMIT:
            try:
                text = normalize_alias(raw)
            except UnbalancedBracketsError:
                return []
        try:
            return self._search(text)
        except (IndexError, ValueError, RecursionError) as error:
            raise FormatError(f"damaged: looking up {modalias!r} led out of it ({error})") from error

    def verify(self) -> None:
        """Check all of the body against its checksum: some 4 ms of guest time. Raises FormatError."""
        if crc32(self._data[HEADER_SIZE : len(self._data)]) != self._body_sum:
            raise FormatError("the body does not have the checksum that the header claims")


def _text_at(data: "Buffer", at: int) -> bytes:
    return data[at : data.find(b"\0", at)]


def _read_warnings(data: "Buffer", header: dict[str, int]) -> tuple[BadLine, ...]:
    warnings = []
    at = header["warnings_at"]
    for _ in range(header["warnings"]):
        text = _text_at(data, at)
        number, _, reason = text_of(text).partition(" ")
        warnings.append(BadLine(int(number), reason))
        at += len(text) + 1
    return tuple(warnings)


def _compile_tail(text: bytes) -> "Tail":
    """What has to be found, in which order, and what has to hold behind it."""
    if text[:1] != b"*" or b"?" in text or b"[" in text or b"\\" in text:
        return (), compile_pattern(text), text
    *literals, last = text.split(b"*")
    found = tuple(literal for literal in literals if literal)
    if not last:
        return found, None, text
    return found, lambda string, at: string.endswith(last) and len(string) - len(last) >= at, text


def _sections(data: "Buffer", header: dict[str, int]) -> "list[memoryview]":
    """The tables behind the pool, in the file's order. Raises FormatError if they do not fit."""
    whole = memoryview(data)  # type: ignore[arg-type]  # bytes and mmap both have the buffer protocol
    views = []
    at = HEADER_SIZE + header["pool"]
    nodes, exact = header["nodes"], header["exact"]
    for count in (
        *((1 << header["bucket_bits"]) + 1, nodes, nodes, nodes),
        *((1 << header["exact_bits"]) + 1, exact, exact, exact),
        *(header["items"], header["rows"], header["rows"], header["modules"], header["raw"], header["raw"]),
    ):
        views.append(whole[at : at + 4 * count].cast("I"))
        at += 4 * count
    if at != len(data):
        raise FormatError("the tables are not as long as the header says")
    return views


def _searcher(data: "Buffer", header: dict[str, int]) -> "Callable[[bytes], list[Match]]":  # noqa: C901
    """The search function. All that it reads is in its closure: attribute lookups cost a third of the time."""
    sections = _sections(data, header)
    starts, keys, edges, refs = sections[:4]
    exact_starts, exact_keys, exact_texts, exact_rows = sections[4:8]
    items, lines, row_modules, modules, raw_rows, raw_texts = sections[8:]
    shift, exact_shift = 32 - header["bucket_bits"], 32 - header["exact_bits"]
    salt, root, first_builtin = header["salt"], header["root"], header["first_builtin"]
    tails: dict[int, Tail] = {}
    stars: dict[int, list[Group]] = {}
    names: dict[int, str] = {}
    new_match = tuple.__new__

    def groups_at(place: int) -> "list[Group]":
        groups: list[Group] = []
        for at in range(place + 1, place + 1 + 2 * items[place], 2):
            *literals, anchor = _text_at(data, items[at]).split(b"*")
            if not anchor:
                raise ValueError("an empty anchor")
            text = b"".join(literal + b"*" for literal in literals)
            groups.append((tuple(literals), text, anchor, items[at + 1] >= ONCE, items[at + 1] & ~ONCE))
        stars[place] = groups
        return groups

    def walk(  # noqa: C901, PLR0912
        text: bytes, node: int, at: int, head: bytes, start: int, seen: "set[int] | None", found: "list[Found]"
    ) -> None:
        """Collect in `found` all that matches text from `at` on, from this node on.

        head and text[start:at] are the pattern so far; seen, if any, are the nodes that were reached further left.
        """
        key = keys[node]
        find = text.find
        while True:
            ref = refs[node]
            if ref:
                again = False
                if seen is not None:
                    again = node in seen
                    seen.add(node)
                while True:
                    word = items[ref]
                    tail = tails.get(word)
                    if tail is None:
                        kind = word >> KIND_SHIFT & 3
                        value = items[ref + 1]
                        if kind == TAIL:
                            tail = tails[word] = _compile_tail(_text_at(data, word & OPERAND))
                        elif kind == END:
                            if at == len(text):
                                found.append((value, head, start, at, b""))
                        elif kind == SKIP:
                            skip = word & OPERAND
                            if skip and at + skip <= len(text):
                                passed = head + text[start:at] + b"?" * skip
                                walk(text, value, at + skip, passed, at + skip, seen, found)
                        elif not again:
                            star(text, value, at, head + text[start:at] + b"*", seen, found)
                    if tail is not None and not again:
                        place = at
                        for literal in tail[0]:
                            place = find(literal, place)
                            if place < 0:
                                break
                            place += len(literal)
                        else:
                            if tail[1] is None or tail[1](text, place):
                                found.append((items[ref + 1], head, start, at, tail[2]))
                    if word >= LAST:
                        break
                    ref += 2
            hop = edges[node] & HOP
            if not hop:
                return
            stop = at + hop
            edge = text[at:stop]
            key = crc32(edge, key + salt)
            bucket = key >> shift
            for node in range(starts[bucket], starts[bucket + 1]):
                if keys[node] == key:
                    place = edges[node] >> 8
                    if data[place : place + hop] == edge:
                        break
            else:
                return
            at = stop

    def star(
        text: bytes, place: int, at: int, head: bytes, seen: "set[int] | None", found: "list[Found]"
    ) -> None:
        """Collect in `found` all that matches text from anywhere at or after `at`, by the star's groups."""
        find = text.find
        for literals, passed, anchor, once, node in stars.get(place) or groups_at(place):
            start = at
            for literal in literals:
                start = find(literal, start)
                if start < 0:
                    break
                start += len(literal)
            else:
                start = find(anchor, start)
                if start < 0:
                    continue
                if once:
                    walk(text, node, start + len(anchor), head + passed, start, seen, found)
                    continue
                if seen is None:
                    seen = set()
                while start >= 0:
                    walk(text, node, start + len(anchor), head + passed, start, seen, found)
                    start = find(anchor, start + 1)

    def match(row: int, by: "Found", text: bytes) -> Match:
        number = row & ROW
        module = row_modules[number]
        name = names.get(module)
        if name is None:
            name = names[module] = text_of(_text_at(data, modules[module]))
        if row & RAW:
            from _bisect import bisect_left

            pattern = _text_at(data, raw_texts[bisect_left(raw_rows, number)])
        else:
            pattern = by[1] + text[by[2] : by[3]] + by[4]
        alias = pattern.decode("utf-8", "surrogateescape")
        return new_match(Match, (name, alias, lines[number], number >= first_builtin))

    def search(text: bytes) -> list[Match]:
        found: list[Found] = []
        key = crc32(text, salt)
        bucket = key >> exact_shift
        for entry in range(exact_starts[bucket], exact_starts[bucket + 1]):
            if exact_keys[entry] == key and _text_at(data, exact_texts[entry]) == text:
                found.append((exact_rows[entry], text, 0, 0, b""))
        walk(text, root, 0, b"", 0, None, found)
        if not found:
            return []
        if len(found) == 1 and found[0][0] < MANY:
            return [match(found[0][0], found[0], text)]
        rows: dict[int, tuple[int, Found]] = {}
        for by in found:
            row = by[0]
            if row < MANY:
                rows[row & ROW] = row, by
                continue
            place = row & ~MANY
            for at in range(place + 1, place + 1 + items[place]):
                rows[items[at] & ROW] = items[at], by
        matches: dict[int, Match] = {}
        for number in sorted(rows):
            if number >= first_builtin and matches and min(rows) < first_builtin:
                break
            module = row_modules[number]
            if module not in matches:
                matches[module] = match(*rows[number], text)
        return list(matches.values())

    return search


def build(modules_alias: bytes, modules_order: bytes = b"", builtin_modinfo: bytes = b"") -> bytes:
    """The index file's bytes, for a machine of this one's byte order (see trie_build.build_index)."""
    from modaliasd.core.trie_build import build_index

    return build_index(modules_alias, modules_order, builtin_modinfo)
