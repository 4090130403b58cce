"""rootfs-overlay/usr/bin/resize under busybox's shell, on a pseudo-terminal whose other end answers, or does not."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest

from tests.support.places import OVERLAY

RESIZE = OVERLAY / "usr/bin/resize"
QUESTION = b"\x1b[6n"


def ask(answer: bytes, *, typed: bytes = b"") -> tuple[int, str, tuple[int, int], list[int], float]:
    """Run it; give its status, its stderr, the terminal's rows and columns, its modes before and after, and seconds."""
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        assert size_of(theirs) == (0, 0)
        start = time.monotonic()
        os.write(ours, typed)
        with subprocess.Popen(
            ["busybox", "sh", RESIZE],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
        ) as process:
            seen = b""
            while QUESTION not in seen and select.select([ours], [], [], 10)[0]:
                seen += os.read(ours, 1000)
            assert QUESTION in seen
            os.write(ours, answer)
            _, stderr = process.communicate(timeout=20)
        modes = [before[3], termios.tcgetattr(theirs)[3]]
        return process.returncode, stderr.decode(), size_of(theirs), modes, time.monotonic() - start
    finally:
        os.close(ours)
        os.close(theirs)


def size_of(terminal: int) -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


@pytest.mark.parametrize("typed", [b"", b"abc"], ids=["alone", "typed ahead"])
def test_the_terminals_answer_is_its_size(typed: bytes) -> None:
    """The answer to the question for the cursor becomes the line's rows and columns; its modes are as before."""
    status, stderr, size, (before, after), _ = ask(b"\x1b[40;132R", typed=typed)
    assert (status, stderr, size) == (0, "", (40, 132))
    assert after == before


@pytest.mark.parametrize("answer", [b"", b"R", b"\x1b[;R", b"\x1b[1;$(reboot)R", b"ls\n", b"\x1b[40;132"])
@pytest.mark.slow
def test_no_answer_costs_three_seconds(answer: bytes) -> None:
    """Where nobody answers, or with something else, it ends with status 1 in time; nothing has changed."""
    status, stderr, size, (before, after), seconds = ask(answer)
    assert (status, size) == (1, (0, 0))
    assert stderr == "resize: the terminal does not say how large it is\n"
    assert after == before
    assert seconds < 10


def test_without_a_terminal() -> None:
    """Without a terminal there is nothing to ask."""
    done = subprocess.run(
        ["busybox", "sh", RESIZE], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
    )
    assert done.returncode == 1
    assert done.stderr == b"resize: standard input is not a terminal\n"
