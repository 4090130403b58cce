"""Walks the index that lookup.py describes: which rows does a string match?

All that the search reads is in one closure: attribute lookups would cost a third of the time. It takes the
string twice: as bytes, of which slices are hashed, and as text with a character for each byte, in which
CPython finds things twice as fast as it does in bytes.
"""

from __future__ import annotations

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
from modaliasd.core.index.tails import compile_tail, grams_of, rarest_of

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modaliasd.core.index.format import Buffer
    from modaliasd.core.index.tails import Literals, Rest, Tail

    # (row, or MANY and the place of a list of rows; pattern up to the last wildcard passed; where the text after it
    # begins, where it ends; the rest of the pattern)
    Found = tuple[int, str, int, int, str]
    # What goes on with an item that is no tail: where in the string, the pattern up to the last wildcard passed, where
    # the text after it begins.
    Handler = Callable[[int, str, int], None]
    # (what has to be in the string for the rest to count; a tail's further parts and its row, or a handler, and ALWAYS
    # for one that counts also where the node was reached further left)
    Op = tuple[str, Literals, Rest | None, str, int, Handler | None]
    # (key, hop, children that have children or stars, items, number)
    Node = tuple[int, int, dict[bytes, "Node"], list[Op], int]

ALWAYS = 1
KEPT = (STAR, GRAMS, FIRST, SKIP)  # kinds whose parts are decoded but once
BYTES_A_TAIL = 2  # of a string: to look their grams up takes as long as to try a tail
FEW = 2  # items; a node with more is kept decoded, as one with children is
EXACT_HEAD = 4  # bytes at the beginning of a string by which the table of exact patterns is passed over
BUS = 7  # bytes at the beginning of a string, by which the first nodes that are passed are remembered
MOST_BUSES = 1000  # of these; then it begins anew
FEW_NEEDLES = 3  # tails behind an anchor: to ask for their literals takes less time than to find the anchor
SHORT = 4  # characters: an anchor that nearly every string has


