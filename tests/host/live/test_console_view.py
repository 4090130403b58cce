"""A console that is held back until the guest has settled: what is shown then, and what the guest is told meanwhile."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.live.console import ConsoleView
from hostbuild.live.quiet import QUESTION, SizeQuestion, answer
from tests.support.places import PROJECT


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ConsoleView, list[bytes], list[bytes]]]:
    """A view that holds, what it writes, and what it sends."""
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("COLUMNS", "132")
    written: list[bytes] = []
    sent: list[bytes] = []
    view = ConsoleView("Booting", written.append, hold=True)
    view.typing(sent.append)
    yield view, written, sent
    view.close()


def test_the_question_is_the_guests() -> None:
    """It is what `resize` prints in the guest, byte by byte."""
    text = (PROJECT / "rootfs-overlay/usr/bin/resize").read_text()
    found = re.search(r"^printf '(.*)' >&0$", text, re.MULTILINE)
    assert found
    assert found[1].encode().replace(rb"\033", b"\033").replace(rb"\0", b"\0") == QUESTION


def test_the_guest_learns_the_terminals_size_before_it_has_settled(
    shown: tuple[ConsoleView, list[bytes], list[bytes]],
) -> None:
    """At once, and once; late, the answer was typed into its shell, and the first letter stood on a line of its own."""
    view, written, sent = shown
    view.feed(b"before" + QUESTION[:5])
    assert sent == []
    view.feed(QUESTION[5:] + b"# ")
    assert sent == [b"\033[40;132R"]
    view.open()
    assert b"".join(written) == b"before# "
    view.feed(QUESTION)
    assert written[-1] == QUESTION  # the terminal answers by itself
    assert len(sent) == 1


def test_what_only_began_like_it_is_shown(shown: tuple[ConsoleView, list[bytes], list[bytes]]) -> None:
    """Nothing of the console is lost."""
    view, written, sent = shown
    view.feed(b"x" + QUESTION[:7])
    view.open()
    assert b"".join(written) == b"x" + QUESTION[:7]
    assert sent == []


_PIECES = st.lists(st.sampled_from([QUESTION, b"x", QUESTION[:3], b"\0337", b"\n"]), max_size=12)


@given(_PIECES, st.data())
def test_however_it_is_cut(pieces: list[bytes], data: st.DataObject) -> None:
    """In any pieces the same comes out, and the question is counted as often as it is there."""
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    question, out, asked = SizeQuestion(), b"", 0
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        piece, count = question.feed(whole[start:end])
        out, asked = out + piece, asked + count
    assert out + question.rest() == whole.replace(QUESTION, b"")
    assert asked == whole.count(QUESTION)
    assert answer(24, 80) == b"\033[24;80R"
