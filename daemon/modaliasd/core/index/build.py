"""Makes the index that lookup.py reads: aliases in, bytes out. Same input, same bytes.

Patterns are normalised as kmod does it; those with small sets (`d0[1-3]*`, 65 of Debian's 26,222) become
one literal pattern for each member; equal patterns of several modules become one with several rows. A row
is one alias; rows are numbered in load order, so that a sorted list of rows is a list of modules in load
order.
"""

from __future__ import annotations

import sys
from array import array
from binascii import crc32

from modaliasd.core.errors import FormatError, Problem
from modaliasd.core.index.format import (
    END,
    FIELDS,
    FIRST,
    GRAMS,
    HEADER_SIZE,
    KIND_SHIFT,
    LAST,
    MAGIC,
    MANY,
    ONCE,
    ORDER_MARK,
    RAW,
    SKIP,
    STAR,
    TAIL,
    VERSION,
    write_warning,
)
from modaliasd.core.index.search import EXACT_HEAD
from modaliasd.core.index.shape import FEW_TAILS, Node, Trie
from modaliasd.core.kmod.glob import PatternError, compile_pattern, literal_length, parse_set
from modaliasd.core.kmod.names import normalize_alias
from modaliasd.core.kmod.tables import (
    Alias,
    parse_builtin_modinfo,
    parse_modules_alias,
    parse_modules_order,
)

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

    from modaliasd.core.index.shape import Entry

    ByteOrder = Literal["little", "big"]

MOST_ALTERNATIVES = 32  # of one pattern with sets
END_KEYS = (0xFFFFFFFF, 0)  # end the table of exact keys: no search runs past them
NO_PARENT = 0xFFFFFFFF


def expand_sets(pattern: bytes) -> list[bytes]:
    """Return the pattern with its sets written out, or itself where there are too many alternatives or odd ones."""
    done: list[bytes] = []
    todo = [pattern]
    while todo:
        one = todo.pop()
        opening = one.find(b"[")
        if opening < 0:
            done.append(one)
            continue
        members, after = parse_set(one, opening)
        if members is None or len(members) > MOST_ALTERNATIVES or len(done) + len(todo) > MOST_ALTERNATIVES:
            return [pattern]
        for member in sorted(members, reverse=True):
            if not chr(member).isascii() or not chr(member).isalnum():
                return [pattern]
            todo.append(one[:opening] + bytes((member,)) + one[after:])
    return done if 0 < len(done) <= MOST_ALTERNATIVES else [pattern]


class _Pool:
    """Texts, each once, each ended by NUL. A node that no edge leads to has the empty one as its own."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._places: dict[bytes, int] = {}

    def place(self, text: bytes) -> int:
        """Return where in the file the text stands."""
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = HEADER_SIZE + len(self._text)
            self._text += text + b"\0"
        return place

    def append(self, texts: list[bytes]) -> int:
        """Return where in the file the texts stand, one after the other."""
        place = HEADER_SIZE + len(self._text)
        self._text += b"".join(text + b"\0" for text in texts)
        return place

    def padded(self) -> bytes:
        """Return all of it, as long as a whole number of words."""
        return bytes(self._text) + bytes(-len(self._text) % 4)


def _buckets(keys: list[int]) -> tuple[int, array[int]]:
    """For sorted keys: how many leading bits make a bucket, and the first key of each bucket or beyond."""
    bits = max(1, len(keys).bit_length())
    starts = array("I", bytes(4 << bits))
    place = 0
    for bucket in range(1 << bits):
        while place < len(keys) and keys[place] >> (32 - bits) < bucket:
            place += 1
        starts[bucket] = place
    return bits, starts


class _Rows:
    """All aliases in load order, and which rows each normalised pattern stands for."""

    def __init__(self, aliases: list[Alias], first_builtin: int, pool: _Pool) -> None:
        self.aliases = aliases
        self.first_builtin = first_builtin
        self.modules = list(dict.fromkeys(alias.module for alias in aliases))
        self.raw_rows = array("I")
        self.raw_texts = array("I")
        by_pattern: dict[bytes, list[int]] = {}
        for row, alias in enumerate(aliases):
            pattern = normalize_alias(alias.pattern)
            alternatives = expand_sets(pattern) if b"[" in pattern and b"\\" not in pattern else [pattern]
            marked = row << 1
            if pattern != alias.pattern or alternatives != [pattern] or b"\\" in pattern:
                self.raw_rows.append(row)
                self.raw_texts.append(pool.place(alias.pattern))
                marked |= RAW
            for alternative in alternatives:
                by_pattern.setdefault(alternative, []).append(marked)
        self.items = array("I", (0,))
        self.exact: list[Entry] = []
        self.wild: list[Entry] = []
        for pattern, rows in by_pattern.items():
            value = rows[0]
            if len(rows) > 1:
                value = MANY | len(self.items)
                self.items.append(len(rows))
                self.items.extend(rows)
            wild = literal_length(pattern) < len(pattern)
            (self.wild if wild else self.exact).append((pattern, 0, value))


def _load_order(aliases: list[Alias], order: dict[str, int]) -> list[Alias]:
    """Sorted as kmod sorts: by modules.order, then by place in the file; a module's aliases together."""
    last = len(order) + len(aliases)
    first_line: dict[str, int] = {}
    for alias in aliases:
        first_line.setdefault(alias.module, alias.line)
    return sorted(aliases, key=lambda a: (order.get(a.module, last), first_line[a.module], a.line))


