"""hostbuild.guest.shell: the answers of a shell on a line, with sh on a pipe for a guest."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hostbuild.errors import GuestError
from hostbuild.guest.shell import PING, PONG, Answers, ShellLine


@pytest.fixture
def shell() -> Iterator[ShellLine]:
    """A shell that reads commands."""
    process = subprocess.Popen(
        ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    into, out = process.stdin, process.stdout

    def send(data: bytes) -> None:
        into.write(data)
        into.flush()

    def wait(done: Callable[[], bool], timeout: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.01)

    line = ShellLine(send, wait)

    def read() -> None:
        while data := out.read1(65536):  # type: ignore[attr-defined]
            line.answers.feed(data)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    send(PING)
    wait(lambda: PONG in line.answers.held, 10, "no answer")
    yield line
    into.close()
    process.wait(10)
    reader.join(10)
    out.close()


def test_status_and_output(shell: ShellLine) -> None:
    """Status and output of each command, whatever the one before did to its shell."""
    done = shell.run("printf 'no newline'; cat; echo oops >&2; exit 3", 20)
    assert (done.status, done.output) == (3, "no newlineoops\n")
    assert shell.run("echo 'unbalanced", 20).status != 0
    assert shell.run("seq 1 2000", 20).output.split() == [str(number) for number in range(1, 2001)]


def test_a_forged_end(shell: ShellLine) -> None:
    """An answer that holds its own end's mark is an error, not another status."""
    tag = f"{os.getpid()}-{shell._commands + 1}"
    with pytest.raises(GuestError, match="its end was forged"):
        shell.run(f"printf '>>%s>> what\n' {tag}", 20)


def test_of_an_endless_answer_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit an answer's beginning goes, and how much of it is counted until it is taken."""
    monkeypatch.setattr("hostbuild.guest.shell.ANSWERS", 100)
    answers = Answers()
    answers.feed(b"x" * 1000 + b"the end")
    assert (answers.lost, len(answers.held), bytes(answers.held[-7:])) == (907, 100, b"the end")
    answers.clear()
    assert (answers.lost, len(answers.held)) == (0, 0)


def test_an_answer_beyond_the_limit_is_an_error(shell: ShellLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of an output is never given for the whole."""
    monkeypatch.setattr("hostbuild.guest.shell.ANSWERS", 1000)
    with pytest.raises(GuestError, match="wrote more than"):
        shell.run("seq 1 5000", 20)