def _needles(node: Node) -> tuple[str, ...]:
    """Return texts of which a string has one if anything at the node matches; () where that is not known, or long."""
    _, hop, _, ops, _ = node
    rarest = tuple([op[0] for op in ops if op[0] and op[5] is None])
    return rarest if not hop and len(rarest) == len(ops) <= FEW_NEEDLES else ()


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
    by_gram: dict[int, Node] = {}

    def load_ops(ref: int) -> tuple[list[Op], bool]:
        """Return the items that begin here, and whether the node is to be kept; all else is decoded when needed."""
        ops: list[Op] = []
        kept = False
        word = 0 if ref else LAST
        while word < LAST:
            word, value = items[ref], items[ref + 1]
            kind = word >> KIND_SHIFT & KINDS
            if kind == TAIL:
                tail = tails.get(word)
                if tail is None:
                    tail = tails[word] = compile_tail(text_at(data, word & OPERAND).decode("latin-1"))
                    if word >= LAST:
                        last_tails[word] = tail
                ops.append((*tail, value, None))
            else:
                kept = kept or kind in KEPT
                if kind == STAR:
                    ops += load_groups(value)
                elif kind == END:
                    ops.append(("", (), None, "", ALWAYS, end(value)))
                elif kind == SKIP:
                    ops.append(("", (), None, "", ALWAYS, skip(word & OPERAND, value)))
                else:
                    ops.append(("", (), None, "", 0, handlers[kind](value)))
            ref += 2
        return ops, kept or len(ops) > FEW

    def load(number: int) -> Node:
        """Make a node that no edge leads to; its number is its key."""
        return number, edges[number] & HOP, {}, load_ops(refs[number])[0], number

    def load_groups(place: int) -> Iterator[Op]:
        """Yield the groups of the star at this place of the items."""
        for at in range(place + 1, place + 1 + 3 * items[place], 3):
            *literals, anchor = text_at(data, items[at]).decode("latin-1").split("*")
            if not anchor:
                raise ValueError("an empty anchor")
            number, once = items[at + 1] & ~ONCE, items[at + 1] >= ONCE
            only, hop = text_at(data, items[at + 2]), edges[number] & HOP
            edges_out = frozenset([only[i : i + hop] for i in range(0, len(only), hop or 1)])
            rarest = rarest_of([*literals, anchor])
            if only and len(anchor) <= SHORT:
                rarest = ""  # which the group itself looks for at once
            passed = "*" + "".join([literal + "*" for literal in literals])
            before = tuple([(literal, len(literal)) for literal in literals])
            follow = group(number, anchor, before, passed, once, edges_out, len(anchor) + hop)
            yield rarest, (), None, "", 0, follow

    # The lookup that is going on: the string, twice, and its grams if they were needed; what was found; the
    # nodes reached further left, if any.
    raw, text = b"", ""
    words: tuple[int, ...] | None = None
    found: list[Found] = []
    seen: set[int] | None = None

    def step(key: int, number: int, edge: bytes, children: dict[bytes, Node]) -> Node | None:
        """Return the node that an edge leads to, which is kept among the children if it is worth it; None for none.

        walk() has the same in line, and the search for literals three times over: it is on every string's way.
        """
        hop, key = len(edge), crc32(edge, key)
        bucket = key >> shift
        child, last = starts[bucket], starts[bucket + 1]
        while child < last:
            if parents[child] == number:
                word = edges[child]
                place = word >> 8
                if data[place : place + hop] == edge:
                    ops, kept = load_ops(refs[child])
                    node: Node = key, word & HOP, {}, ops, child
                    if kept or word & HOP:
                        children[edge] = node
                    return node
            child += 1
        return None

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
                for rarest, literals, rest, passed, value, follow in ops:
                    if follow is not None:
                        if (not again or value) and rarest in text:
                            follow(at, head, start)
                    elif not again and rarest in text:
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
            hop, ref = word & HOP, refs[child]
            if not hop and ref and (lone := last_tails.get(items[ref])) is not None:
                # a leaf with one tail, as most are: no node is made of it
                if seen is not None:
                    if child in seen:
                        return
                    seen.add(child)
                _, literals, rest, passed = lone
                place = at
                for literal, length in literals:
                    place = text.find(literal, place)
                    if place < 0:
                        return
                    place += length
                if rest is None or rest(text, place):
                    found.append((items[ref + 1], head, start, at, passed))
                return
            number = child
            ops, kept = load_ops(ref)
            if hop or kept:
                children[edge] = node = key, hop, {}, ops, number
                children = node[2]

    # The functions below do the same for items that are no tails, or return what does it.

    def end(value: int) -> Handler:
        def follow(at: int, head: str, start: int) -> None:
            if at == len(text):
                found.append((value, head, start, at, ""))

        return follow

    def skip(width: int, number: int) -> Handler:
        marks = "?" * width
        node: Node | None = None

        def follow(at: int, head: str, start: int) -> None:
            nonlocal node
            if 0 < width <= len(text) - at:
                if node is None:
                    node = load(number)
                walk(node, at + width, f"{head}{text[start:at]}{marks}", at + width)

        return follow

    def grams(place: int) -> Handler:
        lists: dict[int, int] = {}  # grams -> where the items behind each of them are
        keys = frozenset[int]()
        by_literal: dict[str, Node] = {}

        def decode() -> None:
            nonlocal keys
            first, behind = place + 1, place + 1 + items[place]
            lists.update(zip(items[first:behind], items[behind : behind + items[place]], strict=True))
            keys = frozenset(lists)

        def follow(at: int, head: str, start: int) -> None:
            nonlocal words
            if not keys:
                decode()
            if len(raw) > len(keys) * BYTES_A_TAIL:
                if not by_literal:
                    for ref in lists.values():
                        for op in load_ops(ref)[0]:
                            by_literal.setdefault(op[0], (0, 0, {}, [], ~ref))[3].append(op)
                for literal in filter(text.__contains__, by_literal):
                    walk(by_literal[literal], at, head, start)
                return
            if words is None:
                words = grams_of(raw)
            for gram in keys.intersection(words):
                ref = lists[gram]
                node = by_gram.get(ref)
                if node is None:
                    node = by_gram[ref] = 0, 0, {}, load_ops(ref)[0], ~ref
                walk(node, at, head, start)

        return follow

    def first(place: int) -> Handler:
        tails_here: list[Op] = []

        def follow(at: int, head: str, start: int) -> None:
            if not tails_here:
                tails_here.extend(load_ops(place)[0])
            for rarest, literals, rest, passed, row, _ in tails_here:
                if rarest not in text:
                    continue
                found_at = at
                for literal, length in literals:
                    found_at = text.find(literal, found_at)
                    if found_at < 0:
                        break
                    found_at += length
                else:
                    if rest is None or rest(text, found_at):
                        found.append((row, head, start, at, passed))
                        return

        return follow

    def group(  # noqa: C901
        number: int,
        anchor: str,
        before: Literals,
        passed: str,
        once: bool,
        only: frozenset[bytes],
        reach: int,
    ) -> Handler:
        """Return what looks for the anchor behind the literals `before`, and goes on at each of its places.

        only: the edges behind it if they are known; reach: the length of the anchor and one of them. once: only the
        first place counts.
        """
        width = len(anchor)
        node: Node | None = None
        needles: tuple[str, ...] = ()

        def follow(at: int, head: str, begin: int) -> None:  # noqa: C901
            nonlocal node, needles, seen
            if node is None and not only:
                node = load(number)
                needles = _needles(node)
            if needles:
                for needle in needles:
                    if needle in text:
                        break
                else:
                    return
            fits = at
            if only:
                fits = text.find(anchor, at)
                while fits >= 0 and raw[fits + width : fits + reach] not in only:
                    fits = text.find(anchor, fits + 1)
                if fits < 0:
                    return
            start = at
            for literal, length in before:
                start = text.find(literal, start)
                if start < 0:
                    return
                start += length
            start = text.find(anchor, max(fits, start))
            if start < 0:
                return
            if node is None:
                node = load(number)
            pattern = f"{head}{text[begin:at]}{passed}"
            following = -1 if once else text.find(anchor, start + 1)
            if following >= 0 and seen is None:
                seen = set()
            walk(node, start + width, pattern, start)
            while following >= 0:
                walk(node, following + width, pattern, following)
                following = text.find(anchor, following + 1)

        return follow

    handlers: dict[int, Callable[[int], Handler]] = {GRAMS: grams, FIRST: first}
    root = load(header["root"])
    ways: dict[bytes, tuple[bool, Node | None, int]] = {}

    def way_of(bus: bytes) -> tuple[bool, Node | None, int]:
        """Tell of a string's beginning: may an exact pattern have it, and from which node and byte do others go on."""
        node: Node | None = root
        at = 0
        while node is not None and not node[3] and 0 < node[1] <= len(bus) - at:
            edge = bus[at : at + node[1]]
            at += node[1]
            node = node[2].get(edge) or step(node[0], node[4], edge, node[2])
        if len(ways) >= MOST_BUSES:
            ways.clear()
        way = ways[bus] = bus[:EXACT_HEAD] in exact_heads, node, at
        return way

    def search(new_raw: bytes, new_text: str) -> list[Found]:
        nonlocal raw, text, words, found, seen
        raw, text, words, found, seen = new_raw, new_text, None, [], None
        bus = raw[:BUS]
        exact, node, at = ways.get(bus) or way_of(bus)
        if exact:
            key = crc32(raw)
            entry = exact_starts[key >> exact_shift]
            while exact_keys[entry] < key:
                entry += 1
            while exact_keys[entry] == key:
                if text_at(data, exact_texts[entry]) == raw:
                    found.append((exact_rows[entry], text, 0, 0, ""))
                    break
                entry += 1
        if node is not None:
            walk(node, at, "", 0)
        return found

    return search
