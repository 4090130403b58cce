"""The index of all aliases, read in place: which modules does a modalias want?

The index is a trie. An edge is a run of literal bytes, a node's wildcard tails are compiled from fnmatch's
syntax when they are first needed, and nothing is read but what a lookup passes. Part of Debian 12's table:

    (root) -p-> -ci:v-+-> * d*sv*sd*bc0, then -+-> 1sc06i -> 01 -> *  ahci
                      |                        +-> Csc03i -> 20 -> *  ehci_pci
                      +-00008086d-> -00001521sv-> *sd*bc*sc*i*  igb
    (root) -o-> -f:N-> * T*C, then -+-> fsl, -> ... -> imx6q_usb -> (end), C*
                                    +-> tcg, -> ... -> tpm_tis_spi -> (end), C*

- **Literal edges are hashed.** All edges out of a node have one length, its `hop`: the shortest run that stands
  there; longer runs are cut into several edges. A step is one slice, one crc32 and a look into one bucket of a
  table: a node's key is crc32(edge, its parent's key), its first bits are the bucket. The node names its parent and
  its edge, and both are compared.
- **Tails.** A few patterns that go on with a `*` at one node are tails: literals to be found one after the other.
  Taking each at its first place never loses a match (glob.py). Most are refused by their longest literal.
- **Stars.** Where more patterns go on with a `*`, the literals behind it are edges again, in groups with a common
  beginning, the anchor, which `str.find` looks for; behind each of its places a trie of its own goes on, unless a
  list of all edges that it has says that none fits. A node that was reached further left in the same lookup has only
  its exact ends left to try, so a lookup takes at most one step for each node and place, whatever the string.
- **Grams.** Where a node has many tails that share no beginnings (dmi: words anywhere), each is known by the rarest
  run of four bytes in its literals. All such runs of the string, taken as words, are intersected with the node's set
  at once, and only tails whose run is there are tried: the cost does not grow with their number. Where the string is
  long and the tails are few (cpu), all of them are tried instead.
- **Firsts.** Of many tails of one module at a node, the first in the file that matches is enough.
- Patterns without wildcards have a table of their own and are hashed as a whole; a set of first bytes (`i2c:`, but
  never `pci:`) tells most strings that they need not look there.
- Nodes with children, stars and tails are kept decoded once they were passed: pieces of the index, not answers. So is
  the way from the root past the nodes that are mere forks, by a string's first bytes: most of its bus.

Tried and left: a dictionary of literal prefixes (1,572 patterns share the prefix `of:N`, and a dictionary has to be
loaded as a whole at the start); kmod's byte-wise trie (a step in CPython costs as much as a whole edge here); a list
of prefix lengths for each bus (seven to nine probes for a miss, where cut edges give up after the first); strings
kept as bytes (CPython finds things in text twice as fast); tails and groups without grams (with a table ten times as
long, dmi and input took two to three times as long); a memoryview's words in place of struct's (half as fast);
`str.index` in place of `str.find` (each tail that fails costs an exception). Figures: docs/matching.md.
"""

from __future__ import annotations

from _bisect import bisect_left

from modaliasd.core.errors import FormatError
from modaliasd.core.fasttypes import NamedTuple
from modaliasd.core.index.format import MANY, RAW, check_body, read_header, read_warnings, tables, text_at
from modaliasd.core.index.search import searcher
from modaliasd.core.kmod.names import NAME_LIMIT, UnbalancedBracketsError, normalize_alias, text_of

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modaliasd.core.index.format import Buffer
    from modaliasd.core.index.search import Found

# What every modalias is translated by; a NUL in the result means that it needs a closer look.
_PLAIN = bytes(range(256)).translate(bytes.maketrans(b"-[]", b"_\0\0"))


