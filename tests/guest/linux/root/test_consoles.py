"""A passphrase asked for on terminals: linux/root/consoles.py, with pseudoterminals for the consoles."""

import os
import termios
import threading

import pytest

from hostbuild.live.quiet import MARK
from modaliasd.linux.root import consoles

QUESTION = b"Passphrase: "


def answered(keys: list[bytes]) -> tuple[bytes | None, list[bytes], bool]:
    """Ask on as many terminals, on which these are typed; the line, what each shows, whether modes are as before."""
    pairs = [os.openpty() for _ in keys]
    before = [termios.tcgetattr(ours) for _, ours in pairs]
    said: list[bytes | None] = []
    asking = threading.Thread(
        target=lambda: said.append(consoles._first_line([ours for _, ours in pairs], QUESTION)), daemon=True
    )
    asking.start()
    shown = [b""] * len(pairs)
    for number, (theirs, _) in enumerate(pairs):
        while QUESTION not in shown[number]:
            shown[number] += os.read(theirs, 100)
    for (theirs, _), data in zip(pairs, keys, strict=True):
        os.write(theirs, data)
    asking.join(10)
    assert said, "it still asks"
    for number, (theirs, _) in enumerate(pairs):
        shown[number] += os.read(theirs, 100)
    same = before == [termios.tcgetattr(ours) for _, ours in pairs]
    for pair in pairs:
        for descriptor in pair:
            os.close(descriptor)
    return said[0], shown, same


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([b"open sesame\r"], b"open sesame"),
        ([b"opne\x7f\x7fen\n"], b"open"),  # backspace
        ([b"\r"], b""),
        ([b"", "schl\u00fcssel\r".encode()], "schl\u00fcssel".encode()),
        ([b"\x04", b"second\r"], b"second"),  # Ctrl-D on one leaves the other
        ([b"\x04"], None),
    ],
)
def test_the_first_line_counts(keys: list[bytes], line: bytes | None) -> None:
    """Whichever terminal it comes from, Enter as \\r or \\n; nothing of it shows, and the modes are as they were."""
    found, shown, same = answered(keys)
    assert found == line
    assert all(text.strip(b"\r\n") == QUESTION for text in shown)
    assert same


def test_nobody_is_there() -> None:
    """Without a console, or with one that is no terminal, there is no answer, at once."""
    with open(os.devnull, "rb") as file:
        assert consoles._first_line([file.fileno()], QUESTION) is None
    assert consoles._first_line([], QUESTION) is None


def test_the_word_for_the_host_is_the_hosts() -> None:
    """What ends the filter of `hostbuild run` is what hostbuild waits for."""
    assert consoles._SHOWN_FROM_HERE == MARK
