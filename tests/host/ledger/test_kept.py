"""A console without end is kept within bounds, and says what is missing."""

from hypothesis import given
from hypothesis import strategies as st

from hostbuild.ledger import kept
from hostbuild.ledger.kept import HEAD, TAIL, Kept


def test_a_short_console_is_whole() -> None:
    """What fits is all there."""
    some = Kept()
    for number in range(100):
        some += b"line %d\n" % number
    assert bytes(some) == b"".join(b"line %d\n" % number for number in range(100))
    assert some.missing == 0


def test_a_long_one_has_its_beginning_and_its_end() -> None:
    """Of 64 MiB the first and the last stay, and a line between them says how much is gone."""
    some, piece = Kept(), b"0123456789abcde\n" * 4096
    for number in range(1024):
        some += piece if number else b"first" + piece[5:]
    whole = bytes(some)
    assert whole.startswith(b"first")
    assert whole.endswith(piece)
    assert len(whole) <= HEAD + 2 * TAIL + 100
    assert b"\n[%d bytes are missing here]\n" % some.missing in whole
    assert some.missing + len(whole) - len(b"\n[%d bytes are missing here]\n" % some.missing) == 64 << 20


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_no_byte_is_lost_uncounted(pieces: list[bytes]) -> None:
    """With small bounds: head, gap and tail make up what came."""
    head, tail = kept.HEAD, kept.TAIL
    kept.HEAD, kept.TAIL = 16, 8
    try:
        some, stream = Kept(), b"".join(pieces)
        for piece in pieces:
            some += piece
        whole = bytes(some)
        if not some.missing:
            assert whole == stream
            return
        gap = b"\n[%d bytes are missing here]\n" % some.missing
        before, _, after = whole[:16], whole[16 : 16 + len(gap)], whole[16 + len(gap) :]
        assert before == stream[:16]
        assert stream.endswith(after)
        assert 16 + some.missing + len(after) == len(stream)
    finally:
        kept.HEAD, kept.TAIL = head, tail
