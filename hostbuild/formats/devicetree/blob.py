"""A flattened device tree, read (Devicetree Specification 0.4, chapter 5).

header      ten big-endian words: magic, total size, where structure, strings and reservations begin, version, the
            last version that this is compatible with, boot CPU, sizes of strings and structure (version 17)
structure   tokens of 4 bytes: 1 begins a node, its name follows, NUL-terminated; 2 ends it; 3 is a property: its
            length, where its name is among the strings, its value; 4 is nothing; 9 ends all. Each is padded to 4 bytes
"""

import struct
from dataclasses import dataclass, field

from hostbuild.errors import InputError

MAGIC = b"\xd0\x0d\xfe\xed"
_HEADER = struct.Struct(">10I")
_PROPERTY = struct.Struct(">2I")
_READ_VERSION = (
    16  # the first whose names are whole and whose values are not aligned to 8 bytes; 17 has one field more
)
_DEEPEST = 64  # the kernel's own limit (drivers/of/fdt.c, FDT_MAX_DEPTH)
_BEGIN, _END, _PROP, _NOP, _LAST = 1, 2, 3, 4, 9


@dataclass(slots=True)
class Node:
    """A node. path: from the root, "/soc/serial@9000". name: its last part, "" for the root."""

    path: str
    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list["Node"] = field(default_factory=list)

    @property
    def plain_name(self) -> str:
        """The name without the address behind it."""
        return self.name.partition("@")[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a property as a list of strings; () where it is missing or none."""
        value = self.properties.get(name, b"")
        if not value.endswith(b"\0"):
            return ()
        return tuple(one.decode("ascii", "replace") for one in value[:-1].split(b"\0") if one)

    def cell(self, name: str) -> int | None:
        """Return a property of one word, None where it is missing or another size."""
        value = self.properties.get(name, b"")
        return int.from_bytes(value, "big") if len(value) == 4 else None

    @property
    def is_enabled(self) -> bool:
        """Whether its status lets a device be made (drivers/of/base.c, __of_device_is_available)."""
        status = self.texts("status")
        return "status" not in self.properties or status[:1] in (("okay",), ("ok",))


def parse_blob(data: bytes) -> Node:
    """Parse a blob; give its root. Raises InputError where it is none, cut short or damaged."""
    if data[:4] != MAGIC:
        raise InputError("not a device tree blob: it does not begin with d00dfeed")
    if len(data) < _HEADER.size:
        raise InputError("a device tree blob that is cut short within its header")
    _, total, structure, strings, _, version, compatible, *_ = _HEADER.unpack_from(data)
    if total > len(data):
        raise InputError(f"a device tree blob that is cut short: {len(data)} bytes of {total}")
    if version < _READ_VERSION or compatible > _READ_VERSION + 1:
        raise InputError(f"a device tree blob of version {version}, of which {_READ_VERSION} and 17 are read")
    return _Reader(data[:total], structure, strings).root()


class _Reader:
    def __init__(self, data: bytes, structure: int, strings: int) -> None:
        self._data = data
        self._at = structure
        self._strings = strings

    def root(self) -> Node:
        root: Node | None = None
        open_nodes: list[Node] = []
        while (token := self._word()) != _LAST:
            if token == _BEGIN:
                node = self._node(open_nodes)
                if not open_nodes and root is not None:
                    raise self._damaged("a second root")
                root = root or node
                open_nodes.append(node)
            elif token == _END and open_nodes:
                open_nodes.pop()
            elif token == _PROP and open_nodes:
                name, value = self._property()
                open_nodes[-1].properties.setdefault(name, value)
            elif token != _NOP:
                raise self._damaged(f"an unexpected token {token:#x}")
        if root is None or open_nodes:
            raise self._damaged("an end before the nodes'")
        return root

    def _node(self, above: list[Node]) -> Node:
        if len(above) >= _DEEPEST:
            raise self._damaged(f"more than {_DEEPEST} nodes within one another")
        name = self._text(self._at)
        self._skip(len(name) + 1)
        if not above:
            return Node("/", "")
        node = Node(f"{above[-1].path.rstrip('/')}/{name}", name)
        above[-1].children.append(node)
        return node

    def _property(self) -> tuple[str, bytes]:
        if self._at + _PROPERTY.size > len(self._data):
            raise self._damaged("a property that is cut short")
        length, name = _PROPERTY.unpack_from(self._data, self._at)
        self._at += _PROPERTY.size
        value = self._data[self._at : self._at + length]
        if len(value) < length:
            raise self._damaged(f"a property of {length} bytes")
        self._skip(length)
        return self._text(self._strings + name), value

    def _word(self) -> int:
        word = self._data[self._at : self._at + 4]
        if len(word) < 4:
            raise self._damaged("no end")
        self._at += 4
        return int.from_bytes(word, "big")

    def _text(self, at: int) -> str:
        end = self._data.find(b"\0", at)
        if end < 0 or at >= len(self._data):
            raise self._damaged("a name without an end")
        return self._data[at:end].decode("ascii", "replace")

    def _skip(self, count: int) -> None:
        self._at += -(-count // 4) * 4

    def _damaged(self, what: str) -> InputError:
        return InputError(f"a damaged device tree blob: {what} at byte {self._at}")
