"""The index of all aliases, read in place: which modules does a modalias want?

The index is a trie. An edge is a run of literal bytes, a node's wildcard tails are compiled from fnmatch's
syntax when they are first needed, and nothing is read but what a lookup passes. Part of Debian 12's table:

    (root) -p-> -ci:v-+-> * d*sv*sd*bc0, then -+-> 1sc06i -> 01 -> *  ahci
                      |                        +-> Csc03i -> 20 -> *  ehci_pci
                      +-00008086d-> -00001521sv-> *sd*bc*sc*i*  igb
    (root) -o-> -f:N-> * T*C, then -+-> fsl, -> ... -> imx6q_usb -> (end), C*
                                    +-> tcg, -> ... -> tpm_tis_spi -> (end), C*

- **Literal edges are hashed.** All edges out of a node have one length, its `hop`: the shortest run that
  stands there; longer runs are cut into several edges. A step is one slice, one crc32 and a look into one
  bucket of a table: a node's key is crc32(edge, its parent's key), its first bits are the bucket. The node
  names its parent and its edge, and both are compared.
- **Tails.** A few patterns that go on with a `*` at one node are tails: literals to be found one after the
  other. Taking each at its first place never loses a match (glob.py). Most are refused by their longest
  literal.
- **Stars.** Where more patterns go on with a `*`, the literals behind it are edges again, in groups with a
  common beginning, the anchor, which `str.find` looks for; behind each of its places a trie of its own goes
  on. A node that was reached further left in the same lookup has only its exact ends left to try, so a
  lookup takes at most one step for each node and place, whatever the string.
- Patterns without wildcards have a table of their own and are hashed as a whole.
- Nodes with children, stars and tails are kept decoded once they were passed: pieces of the index, not
  answers.

Tried and left: a dictionary of literal prefixes (1,572 patterns share the prefix `of:N`, and a dictionary
has to be loaded as a whole at the start); kmod's byte-wise trie (a step in CPython costs as much as a whole
edge here); a list of prefix lengths for each bus (seven to nine probes for a miss, where cut edges give up
after the first); strings kept as bytes (CPython finds things in text twice as fast). Figures:
docs/matching.md.
"""

from _bisect import bisect_left
from zlib import crc32

from modaliasd.core.alias import text_of
from modaliasd.core.errors import FormatError
from modaliasd.core.glob import compile_pattern
from modaliasd.core.lean import Record
from modaliasd.core.names import NAME_LIMIT, UnbalancedBracketsError, normalize_alias
from modaliasd.core.trie_format import (
    END,
    HOP,
    KIND_SHIFT,
    LAST,
    MANY,
    ONCE,
    OPERAND,
    RAW,
    STAR,
    TAIL,
    check_body,
    read_header,
    read_warnings,
    tables,
    text_at,
)

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    from modaliasd.core.trie_format import Buffer

    # (row, pattern up to the last wildcard passed, where the text after it begins, where it ends, the rest)
    Found = tuple[int, str, int, int, str]
    Literals = tuple[tuple[str, int], ...]
    Rest = Callable[[str, int], bool]
    # (the rarest of the literals, the literals, what has to hold behind them if anything, the pattern's text)
    Tail = tuple[str | None, Literals, Rest | None, str]
    # (the tail, or NO_TAIL; the item's two words)
    Op = tuple[Tail, int, int]
    # (key, hop, children that have children or stars, items, number)
    Node = tuple[int, int, dict[bytes, "Node"], list[Op], int]
    # (the rarest of the literals, those before the anchor, their text, the anchor, whether only its first
    # place counts, node, the only edges out of the node if they are known)
    Group = tuple[str, Literals, str, str, bool, Node, frozenset[bytes]]