class Hit(NamedTuple):
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

    def __init__(self, data: Buffer) -> None:
        header = read_header(data)
        self._data = data
        self._body_sum = header["body_sum"]
        self.aliases = header["patterns"]
        self.sizes = (header["alias_size"], header["order_size"], header["builtin_size"])
        try:
            self.warnings = read_warnings(data, header) if header["warnings"] else ()
            self._search = searcher(data, header)
            self._rank = _ranker(data, header)
        except (LookupError, ValueError) as error:
            raise FormatError(f"damaged: its tables point outside it ({error})") from error

    def lookup(self, modalias: str) -> list[Hit]:
        """Return the modules that the modalias wants, in kmod's load order, each once; built-in ones if no others.

        [] for a modalias with unbalanced brackets. Not for two threads at once. Raises FormatError where the
        index turns out to be damaged.
        """
        if modalias.isascii():
            plain = modalias.encode().translate(_PLAIN)
            text = modalias.replace("-", "_")
        else:
            try:
                plain = modalias.encode("utf-8", "surrogateescape").translate(_PLAIN)
            except UnicodeEncodeError:  # a lone surrogate, which no bytes are read as: no pattern has it
                return []
            text = plain.decode("latin-1")
        if 0 in plain or len(plain) > NAME_LIMIT:
            try:
                plain = normalize_alias(modalias.encode("utf-8", "surrogateescape"))
            except UnbalancedBracketsError:
                return []
            text = plain.decode("latin-1")
        try:
            found = self._search(plain, text)
            return self._rank(found, text) if found else []
        except (LookupError, ValueError, RecursionError) as error:
            raise FormatError(f"damaged: looking up {modalias!r} led outside it ({error})") from error

    def verify(self) -> None:
        """Check every byte against the checksum, some 4 ms of guest time. Raises FormatError."""
        check_body(self._data, self._body_sum)


def _ranker(data: Buffer, header: dict[str, int]) -> Callable[[list[Found], str], list[Hit]]:  # noqa: C901
    """Return the function that makes what was found in a string into matches."""
    items, lines, row_modules, modules, raw_rows, raw_texts = tables(data, header)[8:]
    first_builtin = header["first_builtin"]
    names: dict[int, str] = {}
    as_written: dict[int, str] = {}
    lists: dict[int, list[int]] = {}  # of rows, by their place
    new_hit = tuple.__new__

    def spread(found: list[Found]) -> Iterator[Found]:
        """With a row each, where one was found for several."""
        for by in found:
            if by[0] < MANY:
                yield by
                continue
            place = by[0] & ~MANY
            rows = lists.get(place)
            if rows is None:
                rows = lists[place] = items[place + 1 : place + 1 + items[place]].tolist()
            for row in rows:
                yield row, *by[1:]

    def rank(found: list[Found], text: str) -> list[Hit]:
        """Return matches in load order, each module once, built-in ones only if there are no others."""
        if len(found) > 1:
            found.sort()
        if found[-1][0] >= MANY:
            found = sorted(spread(found))
        hits: list[Hit] = []
        last, loads = -1, found[0][0] >> 1 < first_builtin
        for row, head, start, end, tail in found:
            number = row >> 1
            builtin = number >= first_builtin
            if builtin and loads:
                break
            module = row_modules[number]
            if module == last:
                continue
            last = module
            name = names.get(module)
            if name is None:
                name = names[module] = text_of(text_at(data, modules[module]))
            if row & RAW:
                alias = as_written.get(number, "")
                if not alias:
                    place = raw_texts[bisect_left(raw_rows, number)]
                    alias = as_written[number] = text_of(text_at(data, place))
            else:
                alias = f"{head}{text[start:end]}{tail}"
                if not alias.isascii():
                    alias = text_of(alias.encode("latin-1"))
            hits.append(new_hit(Hit, (name, alias, lines[number], builtin)))
        return hits

    return rank


def build(modules_alias: bytes, modules_order: bytes = b"", builtin_modinfo: bytes = b"") -> bytes:
    """Build the index file's bytes for a machine of this one's byte order (see build.build_index)."""
    from modaliasd.core.index.build import build_index

    return build_index(modules_alias, modules_order, builtin_modinfo)
