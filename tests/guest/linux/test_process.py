"""What a child process gets, and what of it is taken back."""

import fcntl
import os
import select
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.linux.process import WORDS_LIMIT, WORDS_ROOM, Ended, is_safe_name, reap, start


def run(script: str) -> Ended:
    """Run a shell script as a child to its end."""
    child = start("/bin/sh", ["-c", script])
    select.select([child.pidfd], [], [], 20)
    return reap(child)


def test_words_and_status() -> None:
    """Both outputs come back, and the status."""
    assert run("echo out; echo err >&2; exit 3") == Ended(3, "out\nerr\n")


def test_a_signal_is_a_negative_status() -> None:
    """A child that was killed says by what."""
    assert run("kill -9 $$").status == -9


def test_the_environment_is_ours() -> None:
    """Nothing of the daemon's environment and none of its descriptors reach a child; its input is empty."""
    os.environ["MODPROBE_OPTIONS"] = "--evil"
    ours = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 200)
    try:
        words = run("env | grep -v ^_= | grep -v ^PWD= | cut -d= -f1; cat; ls /proc/self/fd").words.split()
    finally:
        del os.environ["MODPROBE_OPTIONS"]
        os.close(ours)
    assert {word for word in words if not word.isdigit()} <= {"LC_ALL", "PATH", "SHLVL"}
    assert str(ours) not in words


def test_a_chatterbox_is_not_stopped_and_cut_short() -> None:
    """A child that says more than anybody wants to read comes to its end, and its first words are kept."""
    ended = run("head -c 3000000 /dev/zero | tr '\\0' x; exit 5")
    assert ended == Ended(5, "x" * WORDS_LIMIT)


def test_a_chatterbox_fills_no_memory() -> None:
    """However much a child says, it takes no more than its room, and it comes to its end."""
    child = start("/bin/sh", ["-c", "cat /dev/zero; exit 6"])
    select.select([child.pidfd], [], [], 20)
    assert os.fstat(child.words).st_blocks * 512 <= WORDS_ROOM
    assert reap(child).status == 6


def test_no_program(tmp_path: Path) -> None:
    """A program that is not there is an OSError, and leaves no descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="nowhere"):
        start(str(tmp_path / "nowhere"), [])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "name", ["-r", "", ".", "../x", "a b", "a;b", "$(x)", "a/b", "a\n", "ä", "x" * 256, "\udc80"]
)
def test_what_is_no_name(name: str) -> None:
    """Options, paths, shell syntax, other alphabets are no names of modules."""
    assert not is_safe_name(name)


@given(st.text())
def test_a_safe_name_is_plain(name: str) -> None:
    """Whatever passes is made of letters, digits, dash, dot and underscore, and begins with none of the first two."""
    if is_safe_name(name):
        assert name.replace("-", "_").replace(".", "_").replace("_", "a").isalnum()
        assert name.isascii()
        assert name[0] not in "-."
