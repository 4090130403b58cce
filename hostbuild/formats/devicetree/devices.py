"""Which devices a kernel makes of a device tree, and what their modaliases are.

of:N<name>T<type>C<compatible>C<compatible>...    most buses (drivers/of/device.c, of_modalias); without a device_type,
                                                  the type is "(null)"; a space within a compatible becomes "_"
spi:<compatible without its vendor>               below an SPI controller (drivers/spi/spi.c)
amba:d<8 hexadecimal digits>                      `arm,primecell`: of the peripheral's own identification; the tree may
                                                  say it (arm,primecell-periphid), else only the hardware knows

A node is taken for a device if it has a compatible, and neither it nor one above it is disabled. Which nodes a bus
turns into devices, its driver decides; most of those that none is made of have no compatible that a module names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hostbuild.formats.devicetree.blob import Node

_PRIMECELL = "arm,primecell"


@dataclass(frozen=True, slots=True)
class TreeDevice:
    """A device of a tree. path: the node's. compatible: most specific first. modalias: "" where nobody can tell it."""

    path: str
    subsystem: str
    compatible: tuple[str, ...]
    modalias: str


def devices_of(root: Node) -> Iterator[TreeDevice]:
    """Give the devices of a tree, each before those below it; the root is none."""
    waiting = [(child, root) for child in reversed(root.children)]
    while waiting:
        node, above = waiting.pop()
        if not node.is_enabled:
            continue
        compatible = node.texts("compatible")
        if compatible:
            yield _device(node, above, compatible)
        waiting += [(child, node) for child in reversed(node.children)]


def of_modalias(name: str, device_type: str, compatible: tuple[str, ...]) -> str:
    """Return a node's modalias, as a kernel writes it."""
    words = "".join(f"C{one}" for one in compatible).replace(" ", "_")
    return f"of:N{name}T{device_type or '(null)'}{words}"


def _device(node: Node, above: Node, compatible: tuple[str, ...]) -> TreeDevice:
    first = compatible[0]
    if _PRIMECELL in compatible:
        identification = node.cell("arm,primecell-periphid")
        modalias = "" if identification is None else f"amba:d{identification:08X}"
        return TreeDevice(node.path, "amba", compatible, modalias)
    if above.plain_name == "spi":
        return TreeDevice(node.path, "spi", compatible, f"spi:{first.rpartition(',')[2]}")
    subsystem = "i2c" if above.plain_name == "i2c" else "platform"
    kind = (node.texts("device_type") or ("",))[0]
    return TreeDevice(node.path, subsystem, compatible, of_modalias(node.plain_name, kind, compatible))
