"""What goes to a terminal: the one function through which all foreign text passes on its way out.

A device's strings, a module's name, a file's name and a guest's messages are somebody else's. Raw, they could move
the cursor, change the title, run what a terminal's answer types (ECMA-48's C0 and C1 controls), forge lines, or show
text in another order than it has (Unicode's bidirectional overrides, UAX #9).
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text in one line without anything that is not shown as itself: such characters become escapes.

    `\\xNN` is a byte that is not UTF-8 (a surrogate escape) or a character below U+0100; `\\uNNNN` and `\\UNNNNNNNN`
    are other characters that str.isprintable() denies: controls, format characters, line separators, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _escaped(ord(char)) for char in text])


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
