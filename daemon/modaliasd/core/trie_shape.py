"""The shape of the trie: which patterns share which nodes, edges and anchors (trie.py has the drawing).

A node takes the patterns that stand at it apart: those that end here or go on with a set are tails, those
that go on with `?` go on behind it, those that go on with a literal share edges of one length, and those
that go on with a `*` are tails while they are few and share what stands behind the star when they are many.
"""

from zlib import crc32

from modaliasd.core.glob import BACKSLASH, BRACKET, QUESTION, STAR, literal_length
from modaliasd.core.trie_format import HOP

TYPE_CHECKING = False

if TYPE_CHECKING:
    # (pattern, how much of it lies behind, row or place of a list of rows)
    Entry = tuple[bytes, int, int]

MOST_TAILS = 24  # more patterns that go on with a `*` at one node than that become edges
MOST_EDGES = 64  # out of a node, to be listed where they serve to give up early
MOST_DEPTH = 60  # nested nodes; what lies deeper is one compiled tail
# Costs in microseconds, to weigh ways to find literals against each other.
FIND_COST = 0.1
STEP_COST = 0.5  # behind an anchor
LISTED_COST = 0.3  # where the edges are listed
_NUMBER = frozenset(b"0123456789ABCDEF,")


class Node:
    """A node in the making. hop: the length of the edges to its children; edge: the one that leads to it."""

    __slots__ = ("children", "edge", "groups", "hop", "key", "number", "parent", "skips", "tails")

    def __init__(self, edge: bytes) -> None:
        self.edge = edge
        self.hop = 0
        self.key = 0
        self.number = 0
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.tails: list[tuple[bytes, int]] = []  # text ("" for an exact end), row
        self.skips: list[tuple[int, Node]] = []
        self.groups: list[tuple[bytes, bool, Node]] = []  # text, once, node

    def is_mere_star(self) -> bool:
        """Whether all that it has is a star."""
        return bool(self.groups) and not (self.tails or self.skips or self.children)

    def only_edges(self) -> bytes:
        """All its edges, if it has nothing else and few of them; what a search can give up by."""
        if self.groups or self.tails or self.skips or len(self.children) > MOST_EDGES:
            return b""
        return b"".join(child.edge for child in self.children)


def tail_text(pattern: bytes, at: int) -> bytes:
    """The pattern from `at` on as glob.py reads it.

    Before its first wildcard kmod takes a backslash as it is, and so it is doubled there.
    """
    if BACKSLASH not in pattern:
        return pattern[at:]
    wildcard = max(at, literal_length(pattern))
    return pattern[at:wildcard].replace(b"\\", b"\\\\") + pattern[wildcard:]


class Trie:
    """The nodes of a trie in the making. `roots` are the nodes that no edge leads to."""

    def __init__(self, entries: "list[Entry]") -> None:
        self.nodes: list[Node] = []
        self.roots: list[Node] = []
        self.root = self._rooted(entries, 0)

    def _rooted(self, entries: "list[Entry]", depth: int) -> Node:
        node = self._node(entries, b"", depth)
        self.roots.append(node)
        return node

    def _node(self, entries: "list[Entry]", edge: bytes, depth: int) -> Node:
        node = Node(edge)
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
            elif first == STAR:
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
            node.hop = (
                hop if depth else 1
            )  # the reader finds its way from the first byte by the shortest path
            hop = node.hop
            children: dict[bytes, list[Entry]] = {}
            for pattern, at, row in literal:
                children.setdefault(pattern[at : at + hop], []).append((pattern, at + hop, row))
            node.children = [self._node(children[text], text, depth + 1) for text in sorted(children)]
        return node

    def _add_stars(self, node: Node, starred: "list[Entry]", depth: int) -> None:
        """Tails for a few patterns, edges behind a star for many."""
        branching: list[Entry] = []
        if len(starred) > MOST_TAILS:
            branching = [entry for entry in starred if _literal_after_star(entry[0], entry[1])]
        chosen = set(branching)
        node.tails += [(tail_text(p, at), row) for p, at, row in starred if (p, at, row) not in chosen]
        if branching:
            node.groups = self._groups([(p, at + 1, row) for p, at, row in branching], depth)

    def _groups(self, entries: "list[Entry]", depth: int) -> list[tuple[bytes, bool, Node]]:
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
            while common := _common_start(behind):
                text += b"*" + common
                behind = [(p, at + 1 + len(common), row) for p, at, row in behind]
            once = all(p[at : at + 1] == b"*" for p, at, _ in behind)
            node = self._rooted(behind, depth + 1)
            if node.is_mere_star():
                self.nodes.remove(node)
                self.roots.remove(node)
                groups += [(text + b"*" + inner, inner_once, end) for inner, inner_once, end in node.groups]
            else:
                groups.append((text, once, node))
        return groups

    def number(self) -> None:
        """Give every node its key and its number, which is its place in the table.

        First come those that edges lead to, sorted by key; then the others, whose number is their key.
        """
        hashed = len(self.nodes) - len(self.roots)
        for place, root in enumerate(self.roots):
            root.key = root.number = hashed + place
            todo = [root]
            while todo:
                node = todo.pop()
                for child in node.children:
                    child.key = crc32(child.edge, node.key)
                    child.parent = node
                todo += node.children
        reached = sorted((node for node in self.nodes if node.parent), key=lambda node: (node.key, node.edge))
        for place, node in enumerate(reached):
            node.number = place
        self.nodes = reached + self.roots


def _literal_after_star(pattern: bytes, at: int) -> bool:
    """Whether the star at `at` is followed by a literal, with nothing odd behind it."""
    return BACKSLASH not in pattern and literal_length(pattern, at + 1) > 0


def _common_start(entries: "list[Entry]") -> bytes:
    """What all entries have behind a star that stands here, if it is best to look for just that."""
    literals = set()
    for pattern, at, _ in entries:
        if pattern[at : at + 1] != b"*":
            return b""
        literals.add(pattern[at + 1 : at + 1 + min(literal_length(pattern, at + 1), HOP)])
    anchors = _anchors(sorted(literals))
    return anchors[0][0] if len(anchors) == 1 else b""


def _anchors(literals: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """What to look for to find any of these literals (sorted), and which ones each of them leads to."""
    return _cheapest(literals)[1]


def _cheapest(literals: list[bytes]) -> tuple[float, list[tuple[bytes, list[bytes]]]]:
    """The cheapest way to find any of these literals, and its cost.

    One by one, by what they all begin with, or, in groups, by what some of them begin with.
    """
    one_by_one = FIND_COST * len(literals), [(literal, [literal]) for literal in literals]
    if len(literals) == 1:
        return one_by_one
    low, high = literals[0], literals[-1]
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    ways = [one_by_one]
    if length:
        step = LISTED_COST if len(literals) <= MOST_EDGES else STEP_COST
        ways.append((FIND_COST + step * _places(low[:length]), [(low[:length], literals)]))
    groups: dict[bytes, list[bytes]] = {}
    for literal in literals:
        groups.setdefault(literal[length : length + 1], []).append(literal)
    parts = [_cheapest(group) for group in groups.values()]
    ways.append((sum(cost for cost, _ in parts), [anchor for _, anchors in parts for anchor in anchors]))
    return min(ways, key=lambda way: way[0])


def _places(anchor: bytes) -> float:
    """About how many places of a modalias have this text: where digits stand, there are many of them."""
    if _NUMBER.issuperset(anchor) and not anchor.isalpha():
        return 100 / 6.0 ** (len(anchor) - 1)
    return (5 if anchor.isalpha() else 14) / len(anchor) ** 3
