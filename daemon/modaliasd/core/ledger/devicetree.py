"""What a modalias of a device tree means: the node, and which of its compatibles an alias matched.

of:N<name>T<type>C<compatible>C<compatible>...    drivers/of/device.c; the most specific compatible is first
of:N*T*Cacme,uart, of:N*T*Cacme,uartC*            the aliases of a table's row (scripts/mod/file2alias.c, do_of_entry)
"""

from __future__ import annotations

PREFIX = "of:N"


def explain(modalias: str, alias: str) -> str:
    """Say which node it is and by which compatible an alias matched it; "" for what is not a device tree's."""
    compatible = compatible_of(alias)
    if not modalias.startswith(PREFIX) or not compatible:
        return ""
    name, _, rest = modalias[len(PREFIX) :].partition("T")
    known = f"C{compatible}"
    at = rest.find(known)
    while at >= 0 and rest[at + len(known) :][:1] not in ("", "C"):
        at = rest.find(known, at + 1)
    if at < 0:
        return f"node {name}"
    before = rest[:at].partition("C")[2]
    words = f"node {name}, compatible {compatible}"
    return f"{words}, which is more general than {', '.join(split(before))}" if before else words


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
    parts: list[str] = []
    for piece in text.split("C"):
        word = piece.partition(",")[0]
        begins = bool(word) and word[0].islower() and word == word.lower()
        if parts and not begins:
            parts[-1] += f"C{piece}"
        else:
            parts.append(piece)
    return parts
