"""hostbuild.live.terminal: what is typed goes to the guest, and Ctrl-A commands to us."""

import os
import pty
import termios

import pytest

from hostbuild.live.terminal import Keys, raw


@pytest.mark.parametrize(
    ("typed", "sent", "ends"),
    [
        (b"ls\r", b"ls\r", False),
        (b"\x03", b"\x03", False),  # Ctrl-C is the guest's
        (b"\x01x", b"", True),
        (b"ab\x01Xc", b"abc", True),
        (b"\x01\x01", b"\x01", False),
        (b"\x01\x01x", b"\x01x", False),
        (b"\x01zq", b"q", False),
    ],
)
def test_keys(typed: bytes, sent: bytes, ends: bool) -> None:
    """Everything but Ctrl-A commands is for the guest, in one piece or byte by byte."""
    whole, single = Keys(), Keys()
    assert (whole.feed(typed), whole.quit) == (sent, ends)
    assert (b"".join(single.feed(bytes([byte])) for byte in typed), single.quit) == (sent, ends)


def test_help_is_asked_for_once() -> None:
    """Ctrl-A h asks for help, the keys after it do not repeat the question."""
    keys = Keys()
    keys.feed(b"\x01h")
    assert keys.help
    keys.feed(b"x")
    assert not keys.help
    assert not keys.quit


def test_the_terminal_is_put_back() -> None:
    """Raw mode ends with the block, also by an exception."""
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        with raw(theirs):
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
        assert termios.tcgetattr(theirs) == before
        with pytest.raises(KeyboardInterrupt), raw(theirs):
            raise KeyboardInterrupt
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
