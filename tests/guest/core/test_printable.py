"""What goes to a terminal: plain text stays, all else becomes escapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pci:v00008086d*", "pci:v00008086d*"),
        ("Müller's 鍵盤", "Müller's 鍵盤"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\n\tb\x7f", "a\\x0d\\x0a\\x09b\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    """Controls, bidirectional overrides, bytes that are no text, tags: each as its number."""
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_whatever_comes_in_one_printable_line_goes_out(text: str) -> None:
    """No text has anything left to escape, and all of it can be encoded."""
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    shown.encode()