def _write_items(node: Node, rows: _Rows, pool: _Pool, byteorder: ByteOrder) -> int:
    """Append the node's items; their place, 0 for none."""
    items = rows.items
    star = grams = 0
    if node.groups:
        star = len(items)
        items.append(len(node.groups))
        for text, once, behind in node.groups:
            only = b"" if once else behind.only_edges()
            items.extend((pool.place(text), behind.number | (ONCE if once else 0), pool.place(only)))
    if node.grams:
        lists = [_write_list(_tail_items(node.grams[gram], pool), items) for gram in sorted(node.grams)]
        grams = len(items)
        items.append(len(lists))
        items.extend(int.from_bytes(gram, byteorder) for gram in sorted(node.grams))
        items.extend(lists)
    pairs = _first_of(_tail_items(node.tails, pool), rows)
    pairs += [(SKIP << KIND_SHIFT | skip, behind.number) for skip, behind in node.skips]
    if star:
        pairs.append((STAR << KIND_SHIFT, star))
    if grams:
        pairs.append((GRAMS << KIND_SHIFT, grams))
    return _write_list(pairs, items)


def _tail_items(tails: list[tuple[bytes, int]], pool: _Pool) -> list[tuple[int, int]]:
    return [(TAIL << KIND_SHIFT | pool.place(t) if t else END << KIND_SHIFT, row) for t, row in tails]


def _first_of(pairs: list[tuple[int, int]], rows: _Rows) -> list[tuple[int, int]]:
    """Give many tails of one module a list of their own, where the first match is enough; return all pairs."""
    by_module: dict[str, list[tuple[int, int]]] = {}
    for word, row in pairs:
        if row < MANY and word >> KIND_SHIFT == TAIL:
            by_module.setdefault(rows.aliases[row >> 1].module, []).append((word, row))
    for tails in by_module.values():
        if len(tails) > FEW_TAILS:
            tails.sort(key=lambda tail: tail[1])
            place = _write_list(tails, rows.items)
            pairs = [pair for pair in pairs if pair not in tails] + [(FIRST << KIND_SHIFT, place)]
    return pairs


def _write_list(pairs: list[tuple[int, int]], items: array[int]) -> int:
    """Append pairs of words, the last one marked; their place, 0 for none."""
    place = len(items)
    for pair in pairs:
        items.extend(pair)
    if not pairs:
        return 0
    items[-2] |= LAST
    return place


def _drop_unsupported(aliases: list[Alias], bad: list[Problem]) -> list[Alias]:
    """Without the patterns that glob.py refuses; those of modules.alias are reported."""
    good = []
    for alias in aliases:
        if b"[" in alias.pattern:
            try:
                compile_pattern(normalize_alias(alias.pattern))
            except PatternError as error:
                if alias.line:
                    bad.append(Problem("modules.alias", alias.line, str(error)))
                continue
        good.append(alias)
    return good


