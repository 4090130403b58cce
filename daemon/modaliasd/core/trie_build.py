"""Makes the index that trie.py reads: aliases in, bytes out. Same input, same bytes.

Patterns are normalised as kmod does it, those with small sets (`d0[1-3]*`, 65 of Debian's 26,222) become one literal
pattern for each member, equal patterns of several modules become one with several rows. A row is one alias; rows
are numbered in load order, so that a sorted list of rows is a list of modules in load order.
"""

import sys
from array import array
from zlib import crc32

from modaliasd.core.alias import (
    Alias,
    BadLine,
    parse_builtin_modinfo,
    parse_modules_alias,
    parse_modules_order,
)
from modaliasd.core.errors import FormatError
from modaliasd.core.glob import (
    BACKSLASH,
    BRACKET,
    QUESTION,
    PatternError,
    compile_pattern,
    literal_length,
    parse_set,
)
from modaliasd.core.glob import STAR as ASTERISK
from modaliasd.core.names import normalize_alias
from modaliasd.core.trie import (
    END,
    FIELDS,
    HEADER_SIZE,
    HEADER_SUM_AT,
    HOP,
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
)

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

    # (pattern, how much of it lies behind, row or -1 - number of a list of rows)
    Entry = tuple[bytes, int, int]

MOST_TAILS = 3  # more patterns that go on with a star at one node than that become edges
MOST_FINDS = 24  # up to so many literals are looked for one by one if they have no telling beginning in common
MOST_ALTERNATIVES = 32  # of one pattern with sets
MOST_DEPTH = 60  # nested nodes; what lies deeper is one compiled tail
MOST_SALTS = 1000
_HEX = frozenset(b"0123456789ABCDEFabcdef,")


class _Node:
    """A node in the making. Each item: (kind, operand, value), see trie.py; `groups` belong to its star."""

    __slots__ = ("children", "edge", "groups", "hop", "key", "number", "skips", "tails")

    def __init__(self, edge: bytes) -> None:
        self.edge = edge
        self.hop = 0
        self.key = 0
        self.number = 0
        self.children: list[_Node] = []
        self.tails: list[tuple[bytes, int]] = []  # text ("" for an exact end), row
        self.skips: list[tuple[int, _Node]] = []
        self.groups: list[tuple[bytes, bool, _Node]] = []  # text, once, node


def expand_sets(pattern: bytes) -> list[bytes]:
    """The pattern with its sets written out, or itself where there are too many alternatives or odd ones."""
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


def tail_text(pattern: bytes, at: int) -> bytes:
    """The pattern from `at` on as glob.py reads it; before its first wildcard kmod takes a backslash as it is."""
    if BACKSLASH not in pattern:
        return pattern[at:]
    wildcard = max(at, literal_length(pattern))
    return pattern[at:wildcard].replace(b"\\", b"\\\\") + pattern[wildcard:]


