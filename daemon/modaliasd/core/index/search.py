"""Walks the index that lookup.py describes: which rows does a string match?

All that the search reads is in one closure: attribute lookups would cost a third of the time. It takes the
string twice: as bytes, of which slices are hashed, and as text with a character for each byte, in which
CPython finds things twice as fast as it does in bytes.
"""

from __future__ import annotations

from _struct import unpack
from binascii import crc32

from modaliasd.core.index.format import (
    END,
    FIRST,
    GRAMS,
    HOP,
    KIND_SHIFT,
    KINDS,
    LAST,
    ONCE,
    OPERAND,
    SKIP,
    STAR,
    TAIL,
    tables,
    text_at,
)
from modaliasd.core.kmod.glob import compile_pattern

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.index.format import Buffer

    # (row, or MANY and the place of a list of rows; pattern up to the last wildcard passed; where the text after it
    # begins, where it ends; the rest of the pattern)
    Found = tuple[int, str, int, int, str]
    Literals = tuple[tuple[str, int], ...]
    Rest = Callable[[str, int], bool]
    # A tail: (the rarest of its literals, the literals, what has to hold behind them if anything, its text).
    # Of any other kind: (None, (), None, "").
    Tail = tuple[str | None, Literals, Rest | None, str]
    Op = tuple[
        str | None, Literals, Rest | None, str, int, "_Other | None"
    ]  # a tail, its row, or what is no tail
    # (key, hop, children that have children or stars, items, number)
    Node = tuple[int, int, dict[bytes, "Node"], list[Op], int]
    # (the only edges out of the node if they are known, the anchor, its length, the same with the hop; the
    # rarest of the literals, those before the anchor, the text of those, whether only its first place counts,
    # node)
    Group = tuple[frozenset[bytes], str, int, int, str, Literals, str, bool, Node]
    # (the item, its second word, where in the string, the pattern up to the last wildcard passed, where the text after
    # it begins, whether only exact ends count any more)
    Handler = Callable[["_Other", int, int, str, int, bool], None]

KEPT = (STAR, GRAMS, FIRST)  # kinds whose parts are decoded but once
BYTES_A_TAIL = 2  # of a string: to look their grams up takes as long as to try a tail
FEW = 2  # items; a node with more is kept decoded, as one with children is
EXACT_HEAD = 4  # bytes at the beginning of a string by which the table of exact patterns is passed over
NO_TAIL: Tail = (None, (), None, "")


class _Other:
    """An item that is no tail: the function that takes it on, its operand, and its parts once they are decoded."""

    __slots__ = ("by_literal", "grams", "groups", "handle", "kept", "operand", "tails")

    def __init__(self, handle: Handler, operand: int, kept: bool) -> None:
        self.handle = handle
        self.operand = operand
        self.kept = kept
        self.groups: list[Group] = []
        self.grams: tuple[frozenset[int], dict[int, int]] | None = None
        self.by_literal: dict[str, Node] = {}
        self.tails: list[Op] = []


def _rarest(literals: list[str]) -> str:
    """Return the literal that fewest strings can be expected to have: the last of the longest."""
    return max(reversed(literals), key=len)


def _compile_tail(text: str) -> Tail:
    """Return what has to be found, in which order, and what has to hold behind it."""
    if text[:1] != "*" or "?" in text or "[" in text or "\\" in text:
        matches = compile_pattern(text.encode("latin-1"))
        return "", (), lambda string, at: matches(string.encode("latin-1"), at), text
    *literals, last = text.split("*")
    found = tuple([(literal, len(literal)) for literal in literals if literal])
    rarest = _rarest([*literals, last])
    if not last:
        return rarest, found, None, text
    return rarest, found, lambda string, at: string.endswith(last) and len(string) - len(last) >= at, text


def grams_of(raw: bytes) -> tuple[int, ...]:
    """Return all runs of four bytes, as words, and some more that straddle the ends."""
    padded = raw + bytes(6)
    size = len(raw) + 3 & ~3
    shifted = padded[:size] + padded[1 : size + 1] + padded[2 : size + 2] + padded[3 : size + 3]
    return unpack(f"={size}I", shifted)  # twice as fast as a memoryview's words are to iterate over


