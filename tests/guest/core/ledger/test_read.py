"""Ledgers read back: lines in any pieces, bounded, what is none of them counted."""

import tracemalloc
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.errors import FormatError
from modaliasd.core.ledger.read import LINE_LIMIT, LedgerReader, read_records
from tests.support.ledgers import parse_ledger

GOOD = b'{"type":"walk","walk":%d}\n'


@pytest.mark.parametrize("piece", [1 << 16, 1 << 20, 977])
def test_a_stream_without_a_newline_costs_neither_memory_nor_time(piece: int) -> None:
    """64 MB in one line are dropped to its end and counted once, by their first bytes; the next line is read."""
    reader = LedgerReader()
    data = b"x" * piece
    tracemalloc.start()
    begin = process_time()
    for _ in range((64 << 20) // piece):
        assert reader.feed(data) == []
    took, (_now, peak) = process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 30  # quadratic were hours
    assert peak < 4 * LINE_LIMIT + 3 * piece
    assert [record["walk"] for record in reader.feed(b"\n" + GOOD % 1)] == [1]
    assert reader.skipped.count == 1
    [(number, reason, sample)] = reader.skipped.named
    assert (number, reason) == (1, f"it is longer than {LINE_LIMIT} bytes")
    assert sample == b"x" * 200


def test_a_line_may_have_the_limit_and_no_more() -> None:
    """The longest line that is read, and one a byte longer."""
    empty = b'{"type":"later","a":""}'
    for more, records in ((0, 1), (1, 0)):
        line = empty[:-2] + b"x" * (LINE_LIMIT - len(empty) + more) + empty[-2:]
        assert len(LedgerReader().feed(line + b"\n")) == records


def test_single_bytes_make_a_line_as_well() -> None:
    """A megabyte that comes byte by byte takes no longer than its bytes."""
    reader = LedgerReader()
    begin = process_time()
    for _ in range(1 << 20):
        reader.feed(b"x")
    assert process_time() - begin < 30


@given(
    st.lists(st.sampled_from([GOOD % 1, GOOD % 2, b"bad\n", b"\n", b"x" * 50 + b"\n"]), max_size=12),
    st.data(),
)
def test_pieces_do_not_matter(lines: list[bytes], data: st.DataObject) -> None:
    """However the bytes are cut, the same records come, and the same lines are skipped by the same numbers."""
    stream = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = LedgerReader()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])
    assert [GOOD % record["walk"] for record in got] == [line for line in lines if line.startswith(b"{")]
    bad = [at for at, line in enumerate(lines, 1) if line[:1] in b"bx"]
    assert reader.skipped.count == len(bad)
    assert [number for number, _reason, _line in reader.skipped.named] == bad[:5]


def test_what_was_skipped_is_told_in_words() -> None:
    """One, some, and more than are named."""
    reader = LedgerReader()
    reader.feed(b"x\n")
    assert str(reader.skipped) == "1 line was skipped: line 1: it is not JSON: Expecting value at character 1"
    reader.feed(b"[]\n" * 9)
    assert str(reader.skipped).startswith("10 lines were skipped: line 1: it is not JSON")
    assert str(reader.skipped).endswith("line 5: it is not a record with a type; and 5 more")


def test_an_endless_list_of_bad_lines_is_counted_and_not_kept() -> None:
    """A hundred thousand of them take no more than five."""
    reader = LedgerReader()
    reader.feed(b"bad\n" * 100_000)
    assert (reader.skipped.count, len(reader.skipped.named)) == (100_000, 5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello\nworld\n", "line 1: it is not JSON"),
        (b'\n\n{"type":"start","format":7}\n' + GOOD % 1, "line 3: it is of format 7"),
    ],
)
def test_what_is_no_ledger_is_refused(data: bytes, reason: str) -> None:
    """No line of it is a record, or it is of a format that is not read here."""
    with pytest.raises(FormatError, match=reason):
        parse_ledger(data)


def test_a_later_daemons_start_line_costs_that_line() -> None:
    """Where the ledger began in our format, a line of another is skipped as any other."""
    reader = LedgerReader()
    data = b'{"type":"start","format":1}\n{"type":"start","format":7}\n' + GOOD % 1
    assert [record["type"] for record in read_records(reader, [data])] == ["start", "walk"]
    assert reader.skipped.count == 1