# What every modalias is translated by; a NUL in the result means that it needs a closer look.
_PLAIN = bytes(range(256)).translate(bytes.maketrans(b"-[]", b"_\0\0"))
INDEX_NAME = "modules.alias.trie"  # beside modules.alias
NO_TAIL: "Tail" = (None, (), None, "")
FEW = 2  # items; a node with more is kept decoded, as one with children is


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
        try:
            self.warnings = read_warnings(data, header) if header["warnings"] else ()
            self._search = _searcher(data, header)
        except (IndexError, ValueError) as error:
            raise FormatError(f"damaged: its tables lead out of it ({error})") from error

    def lookup(self, modalias: str) -> list[Match]:
        """The modules that the modalias wants, in kmod's load order, each once; built-in ones if no others.

        [] for a modalias with unbalanced brackets. Not for two threads at once. Raises FormatError where the
        index turns out to be damaged.
        """
        raw = modalias.encode("utf-8", "surrogateescape")
        text = raw.translate(_PLAIN)
        if 0 in text or len(text) > NAME_LIMIT:
            try:
                text = normalize_alias(raw)
            except UnbalancedBracketsError:
                return []
        try:
            return self._search(text, text.decode("latin-1"))
        except (IndexError, ValueError, RecursionError) as error:
            raise FormatError(f"damaged: looking up {modalias!r} led out of it ({error})") from error

    def verify(self) -> None:
        """Check every byte against the checksum, some 4 ms of guest time. Raises FormatError."""
        check_body(self._data, self._body_sum)


def _rarest(literals: list[str]) -> str:
    """The literal that fewest strings can be expected to have: the last of the longest."""
    return max(reversed(literals), key=len)


def _compile_tail(text: str) -> "Tail":
    """What has to be found, in which order, and what has to hold behind it."""
    if text[:1] != "*" or "?" in text or "[" in text or "\\" in text:
        matches = compile_pattern(text.encode("latin-1"))
        return "", (), lambda string, at: matches(string.encode("latin-1"), at), text
    *literals, last = text.split("*")
    found = tuple([(literal, len(literal)) for literal in literals if literal])
    rarest = _rarest([*literals, last])
    if not last:
        return rarest, found, None, text
    return rarest, found, lambda string, at: string.endswith(last) and len(string) - len(last) >= at, text