def build_index(
    modules_alias: bytes,
    modules_order: bytes = b"",
    builtin_modinfo: bytes = b"",
    byteorder: ByteOrder = sys.byteorder,
) -> bytes:
    """Build the index file's bytes from the bytes of modules.alias, modules.order and modules.builtin.modinfo.

    byteorder: that of the machine which will read it. Raises FormatError for what the format cannot hold.
    """
    aliases, bad = parse_modules_alias(modules_alias)
    order, out_of_order = parse_modules_order(modules_order)
    aliases = _load_order(_drop_unsupported(aliases, bad), order)
    builtin, not_builtin = parse_builtin_modinfo(builtin_modinfo)
    builtin = _drop_unsupported(builtin, bad)
    bad += out_of_order + not_builtin
    pool = _Pool()
    rows = _Rows(aliases + builtin, len(aliases), pool)
    trie = Trie(rows.wild)
    trie.number()
    exact = sorted((crc32(pattern), pattern, row) for pattern, _, row in rows.exact)
    edges = array("I", (pool.place(node.edge) << 8 | node.hop for node in trie.nodes))
    parents = array("I", (node.parent.number if node.parent else NO_PARENT for node in trie.nodes))
    refs = array("I", (_write_items(node, rows, pool, byteorder) for node in trie.nodes))
    numbers = {module: number for number, module in enumerate(rows.modules)}
    bad.sort()
    warnings_at = pool.append([write_warning(problem) for problem in bad])
    exact_heads = pool.place(b"*".join(sorted({pattern[:EXACT_HEAD] for _, pattern, _ in exact})))
    bucket_bits, starts = _buckets([node.key for node in trie.nodes if node.parent])
    starts.append(len(trie.nodes) - len(trie.roots))
    exact_bits, exact_starts = _buckets([key for key, _, _ in exact])
    tables = (
        starts,
        parents,
        edges,
        refs,
        exact_starts,
        array("I", [*(key for key, _, _ in exact), *END_KEYS]),
        array("I", [*(pool.place(pattern) for _, pattern, _ in exact), pool.place(b"")]),
        array("I", (row for _, _, row in exact)),
        rows.items,
        array("I", (alias.line for alias in rows.aliases)),
        array("I", (numbers[alias.module] for alias in rows.aliases)),
        array("I", (pool.place(module.encode("utf-8", "surrogateescape")) for module in rows.modules)),
        rows.raw_rows,
        rows.raw_texts,
    )
    for table in tables:
        if byteorder != sys.byteorder:
            table.byteswap()
    text = pool.padded()
    if HEADER_SIZE + len(text) >= 1 << 24:
        raise FormatError(f"{len(text)} bytes of text in the aliases; the index can hold 16 MiB")
    body = text + b"".join(table.tobytes() for table in tables)
    fields = {
        "order_mark": ORDER_MARK,
        "version": VERSION,
        "size": HEADER_SIZE + len(body),
        "header_sum": 0,
        "body_sum": crc32(body),
        "alias_size": len(modules_alias),
        "order_size": len(modules_order),
        "builtin_size": len(builtin_modinfo),
        "patterns": len(aliases),
        "warnings": len(bad),
        "warnings_at": warnings_at,
        "exact_heads": exact_heads,
        "root": trie.root.number,
        "pool": len(text),
        "bucket_bits": bucket_bits,
        "nodes": len(trie.nodes),
        "exact_bits": exact_bits,
        "exact": len(exact),
        "items": len(rows.items),
        "rows": len(rows.aliases),
        "modules": len(rows.modules),
        "raw": len(rows.raw_rows),
        "first_builtin": len(aliases),
    }

    def header() -> bytes:
        return MAGIC + b"".join(fields[name].to_bytes(4, byteorder) for name in FIELDS)

    fields["header_sum"] = crc32(header())
    return header() + body