def searcher(data: Buffer, header: dict[str, int]) -> Callable[[bytes, str], list[Found]]:  # noqa: C901
    """Return the search function, which gives what a string matches, in no order."""
    sections = tables(data, header)
    starts, parents, edges, refs = sections[:4]
    exact_starts, exact_keys, exact_texts, exact_rows = sections[4:8]
    items = sections[8]
    shift, exact_shift = 32 - header["bucket_bits"], 32 - header["exact_bits"]
    exact_heads = frozenset(text_at(data, header["exact_heads"]).split(b"*"))
    tails: dict[int, Tail] = {}
    # those that no other item follows: most leaves have one, and nothing else
    last_tails: dict[int, Tail] = {}
    others: dict[int, _Other] = {}
    by_gram: dict[int, Node] = {}

    def load_ops(ref: int) -> list[Op]:
        """Return the items that begin here; stars and grams among them are decoded when they are first needed."""
        ops: list[Op] = []
        word = 0 if ref else LAST
        while word < LAST:
            word = items[ref]
            kind = word >> KIND_SHIFT & KINDS
            if kind == TAIL:
                tail = tails.get(word)
                if tail is None:
                    tail = tails[word] = _compile_tail(text_at(data, word & OPERAND).decode("latin-1"))
                    if word >= LAST:
                        last_tails[word] = tail
                ops.append((*tail, items[ref + 1], None))
            else:
                kept = kind in KEPT
                special = others.get(items[ref + 1]) if kept else None
                if special is None:
                    special = _Other(handlers[kind], word & OPERAND, kept)
                    if kept:
                        others[items[ref + 1]] = special
                ops.append((*NO_TAIL, items[ref + 1], special))
            ref += 2
        return ops

    def load(number: int) -> Node:
        """Make a node that no edge leads to; its number is its key."""
        return number, edges[number] & HOP, {}, load_ops(refs[number]), number

    def load_grams(place: int) -> tuple[frozenset[int], dict[int, int]]:
        """Return the grams at this place of the items, and where the items behind each of them are."""
        first, behind = place + 1, place + 1 + items[place]
        lists = dict(zip(items[first:behind], items[behind : behind + items[place]], strict=True))
        return frozenset(lists), lists

    def load_literals(special: _Other, lists: dict[int, int]) -> dict[str, Node]:
        """Return all tails behind these grams, by the rarest literal of each; they are kept in `special`."""
        by_literal = special.by_literal
        for ref in lists.values():
            for op in load_ops(ref):
                by_literal.setdefault(op[0] or "", (0, 0, {}, [], ~ref))[3].append(op)
        return by_literal

    def load_groups(special: _Other, place: int) -> list[Group]:
        """Return the groups of the star at this place of the items; they are kept in `special`."""
        groups = special.groups
        for at in range(place + 1, place + 1 + 3 * items[place], 3):
            *literals, anchor = text_at(data, items[at]).decode("latin-1").split("*")
            if not anchor:
                raise ValueError("an empty anchor")
            passed = "".join([literal + "*" for literal in literals])
            before = tuple([(literal, len(literal)) for literal in literals])
            node = load(items[at + 1] & ~ONCE)
            only = text_at(data, items[at + 2])
            hop, width, once = node[1], len(anchor), items[at + 1] >= ONCE
            edges_out = frozenset([only[i : i + hop] for i in range(0, len(only), hop or 1)])
            rarest = _rarest([*literals, anchor])
            groups.append((edges_out, anchor, width, width + hop, rarest, before, passed, once, node))
        return groups

    # The lookup that is going on: the string, twice, and its grams if they were needed; what was found; the
    # nodes reached further left, if any.
    raw, text = b"", ""
    words: tuple[int, ...] | None = None
    found: list[Found] = []
    seen: set[int] | None = None

    def walk(node: Node, at: int, head: str, start: int) -> None:  # noqa: C901
        """Collect in `found` all that matches text[at:] from this node on.

        head + text[start:at] is the pattern so far.
        """
        key, hop, children, ops, number = node
        again = False
        while True:
            if ops:
                if seen is not None:
                    again = number in seen
                    seen.add(number)
                for rarest, literals, rest, passed, value, special in ops:
                    if rarest is None:
                        if special is not None:
                            special.handle(special, value, at, head, start, again)
                    elif rarest in text and not again:
                        place = at
                        for literal, length in literals:
                            place = text.find(literal, place)
                            if place < 0:
                                break
                            place += length
                        else:
                            if rest is None or rest(text, place):
                                found.append((value, head, start, at, passed))
            if not hop:
                return
            stop = at + hop
            edge = raw[at:stop]
            at = stop
            if edge in children:
                key, hop, children, ops, number = children[edge]
                continue
            if len(edge) < hop:
                return
            key = crc32(edge, key)
            bucket = key >> shift
            child, last = starts[bucket], starts[bucket + 1]
            while child < last:
                if parents[child] == number:
                    word = edges[child]
                    place = word >> 8
                    if data[place : place + hop] == edge:
                        break
                child += 1
            else:
                return
            number, hop, ref = child, word & HOP, refs[child]
            lone = last_tails.get(items[ref]) if ref else None
            ops = load_ops(ref) if lone is None else [(*lone, items[ref + 1], None)]
            if hop or len(ops) > FEW or (ops and ops[-1][5] is not None and ops[-1][5].kept):
                children[edge] = node = key, hop, {}, ops, number
                children = node[2]

    # The functions below do the same for items that are no tails; `value` is the item's second word.

    def end(_: _Other, value: int, at: int, head: str, start: int, _again: bool) -> None:
        if at == len(text):
            found.append((value, head, start, at, ""))

    def skip(special: _Other, value: int, at: int, head: str, start: int, _again: bool) -> None:
        width = special.operand
        if 0 < width <= len(text) - at:
            walk(load(value), at + width, head + text[start:at] + "?" * width, at + width)

    def grams(special: _Other, value: int, at: int, head: str, start: int, again: bool) -> None:
        nonlocal words
        if again:
            return
        if special.grams is None:
            special.grams = load_grams(value)
        keys, lists = special.grams
        if len(raw) > len(keys) * BYTES_A_TAIL:
            for literal in filter(text.__contains__, special.by_literal or load_literals(special, lists)):
                walk(special.by_literal[literal], at, head, start)
            return
        if words is None:
            words = grams_of(raw)
        for gram in keys.intersection(words):
            ref = lists[gram]
            node = by_gram.get(ref)
            if node is None:
                node = by_gram[ref] = 0, 0, {}, load_ops(ref), ~ref
            walk(node, at, head, start)

    def first(special: _Other, value: int, at: int, head: str, start: int, again: bool) -> None:
        if again:
            return
        if not special.tails:
            special.tails = load_ops(value)
        for rarest, literals, rest, passed, row, _ in special.tails:
            if rarest is None or rarest not in text:
                continue
            place = at
            for literal, length in literals:
                place = text.find(literal, place)
                if place < 0:
                    break
                place += length
            else:
                if rest is None or rest(text, place):
                    found.append((row, head, start, at, passed))
                    return

    def star(special: _Other, value: int, at: int, head: str, begin: int, again: bool) -> None:  # noqa: C901
        nonlocal seen
        if again:
            return
        for only, anchor, width, reach, rarest, before, passed, once, node in special.groups or load_groups(
            special, value
        ):
            if only:
                start = text.find(anchor, at)
                while start >= 0 and raw[start + width : start + reach] not in only:
                    start = text.find(anchor, start + 1)
                if start < 0:
                    continue
            elif rarest not in text:
                continue
            start = at
            for literal, length in before:
                start = text.find(literal, start)
                if start < 0:
                    break
                start += length
            if start >= 0:
                start = text.find(anchor, start)
            if start < 0:
                continue
            pattern = f"{head}{text[begin:at]}*{passed}"
            following = -1 if once else text.find(anchor, start + 1)
            if following >= 0 and seen is None:
                seen = set()
            walk(node, start + width, pattern, start)
            while following >= 0:
                walk(node, following + width, pattern, following)
                following = text.find(anchor, following + 1)

    handlers: dict[int, Handler] = {END: end, SKIP: skip, STAR: star, GRAMS: grams, FIRST: first}
    root = load(header["root"])
    straight: dict[bytes, Node] = root[2] if root[1] == 1 and not root[3] else {}

    def search(new_raw: bytes, new_text: str) -> list[Found]:
        nonlocal raw, text, words, found, seen
        raw, text, words, found, seen = new_raw, new_text, None, [], None
        if raw[:EXACT_HEAD] in exact_heads:
            key = crc32(raw)
            entry = exact_starts[key >> exact_shift]
            while exact_keys[entry] < key:
                entry += 1
            while exact_keys[entry] == key:
                if text_at(data, exact_texts[entry]) == raw:
                    found.append((exact_rows[entry], text, 0, 0, ""))
                    break
                entry += 1
        if raw[:1] in straight:
            walk(straight[raw[:1]], 1, "", 0)
        else:
            walk(root, 0, "", 0)
        return found

    return search