class _Trie:
    """The nodes of a trie in the making. `roots` are the nodes that no edge leads to, the first is the root."""

    def __init__(self, entries: "list[Entry]") -> None:
        self.nodes: list[_Node] = []
        self.roots: list[_Node] = []
        self.root = self._rooted(entries, 0)

    def _rooted(self, entries: "list[Entry]", depth: int) -> _Node:
        node = self._node(entries, b"", depth)
        self.roots.append(node)
        return node

    def _node(self, entries: "list[Entry]", edge: bytes, depth: int) -> _Node:
        node = _Node(edge)
        self.nodes.append(node)
        starred: list[Entry] = []
        skipping: dict[int, list[Entry]] = {}
        literal: list[Entry] = []
        hop = HOP
        for entry in entries:
            pattern, at, row = entry
            first = pattern[at] if at < len(pattern) else -1
            if first < 0 or depth > MOST_DEPTH or first == BRACKET:
                node.tails.append((tail_text(pattern, at), row))
            elif first == ASTERISK:
                starred.append(entry)
            elif first == QUESTION:
                after = len(pattern) - len(pattern[at:].lstrip(b"?"))
                if BACKSLASH in pattern:
                    node.tails.append((tail_text(pattern, at), row))
                else:
                    skipping.setdefault(after - at, []).append((pattern, after, row))
            else:
                literal.append(entry)
                hop = min(hop, literal_length(pattern, at))
        node.skips = [(skip, self._rooted(skipping[skip], depth + 1)) for skip in sorted(skipping)]
        self._add_stars(node, starred, depth)
        if literal:
            node.hop = hop
            children: dict[bytes, list[Entry]] = {}
            for pattern, at, row in literal:
                children.setdefault(pattern[at : at + hop], []).append((pattern, at + hop, row))
            node.children = [self._node(children[text], text, depth + 1) for text in sorted(children)]
        return node

    def _add_stars(self, node: _Node, starred: "list[Entry]", depth: int) -> None:
        """Tails for a few patterns, edges behind a star for many."""
        branching: list[Entry] = []
        if len(starred) > MOST_TAILS:
            branching = [entry for entry in starred if _literal_after_star(entry[0], entry[1])]
        chosen = set(branching)
        node.tails += [(tail_text(p, at), row) for p, at, row in starred if (p, at, row) not in chosen]
        if branching:
            node.groups = self._groups([(p, at + 1, row) for p, at, row in branching], depth)

    def _groups(self, entries: "list[Entry]", depth: int) -> list[tuple[bytes, bool, _Node]]:
        """The star's groups: what to look for, whether its first place decides, the node behind it."""
        by_literal: dict[bytes, list[Entry]] = {}
        for entry in entries:
            pattern, at, _ = entry
            length = min(literal_length(pattern, at), HOP)
            by_literal.setdefault(pattern[at : at + length], []).append(entry)
        groups = []
        for anchor, literals in _anchors(sorted(by_literal)):
            behind = [(p, at + len(anchor), row) for text in literals for p, at, row in by_literal[text]]
            text = anchor
            while common := _common_literal(behind):
                text += b"*" + common
                behind = [(p, at + 1 + len(common), row) for p, at, row in behind]
            once = all(p[at : at + 1] == b"*" for p, at, _ in behind)
            groups.append((text, once, self._rooted(behind, depth + 1)))
        return groups

    def hash(self) -> int:
        """Give every node its key; the salt that keeps the keys of nodes with children apart."""
        for salt in range(1, MOST_SALTS):
            used = set()
            unique = True
            for number, root in enumerate(self.roots):
                root.key = crc32(b"%d" % number, salt)
                todo = [root]
                while todo and unique:
                    node = todo.pop()
                    if not node.children:
                        continue
                    unique = node.key not in used
                    used.add(node.key)
                    for child in node.children:
                        child.key = crc32(child.edge, node.key + salt)
                    todo += node.children
            if unique:
                return salt
        raise FormatError(f"no salt keeps {len(self.nodes)} nodes apart")


def _literal_after_star(pattern: bytes, at: int) -> bool:
    """Whether the star at `at` is followed by a literal, with nothing odd behind it."""
    return BACKSLASH not in pattern and literal_length(pattern, at + 1) > 0


def _common_literal(entries: "list[Entry]") -> bytes:
    """The literal that all entries have behind a star that stands here, if it is the whole run in each."""
    pattern, at, _ = entries[0]
    length = literal_length(pattern, at + 1) if pattern[at : at + 1] == b"*" else 0
    if not 0 < length <= HOP:
        return b""
    common = pattern[at : at + 1 + length]
    for other, place, _ in entries:
        if other[place : place + 1 + length] != common or literal_length(other, place + 1) != length:
            return b""
    return common[1:]


