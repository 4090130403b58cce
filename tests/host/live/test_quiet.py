"""hostbuild.live.quiet: the kernel's log is left out of a console, and nothing else is."""

import re

from hypothesis import given
from hypothesis import strategies as st

from hostbuild.live.quiet import MARK, PlainLines, QuietConsole

LOG = b"[    1.234567] e1000: eth0 NIC Link is Up\r\n"
CALLER = b"[   12.000001][    T1] with its caller\r\n"

logs = st.sampled_from([LOG, CALLER, b"[12345.000000] \r\n"])
texts = st.sampled_from(
    [
        b"micro:/root# ",
        b"\r\n",
        b"modaliasd tree    what was loaded\r\n",
        b"[1] + Done\r\n",
        b"[ 12 ]\r\n",
        b"a[0",
        b"\x1b[6n",
    ]
)


def shown(pieces: list[bytes]) -> bytes:
    """What is shown of pieces, until the end."""
    console = QuietConsole()
    return b"".join(map(console.feed, pieces)) + console.open()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes into pieces."""
    pieces = []
    for length in cuts:
        pieces.append(data[:length])
        data = data[length:]
    return [*pieces, data]


@given(st.lists(st.tuples(texts, logs), max_size=8), st.lists(st.integers(1, 30), max_size=40))
def test_the_log_goes_and_the_rest_stays(parts: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """However the bytes are cut, also in the middle of a line: no line of the log, every byte of the rest."""
    data = b"".join(text + log for text, log in parts)
    assert shown(cut(data, cuts)) == b"".join(text for text, _ in parts)


@given(st.lists(st.integers(1, 20), max_size=20))
def test_after_the_mark_everything_is_shown(cuts: list[int]) -> None:
    """The mark itself is not, and what looks like the log after it (dmesg) is."""
    console = QuietConsole()
    out = b"".join(map(console.feed, cut(LOG + b"prompt" + MARK + LOG + b"# ", cuts)))
    assert (out, console.over) == (b"prompt" + LOG + b"# ", True)


@given(st.binary(max_size=300), st.lists(st.integers(1, 30), max_size=30))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Without a line of the log or the mark, nothing is lost and nothing added."""
    if b"] " in data or MARK in data:
        return
    assert shown(cut(data, cuts)) == data


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\r\r\n"])), st.lists(st.integers(1, 3)))
def test_lines_end_as_those_of_a_file(parts: list[bytes], cuts: list[int]) -> None:
    """Carriage returns before a newline go, others stay, wherever the bytes are cut."""
    plain = PlainLines()
    data = b"".join(parts)
    got = b"".join(map(plain.feed, cut(data, cuts))) + plain.finish()
    assert got == re.sub(rb"\r+\n", b"\n", data)
