"""Signals that end a command, where the interpreter drops what they raise: hostbuild.interrupts."""

import signal
import subprocess
import sys

import pytest

_DROPPED = """
import gc, os, signal, sys, threading, time, weakref
from hostbuild import main as command_line

sent = threading.Event()

def send():
    if not sent.is_set():
        sent.set()
        os.kill(os.getpid(), {number})
        time.sleep(0.001)  # the handler runs here, at the latest

class Deleted:
    def __del__(self):
        send()

class Plain:
    pass

def work(argv):
    try:
        if {how!r} == "del":
            Deleted()
        else:
            seen = Plain()
            reference = weakref.ref(seen, lambda _: send())
            del seen
        assert sent.is_set()
        time.sleep(20)
    finally:
        print("cleared up", flush=True)

command_line._run = work
command_line.main()
"""


@pytest.mark.parametrize("how", ["del", "callback"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_place_that_drops_exceptions(number: signal.Signals, how: str) -> None:
    """The command ends by it nevertheless, with its status, after it has cleared up; the interpreter says nothing."""
    done = subprocess.run(
        [sys.executable, "-c", _DROPPED.format(number=int(number), how=how)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout) == (128 + number, "cleared up\n"), done.stderr
    assert done.stderr == ("hostbuild: interrupted\n" if number == signal.SIGINT else "")


def test_other_exceptions_that_nobody_catches_are_printed() -> None:
    """An exception of another kind in a __del__ is told as ever: it is a bug of somebody."""
    script = (
        "from hostbuild import interrupts\n"
        "interrupts.guard()\n"
        "class Deleted:\n"
        "    def __del__(self):\n"
        "        raise SystemExit(3)\n"
        "Deleted()\n"
        "print('on')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=40, check=False
    )
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "SystemExit: 3" in done.stderr
