"""The shape of the trie: which patterns share which nodes, edges and anchors (lookup.py has the drawing).

A node takes the patterns that stand at it apart: those that end here or go on with a set are tails, those
that go on with `?` go on behind it, those that go on with a literal share edges of one length, and those
that go on with a `*` are tails while they are few; when they are many, they share what stands behind the star
or are found by their grams, whichever is estimated to be cheaper.
"""

from __future__ import annotations

from binascii import crc32

from modaliasd.core.index.format import GRAM, HOP
from modaliasd.core.kmod.glob import BACKSLASH, BRACKET, QUESTION, STAR, literal_length

TYPE_CHECKING = False

if TYPE_CHECKING:
    # (pattern, how much of it lies behind, row or place of a list of rows)
    Entry = tuple[bytes, int, int]
    # (text, whether only its first place counts, the node behind it)
    Group = tuple[bytes, bool, "Node"]

FEW_TAILS = 3  # of the patterns that go on with a `*` at one node, so few are not worth edges
MOST_EDGES = 256  # out of a node, to be listed where they serve to give up early
MOST_DEPTH = 60  # nested nodes; what lies deeper is one compiled tail
# Costs in microseconds, to weigh ways to find literals against each other.
FIND_COST = 0.15
STEP_COST = 0.5  # behind an anchor
LISTED_COST = 0.3  # where the edges are listed
GRAMS_COST = 3.0  # to look all grams of a string up, whatever the number of tails
_NUMBER = frozenset(b"0123456789ABCDEF,")


class Node:
    """A node in the making. hop: the length of the edges to its children; edge: the one that leads to it."""

    __slots__ = (
        "children",
        "cost",
        "edge",
        "grams",
        "groups",
        "hop",
        "key",
        "number",
        "parent",
        "skips",
        "tails",
    )

    def __init__(self, edge: bytes) -> None:
        self.edge = edge
        self.hop = 0
        self.cost = 0.0  # of a search that comes to this node, microseconds, edges aside
        self.key = 0
        self.number = 0
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.tails: list[tuple[bytes, int]] = []  # text ("" for an exact end), row
        self.skips: list[tuple[int, Node]] = []
        self.groups: list[Group] = []
        self.grams: dict[bytes, list[tuple[bytes, int]]] = {}  # tails by four bytes that each of them has

    def is_mere_star(self) -> bool:
        """Return whether all that it has is a star."""
        return bool(self.groups) and not (self.tails or self.skips or self.children or self.grams)

    def only_edges(self) -> bytes:
        """Return all its edges, if it has nothing else and few of them; what a search can give up by."""
        if self.groups or self.tails or self.skips or self.grams or len(self.children) > MOST_EDGES:
            return b""
        return b"".join(child.edge for child in self.children)


def tail_text(pattern: bytes, at: int) -> bytes:
    """Return the pattern from `at` on as glob.py reads it.

    Before its first wildcard kmod takes a backslash as it is, and so it is doubled there.
    """
    if BACKSLASH not in pattern:
        return pattern[at:]
    wildcard = max(at, literal_length(pattern))
    return pattern[at:wildcard].replace(b"\\", b"\\\\") + pattern[wildcard:]