def _anchors(literals: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """What to look for to find any of these literals (sorted), and which ones each of them leads to.

    A common beginning is telling if it is not a mere bit of a number: "bc" and "v0000" are, "0" is not.
    """
    if len(literals) == 1:
        return [(literals[0], literals)]
    low, high = literals[0], literals[-1]
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    common = low[:length]
    if common and (len(literals) > MOST_FINDS or (len(common) > 1 and not _HEX.issuperset(common))):
        return [(common, literals)]
    if len(literals) <= MOST_FINDS:
        return [(literal, [literal]) for literal in literals]
    by_first: dict[int, list[bytes]] = {}
    for literal in literals:
        by_first.setdefault(literal[0], []).append(literal)
    return [anchor for some in by_first.values() for anchor in _anchors(some)]


class _Pool:
    """Texts, each once, each ended by NUL. That of a node without an edge is empty, and matches no string: no string
    that is looked up has a NUL."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._places: dict[bytes, int] = {}

    def place(self, text: bytes) -> int:
        """Where in the file the text stands."""
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = HEADER_SIZE + len(self._text)
            self._text += text + b"\0"
        return place

    def append(self, texts: list[bytes]) -> int:
        """Where in the file the texts stand, one after the other."""
        place = HEADER_SIZE + len(self._text)
        self._text += b"".join(text + b"\0" for text in texts)
        return place

    def padded(self) -> bytes:
        """All of it, as long as a whole number of words."""
        return bytes(self._text) + bytes(-len(self._text) % 4)


def _buckets(keys: list[int]) -> "tuple[int, array[int]]":
    """For sorted keys: the number of leading bits that make a bucket, and where each bucket starts."""
    bits = max(1, len(keys).bit_length())
    starts = array("I", bytes(4 * ((1 << bits) + 1)))
    for key in keys:
        starts[(key >> (32 - bits)) + 1] += 1
    for bucket in range(1 << bits):
        starts[bucket + 1] += starts[bucket]
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
            marked = row
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


def _write_items(node: _Node, items: "array[int]", pool: _Pool) -> int:
    """Append the node's items; their place, 0 for none."""
    star = 0
    if node.groups:
        star = len(items)
        items.append(len(node.groups))
        for text, once, behind in node.groups:
            items.extend((pool.place(text), behind.number | (ONCE if once else 0)))
    place = len(items)
    for text, row in node.tails:
        items.extend((TAIL << KIND_SHIFT | pool.place(text), row) if text else (END << KIND_SHIFT, row))
    for skip, behind in node.skips:
        items.extend((SKIP << KIND_SHIFT | skip, behind.number))
    if star:
        items.extend((STAR << KIND_SHIFT, star))
    if len(items) == place:
        return 0
    items[-2] |= LAST
    return place


def _drop_unsupported(aliases: list[Alias], bad: list[BadLine]) -> list[Alias]:
    """Without the patterns that glob.py refuses; those of modules.alias are reported."""
    good = []
    for alias in aliases:
        if b"[" in alias.pattern:
            try:
                compile_pattern(normalize_alias(alias.pattern))
            except PatternError as error:
                if alias.line:
                    bad.append(BadLine(alias.line, str(error)))
                continue
        good.append(alias)
    return good


def build_index(
    modules_alias: bytes,
    modules_order: bytes = b"",
    builtin_modinfo: bytes = b"",
    byteorder: "Literal['little', 'big']" = sys.byteorder,
) -> bytes:
    """The index file's bytes, from the bytes of modules.alias, modules.order and modules.builtin.modinfo.

    byteorder: that of the machine which will read it. Raises FormatError for tables beyond the format's limits.
    """
    aliases, bad = parse_modules_alias(modules_alias)
    aliases = _load_order(_drop_unsupported(aliases, bad), parse_modules_order(modules_order))
    builtin = _drop_unsupported(parse_builtin_modinfo(builtin_modinfo), bad)
    pool = _Pool()
    rows = _Rows(aliases + builtin, len(aliases), pool)
    trie = _Trie(rows.wild)
    salt = trie.hash()
    trie.nodes.sort(key=lambda node: (node.key, node.edge))
    for number, node in enumerate(trie.nodes):
        node.number = number
    exact = sorted((crc32(pattern, salt), pattern, row) for pattern, _, row in rows.exact)
    edges = array("I", (pool.place(node.edge) << 8 | node.hop for node in trie.nodes))
    refs = array("I", (_write_items(node, rows.items, pool) for node in trie.nodes))
    numbers = {module: number for number, module in enumerate(rows.modules)}
    bad.sort()
    warnings_at = pool.append([f"{line} {reason}".encode("utf-8", "surrogateescape") for line, reason in bad])
    bucket_bits, starts = _buckets([node.key for node in trie.nodes])
    exact_bits, exact_starts = _buckets([key for key, _, _ in exact])
    tables = (
        starts,
        array("I", (node.key for node in trie.nodes)),
        edges,
        refs,
        exact_starts,
        array("I", (key for key, _, _ in exact)),
        array("I", (pool.place(pattern) for _, pattern, _ in exact)),
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
        "salt": salt,
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
    assert header()[HEADER_SUM_AT : HEADER_SUM_AT + 4] == fields["header_sum"].to_bytes(4, byteorder)
    return header() + body
