"""What a modalias of a device tree means: the node, and which of its compatibles an alias matched.

of:N<name>T<type>C<compatible>C<compatible>...    drivers/of/device.c; the most specific compatible is first
of:N*T*Cacme,uart, of:N*T*Cacme,uartC*            the aliases of a table's row (scripts/mod/file2alias.c, do_of_entry)
"""

from __future__ import annotations

from modaliasd.core.fasttypes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PREFIX = "of:N"


class Explained(NamedTuple):
    """What a device tree's modalias says.

    node: the path of the node, or its name where only that is known. compatible: most specific first.
    matched: the one that an alias matched, "" where the alias names none, or a pattern.
    """

    node: str
    compatible: tuple[str, ...]
    matched: str = ""


def explain(modalias: str, alias: str = "", of_node: str = "") -> Explained | None:
    """Explain a device's modalias; None for one that is in no device tree.

    modalias: of several, one a line, a device tree's counts. alias: the pattern that matched it. of_node: the node's
    path, "" where it is not known; a device of a bus with modaliases of its own (spi:, amba:) has one, too.
    """
    modalias = _own(modalias)
    if not modalias:
        return Explained(of_node, ()) if of_node else None
    name, _, rest = modalias[len(PREFIX) :].partition("T")
    known = compatible_of(alias)
    head, matched, tail = _around(rest, known)
    parts = [*split(head), *([matched] if matched else []), *split(tail)]
    return Explained(of_node or name, tuple(parts), matched)


def node_words(modalias: str, alias: str = "", of_node: str = "") -> str:
    """Say which node it is and by which compatible an alias matched it; "" for what is in no device tree."""
    found = explain(modalias, alias, of_node)
    if found is None:
        return ""
    if not found.matched:
        return f"node {found.node}" + (
            f", compatible {', '.join(found.compatible)}" if found.compatible else ""
        )
    at = found.compatible.index(found.matched)
    others = (("more general than", found.compatible[:at]), ("less so than", found.compatible[at + 1 :]))
    said = " and ".join(f"{how} {', '.join(which)}" for how, which in others if which)
    if at == 0:
        said = said.replace("less so", "more specific")
    return f"node {found.node}, compatible {found.matched}" + (f", which is {said}" if said else "")


def node_fields(modalias: str, aliases: Iterable[str], of_node: str = "") -> dict[str, Any] | None:
    """Return the same for programs: node, compatible, and those that aliases matched; None for what is in no tree."""
    patterns = list(aliases)
    found = [one for alias in patterns or [""] if (one := explain(modalias, alias, of_node)) is not None]
    if not found:
        return None
    best = next((one for one in found if one.matched), found[0])
    matched = list(dict.fromkeys(one.matched for one in found if one.matched))
    return {"node": best.node, "compatible": list(best.compatible), "matched": matched}


def compatible_of(alias: str) -> str:
    """Return the compatible that an alias names, "" where it names none, or a pattern."""
    if not alias.startswith(PREFIX):
        return ""
    compatible = alias.partition("T")[2].partition("C")[2].removesuffix("C*")
    return "" if any(one in compatible for one in "*?[") else compatible


def split(text: str) -> list[str]:
    """Take compatibles apart that a `C` joins; one that may belong to a name (nxp,SC16IS740) does not part it.

    What follows a parting `C` is a vendor's name and a comma, or a lower-case word of its own.
    """
    if not text:
        return []
    parts: list[str] = []
    for piece in text.split("C"):
        word = piece.partition(",")[0]
        begins = bool(word) and word[0].islower() and word == word.lower()
        if parts and not begins:
            parts[-1] += f"C{piece}"
        else:
            parts.append(piece)
    return parts


def _own(modalias: str) -> str:
    """Return the device tree's among modaliases that stand one a line, "" where there is none."""
    return next((line for line in modalias.split("\n") if line.startswith(PREFIX)), "")


def _around(rest: str, compatible: str) -> tuple[str, str, str]:
    """Part what follows a node's name (type, C, compatibles) at a whole compatible: what is before it, it, and after.

    Without one all is before it.
    """
    known = f"C{compatible}"
    at = rest.find(known) if compatible else -1
    while at >= 0 and rest[at + len(known) :][:1] not in ("", "C"):
        at = rest.find(known, at + 1)
    if at < 0:
        return rest.partition("C")[2], "", ""
    return rest[:at].partition("C")[2], compatible, rest[at + len(known) + 1 :]
