"""fs/remembered.py: answers that are kept under their questions."""

import os
import stat
import time
from functools import partial
from pathlib import Path

import pytest

from hostbuild.fs.remembered import remembered


def counting(answers: list[bytes], answer: bytes) -> bytes:
    answers.append(answer)
    return answer


def test_a_question_is_asked_once(tmp_path: Path) -> None:
    """The second time the answer is the kept one; another question has its own."""
    asked: list[bytes] = []
    kept = tmp_path / "answers"
    for question in (b"a", b"a", b"b", b"a", b"b"):
        assert remembered(kept, question, partial(counting, asked, question * 3)) == question * 3
    assert asked == [b"aaa", b"bbb"]


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 40, None])
def test_a_damaged_answer_is_none(tmp_path: Path, damage: bytes | None) -> None:
    """Torn, emptied, overwritten or with a bit turned: it is asked again, and what is kept is whole then."""
    remembered(tmp_path, b"q", lambda: b"answer")
    [file] = (path for path in tmp_path.iterdir() if path.name != ".looked")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage is None else damage)
    asked: list[bytes] = []
    for _ in range(2):
        assert remembered(tmp_path, b"q", lambda: counting(asked, b"answer")) == b"answer"
    assert len(asked) == 1


def test_what_cannot_be_kept_is_answered_all_the_same(tmp_path: Path) -> None:
    """A place that is a file: the answer is given, and nothing is written."""
    (tmp_path / "file").write_text("mine")
    assert remembered(tmp_path / "file", b"q", lambda: b"answer") == b"answer"
    assert (tmp_path / "file").read_text() == "mine"


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    """Nothing is kept of a question that has no answer."""

    def refuse() -> bytes:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it is ours
        remembered(tmp_path, b"q", refuse)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_asks_for_goes(tmp_path: Path) -> None:
    """After two weeks an answer is removed, unless it was asked for since; kept files are their owner's alone."""
    for question in (b"old", b"used"):
        remembered(tmp_path, question, lambda: b"answer")
    past = time.time() - 20 * 86400
    looked = tmp_path / ".looked"
    files = {*tmp_path.iterdir()} - {looked}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for file in (*files, looked):
        os.utime(file, (past, past))
    remembered(tmp_path, b"used", lambda: b"not asked")
    remembered(tmp_path, b"new", lambda: b"answer")
    assert len(files & set(tmp_path.iterdir())) == 1
    assert remembered(tmp_path, b"used", lambda: b"asked") == b"answer"
    assert remembered(tmp_path, b"old", lambda: b"asked") == b"asked"