def _searcher(data: "Buffer", header: dict[str, int]) -> "Callable[[bytes, str], list[Match]]":  # noqa: C901
    """The search function. All that it reads is in its closure: attribute lookups cost a third of the time.

    It takes the string twice: as bytes, of which slices are hashed, and as text with a character for each
    byte, in which CPython finds things twice as fast as it does in bytes.
    """
    sections = tables(data, header)
    starts, parents, edges, refs = sections[:4]
    exact_starts, exact_keys, exact_texts, exact_rows = sections[4:8]
    items, lines, row_modules, modules, raw_rows, raw_texts = sections[8:]
    shift, exact_shift = 32 - header["bucket_bits"], 32 - header["exact_bits"]
    first_builtin = header["first_builtin"]
    tails: dict[int, Tail] = {}
    stars: dict[int, list[Group]] = {}
    names: dict[int, str] = {}
    new_match = tuple.__new__

    def load_ops(ref: int) -> "list[Op]":
        """The items that begin here; a star among them is decoded when it is first needed."""
        ops: list[Op] = []
        word = 0 if ref else LAST
        while word < LAST:
            word = items[ref]
            tail = tails.get(word)
            if tail is None:
                tail = NO_TAIL
                if word >> KIND_SHIFT & 3 == TAIL:
                    tail = tails[word] = _compile_tail(text_at(data, word & OPERAND).decode("latin-1"))
            ops.append((tail, word, items[ref + 1]))
            ref += 2
        return ops

    def load(number: int) -> "Node":
        """A node that no edge leads to; its number is its key."""
        return number, edges[number] & HOP, {}, load_ops(refs[number]), number

    def load_groups(place: int) -> "list[Group]":
        """The groups of the star at this place of the items."""
        groups: list[Group] = []
        for at in range(place + 1, place + 1 + 3 * items[place], 3):
            *literals, anchor = text_at(data, items[at]).decode("latin-1").split("*")
            if not anchor:
                raise ValueError("an empty anchor")
            passed = "".join([literal + "*" for literal in literals])
            before = tuple([(literal, len(literal)) for literal in literals])
            node = load(items[at + 1] & ~ONCE)
            only = text_at(data, items[at + 2])
            edges_out = frozenset([only[i : i + node[1]] for i in range(0, len(only), node[1] or 1)])
            once = items[at + 1] >= ONCE
            groups.append((_rarest([*literals, anchor]), before, passed, anchor, once, node, edges_out))
        stars[place] = groups
        return groups

    # The lookup that is going on: the string, twice; what was found; the nodes reached further left, if any.
    raw, text = b"", ""
    found: list[Found] = []
    seen: set[int] | None = None

    def walk(node: "Node", at: int, head: str, start: int) -> None:  # noqa: C901
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
                for (rarest, literals, rest, passed), word, value in ops:
                    if rarest is None:
                        if word >> KIND_SHIFT & 3 != STAR:
                            other(word, value, at, head, start)
                        elif not again:
                            star(stars.get(value) or load_groups(value), at, head + text[start:at] + "*")
                    elif rarest in text and not again:
                        place = at
                        try:
                            for literal, length in literals:
                                place = text.index(literal, place) + length
                        except ValueError:
                            continue
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
            number, hop, ops = child, word & HOP, load_ops(refs[child])
            if hop or len(ops) > FEW:
                children[edge] = node = key, hop, {}, ops, number
                children = node[2]

    def other(word: int, value: int, at: int, head: str, start: int) -> None:
        """The same for an end and for question marks."""
        if word >> KIND_SHIFT & 3 == END:
            if at == len(text):
                found.append((value, head, start, at, ""))
            return
        skip = word & OPERAND
        if 0 < skip <= len(text) - at:
            walk(load(value), at + skip, head + text[start:at] + "?" * skip, at + skip)

    def star(groups: "list[Group]", at: int, head: str) -> None:
        """Collect in `found` all that matches from any place at or behind `at`."""
        nonlocal seen
        for rarest, before, passed, anchor, once, node, only in groups:
            if only:
                width, hop = len(anchor), node[1]
                start = text.find(anchor, at)
                while start >= 0 and raw[start + width : start + width + hop] not in only:
                    start = text.find(anchor, start + 1)
                if start < 0:
                    continue
            elif rarest not in text:
                continue
            start = at
            try:
                for literal, length in before:
                    start = text.index(literal, start) + length
            except ValueError:
                continue
            start = text.find(anchor, start)
            if start < 0:
                continue
            following = -1 if once else text.find(anchor, start + 1)
            if following >= 0 and seen is None:
                seen = set()
            walk(node, start + len(anchor), head + passed, start)
            while following >= 0:
                walk(node, following + len(anchor), head + passed, following)
                following = text.find(anchor, following + 1)

    def match(by: "Found") -> Match:
        number = by[0] >> 1
        module = row_modules[number]
        name = names.get(module)
        if name is None:
            name = names[module] = text_of(text_at(data, modules[module]))
        if by[0] & RAW:
            alias = text_of(text_at(data, raw_texts[bisect_left(raw_rows, number)]))
        else:
            alias = by[1] + text[by[2] : by[3]] + by[4]
            if not alias.isascii():
                alias = text_of(alias.encode("latin-1"))
        return new_match(Match, (name, alias, lines[number], number >= first_builtin))

    def rank() -> list[Match]:
        """In load order, each module once, built-in ones only if there are no others."""
        singles: list[Found] = []
        for by in found:
            if by[0] < MANY:
                singles.append(by)
                continue
            place = by[0] & ~MANY
            singles += [(row, *by[1:]) for row in items[place + 1 : place + 1 + items[place]]]
        singles.sort()
        matches: list[Match] = []
        last = -1
        for by in singles:
            number = by[0] >> 1
            if number >= first_builtin > singles[0][0] >> 1:
                break
            module = row_modules[number]
            if module != last:
                matches.append(match(by))
                last = module
        return matches

    root = load(header["root"])
    _, first_hop, by_first_byte, root_ops, _ = root
    straight = first_hop == 1 and not root_ops

    def search(new_raw: bytes, new_text: str) -> list[Match]:
        nonlocal raw, text, found, seen
        raw, text, found, seen = new_raw, new_text, [], None
        key = crc32(raw)
        entry = exact_starts[key >> exact_shift]
        while exact_keys[entry] < key:
            entry += 1
        while exact_keys[entry] == key:
            if text_at(data, exact_texts[entry]) == raw:
                found.append((exact_rows[entry], text, 0, 0, ""))
                break
            entry += 1
        node = by_first_byte.get(raw[:1]) if straight else None
        if node is None:
            walk(root, 0, "", 0)
        else:
            walk(node, 1, "", 0)
        if not found:
            return []
        if len(found) == 1 and found[0][0] < MANY:
            return [match(found[0])]
        return rank()

    return search


def build(modules_alias: bytes, modules_order: bytes = b"", builtin_modinfo: bytes = b"") -> bytes:
    """The index file's bytes, for a machine of this one's byte order (see trie_build.build_index)."""
    from modaliasd.core.trie_build import build_index

    return build_index(modules_alias, modules_order, builtin_modinfo)