class Trie:
    """The nodes of a trie in the making. `roots` are the nodes that no edge leads to."""

    def __init__(self, entries: list[Entry]) -> None:
        self.nodes: list[Node] = []
        self.roots: list[Node] = []
        self.root = self._rooted(entries, 0)

    def _rooted(self, entries: list[Entry], depth: int) -> Node:
        node = self._node(entries, b"", depth)
        self.roots.append(node)
        return node

    def _node(self, entries: list[Entry], edge: bytes, depth: int) -> Node:
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

    def _add_stars(self, node: Node, starred: list[Entry], depth: int) -> None:
        """Whatever is cheapest to search: tails, edges behind a star, tails by their grams, or several of these."""
        known, known_roots = len(self.nodes), len(self.roots)
        tails, groups, cost = self._stars(starred, depth)
        without = [entry for entry in starred if not _grams(*entry[:2])]
        if cost > GRAMS_COST and len(starred) - len(without) > FEW_TAILS:
            plain = self.nodes[known:], self.roots[known_roots:]
            del self.nodes[known:], self.roots[known_roots:]
            other_tails, other_groups, other_cost = self._stars(without, depth)
            if other_cost + GRAMS_COST < cost:
                tails, groups, cost = other_tails, other_groups, other_cost + GRAMS_COST
                left_out = set(without)
                node.grams = _by_rarest_gram([entry for entry in starred if entry not in left_out])
            else:
                self.nodes[known:], self.roots[known_roots:] = plain
        node.groups = groups
        node.tails += tails
        node.cost += cost

    def _stars(self, starred: list[Entry], depth: int) -> tuple[list[tuple[bytes, int]], list[Group], float]:
        """Tails and groups for patterns that go on with a star: edges where they are cheaper to search than tails."""
        branching: list[Entry] = []
        groups: list[Group] = []
        group_cost = 0.0
        if len(starred) > FEW_TAILS:
            branching = [entry for entry in starred if _literal_after_star(entry[0], entry[1])]
        if branching:
            known, known_roots = len(self.nodes), len(self.roots)
            groups, single = self._groups([(p, at + 1, row) for p, at, row in branching], depth)
            group_cost = sum(_group_cost(*group) for group in groups) + sum(
                _tail_cost(p[at:]) for p, at, _ in single
            )
            branching = list(set(branching).difference(single))
            if group_cost >= sum(_tail_cost(pattern[at:]) for pattern, at, _ in (*branching, *single)):
                del self.nodes[known:], self.roots[known_roots:]
                branching, groups, group_cost = [], [], 0.0
        chosen = set(branching)
        tails = [(tail_text(p, at), row) for p, at, row in starred if (p, at, row) not in chosen]
        return tails, groups, group_cost + sum(_tail_cost(text) for text, _ in tails)

    def _groups(self, entries: list[Entry], depth: int) -> tuple[list[Group], list[Entry]]:
        """Return the star's groups; and the patterns that would have one of their own, for which a tail is cheaper."""
        by_literal: dict[bytes, list[Entry]] = {}
        for entry in entries:
            pattern, at, _ = entry
            length = min(literal_length(pattern, at), HOP)
            by_literal.setdefault(pattern[at : at + length], []).append(entry)
        groups: list[Group] = []
        single: list[Entry] = []
        for anchor, literals in _anchors(sorted(by_literal)):
            behind = [(p, at + len(anchor), row) for text in literals for p, at, row in by_literal[text]]
            if len(behind) == 1 and b"?" not in behind[0][0] and BRACKET not in behind[0][0]:
                single += [(p, at - 1, row) for text in literals for p, at, row in by_literal[text]]
                continue
            groups += self._group(anchor, behind, depth)
        return groups, single

    def _group(self, text: bytes, behind: list[Entry], depth: int) -> list[Group]:
        """Group those that have `text` behind the star; where they all go on with stars, in several groups."""
        while common := _common_start(behind):
            text += b"*" + common
            behind = [(p, at + 1 + len(common), row) for p, at, row in behind]
        starred = [entry for entry in behind if entry[0][entry[1] : entry[1] + 1] == b"*"]
        once = len(starred) == len(behind)
        if starred and not once:
            # The edges alone can be listed, which lets a search give up before it takes a step.
            known, known_roots = len(self.nodes), len(self.roots)
            edges = self._rooted(
                [entry for entry in behind if entry[0][entry[1] : entry[1] + 1] != b"*"], depth + 1
            )
            if edges.only_edges():
                return [(text, False, edges), *self._group(text, starred, depth)]
            del self.nodes[known:], self.roots[known_roots:]
        node = self._rooted(behind, depth + 1)
        # One step less, for looking for `text` once more for each group.
        if node.is_mere_star() and (len(node.groups) - 1) * len(text.split(b"*")) * FIND_COST < STEP_COST:
            self.nodes.remove(node)
            self.roots.remove(node)
            return [(text + b"*" + inner, inner_once, end) for inner, inner_once, end in node.groups]
        return [(text, once, node)]

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


def _grams(pattern: bytes, at: int) -> list[bytes]:
    """Return all runs of four literal bytes from `at` on; none if there is more than stars and question marks."""
    if BRACKET in pattern or BACKSLASH in pattern:
        return []
    literals = pattern[at:].replace(b"?", b"*").split(b"*")
    return [literal[i : i + GRAM] for literal in literals for i in range(len(literal) - GRAM + 1)]


def _by_rarest_gram(entries: list[Entry]) -> dict[bytes, list[tuple[bytes, int]]]:
    """Return the tails of all entries, each below the gram of it that fewest others and fewest strings have."""
    known: dict[bytes, int] = {}
    for pattern, at, _ in entries:
        for gram in set(_grams(pattern, at)):
            known[gram] = known.get(gram, 0) + 1
    tails: dict[bytes, list[tuple[bytes, int]]] = {}
    for pattern, at, row in entries:
        rarest = min(_grams(pattern, at), key=lambda gram: (known[gram], _places(gram), gram))
        tails.setdefault(rarest, []).append((pattern[at:], row))
    return tails


def _tail_cost(text: bytes) -> float:
    """Return what it costs to try a tail."""
    literals = text.split(b"*")
    return FIND_COST + min(1.0, _places(max(reversed(literals), key=len))) * FIND_COST * len(literals)


def _group_cost(text: bytes, once: bool, node: Node) -> float:
    """Return what it costs to look for a group."""
    *literals, anchor = text.split(b"*")
    if not once and node.only_edges():
        return FIND_COST + LISTED_COST * _places(anchor)
    likely = min(1.0, _places(max([anchor, *reversed(literals)], key=len)))
    places = 1.0 if once else max(1.0, _places(anchor))
    return FIND_COST + likely * (FIND_COST * len(literals) + places * STEP_COST + node.cost)


def _literal_after_star(pattern: bytes, at: int) -> bool:
    """Return whether the star at `at` is followed by a literal, with nothing odd behind it."""
    return BACKSLASH not in pattern and literal_length(pattern, at + 1) > 0


def _common_start(entries: list[Entry]) -> bytes:
    """Return what all entries have behind a star that stands here, if it is best to look for just that."""
    literals = set()
    for pattern, at, _ in entries:
        if pattern[at : at + 1] != b"*":
            return b""
        literals.add(pattern[at + 1 : at + 1 + min(literal_length(pattern, at + 1), HOP)])
    anchors = _anchors(sorted(literals))
    return anchors[0][0] if len(anchors) == 1 else b""


def _anchors(literals: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """Return what to look for to find any of these literals (sorted), and which ones each of them leads to."""
    return _cheapest(literals)[1]


def _cheapest(literals: list[bytes]) -> tuple[float, list[tuple[bytes, list[bytes]]]]:
    """Return the cheapest way to find any of these literals, and its cost.

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
    return (3 if anchor.isalpha() else 14) / len(anchor) ** 3
