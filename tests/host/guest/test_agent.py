"""The host's end and the guest's agent together, with a socket for a line and this machine for a guest."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild.errors import GuestError, UsageError
from hostbuild.guest.command import (
    Command,
    CommandLostError,
    Completed,
    Ended,
    Event,
    Lost,
    Output,
    request,
    run_to_end,
)
from microagent.frames import Frame, Kind, encode
from microagent.messages import INPUT_WINDOW, OUTPUT_WINDOW, Size
from tests.support.agentrig import Rig, agent_rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """An agent."""
    with agent_rig() as made:
        yield made


def run(rig: Rig, *argv: str, stdin: bytes = b"", timeout: float = 20, directory: str = "/") -> Completed:
    """Run a command to its end."""
    done = run_to_end(rig.agent, request(argv, directory=directory), stdin=stdin, timeout=timeout)
    assert done is not None
    return done


def events_until_end(command: Command) -> list[Event]:
    """Listen to a command until it ends."""
    found: list[Event] = []
    while not found or isinstance(found[-1], Output):
        event = command.next(20)
        assert event is not None
        if isinstance(event, Output):
            command.used(event)
        found.append(event)
    return found


def test_status_and_both_outputs(rig: Rig) -> None:
    """Exit status, standard output and standard error come back apart, byte by byte."""
    done = run(rig, "sh", "-c", r"printf 'a\000\377\245\134b'; printf 'oops' >&2; exit 7")
    assert done == Completed(7, b"a\0\xff\xa5\x5cb", b"oops")


def test_words_arrive_as_they_are(rig: Rig) -> None:
    """No shell comes between: blanks, quotes, newlines, empty words, bytes that are no text."""
    words = ["", " a  b ", "'\"$HOME`", "line\nline", "\udcff", "*"]
    done = run(rig, "printf", "%s|", *words)
    assert done.stdout == b"".join(w.encode("utf-8", "surrogateescape") + b"|" for w in words)


@pytest.mark.parametrize("size", [0, 1, INPUT_WINDOW, INPUT_WINDOW + 1, 3_000_000])
def test_input_and_output_of_any_size(rig: Rig, size: int) -> None:
    """What goes in comes out whole, also where it is many times what may be under way."""
    data = os.urandom(size)
    done = run(rig, "cat", stdin=data, timeout=60)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_a_reader_that_takes_its_time(rig: Rig) -> None:
    """Nobody's output runs ahead of its reader by more than its window, and the others' is not held up by it."""
    slow = Command(rig.agent, request(["yes"]))
    time.sleep(0.5)
    held = sum(len(event.data) for event in _drain(slow) if isinstance(event, Output))
    assert 0 < held <= OUTPUT_WINDOW
    assert run(rig, "echo", "beside").stdout == b"beside\n"
    slow.signal(signal.SIGTERM)


def _drain(command: Command) -> list[Event]:
    found = []
    while (event := command.next(0.2)) is not None:
        found.append(event)
    return found


def test_commands_side_by_side(rig: Rig) -> None:
    """Ten commands at a time each get their own input and output."""
    commands = []
    for number in range(10):
        command = Command(rig.agent, request(["sh", "-c", f"read word; echo {number} $word"]))
        commands.append(command)
    for number, command in enumerate(commands):
        assert command.send_input(f"w{number}\n".encode())
    for number, command in enumerate(commands):
        *outputs, end = events_until_end(command)
        text = b"".join(event.data for event in outputs if isinstance(event, Output))
        assert (text, end) == (f"{number} w{number}\n".encode(), Ended(0, 0))


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["no-such-program-here"], 127, "no program no-such-program-here in its PATH"),
        (["/no/such"], 127, "no /no/such"),
        (["/etc/passwd"], 126, "cannot run /etc/passwd: Permission denied"),
    ],
)
def test_commands_that_cannot_be_started(rig: Rig, argv: list[str], status: int, words: str) -> None:
    """A command that is not there, or not executable, has a shell's status and is named."""
    if status == 126 and os.access(argv[0], os.X_OK):
        pytest.skip(f"{argv[0]} is executable here")
    done = run(rig, *argv)
    assert (done.status, done.stdout) == (status, b"")
    assert words in done.stderr.decode()


def test_a_directory(rig: Rig, tmp_path: Path) -> None:
    """A command runs where it is asked to; a directory that is not there is named."""
    assert run(rig, "pwd", "-P", directory=str(tmp_path.resolve())).output == f"{tmp_path.resolve()}\n"
    missing = run(rig, "pwd", directory="/no/such/directory")
    assert missing.status == 126
    assert b"/no/such/directory" in missing.stderr


# Two processes that any signal ends. A shell would not do: dash loses a SIGINT that comes as it forks.
PAIR = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
if os.fork():
    os.write(1, b"up\\n")
    os.wait()
    os.write(1, b"never\\n")
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(rig: Rig, number: signal.Signals) -> None:
    """A signal reaches the whole group, and its number is in the status as a shell counts."""
    command = Command(rig.agent, request([sys.executable, "-c", PAIR]))
    first = command.next(20)
    assert first == Output(b"up\n", False)
    command.signal(number)
    assert events_until_end(command)[-1] == Ended(128 + number, number)


def test_a_signal_that_is_handled(rig: Rig) -> None:
    """The command's own handler decides its status."""
    script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"
    command = Command(rig.agent, request(["sh", "-c", script]))
    assert command.next(20) == Output(b"up\n", False)
    command.signal(signal.SIGTERM)
    assert Ended(5, 0) in events_until_end(command)


def test_a_terminal(rig: Rig) -> None:
    """With a size it gets a terminal that has it, is told of another one, and Ctrl-C is a character."""
    script = "stty size; trap 'stty size; exit 3' WINCH; echo up; while :; do sleep 0.05; done"
    command = Command(rig.agent, request(["sh", "-c", script], size=Size(40, 132)))
    text = b""
    while b"up" not in text:
        event = command.next(20)
        assert isinstance(event, Output)
        text += event.data
    assert b"40 132" in text
    command.resize(Size(25, 80))
    *outputs, end = events_until_end(command)
    assert b"25 80" in b"".join(event.data for event in outputs if isinstance(event, Output))
    assert end == Ended(3, 0)
    other = Command(rig.agent, request(["sleep", "60"], size=Size(25, 80)))
    time.sleep(0.3)
    assert other.send_input(b"\x03")
    assert events_until_end(other)[-1] == Ended(130, 2)


def test_what_a_command_leaves_behind_is_not_waited_for(rig: Rig) -> None:
    """A process in the background holds the outputs open; the command has ended all the same, nothing of it lost."""
    begin = time.monotonic()
    done = run(rig, "sh", "-c", "sleep 30 & head -c 100000 /dev/zero; exit 4")
    assert (done.status, len(done.stdout)) == (4, 100000)
    assert time.monotonic() - begin < 15


def test_input_that_nobody_reads(rig: Rig) -> None:
    """A command that ends, or closes its input, with more to come ends as it would at a pipe."""
    assert run(rig, "true", stdin=bytes(500_000)).status == 0
    assert run(rig, "sh", "-c", "exec <&-; sleep 0.2; exit 6", stdin=bytes(500_000)).status == 6


def test_a_command_beyond_its_time(rig: Rig) -> None:
    """It is killed, and the next one runs."""
    assert run_to_end(rig.agent, request(["sleep", "60"]), timeout=0.3) is None
    assert run(rig, "echo", "next").stdout == b"next\n"


def test_noise_on_the_line(rig: Rig) -> None:
    """What others write to the line costs nothing; output that is lost is an error, never missing text."""
    rig.line.sendall(b"\necho rea''dy\n" + encode(Frame(Kind.START, 9, b"junk"))[:9])
    assert run(rig, "echo", "still").stdout == b"still\n"
    command = Command(rig.agent, request(["sh", "-c", "read x; echo one; exit 0"]))
    real = rig.agent._decoder.feed
    dropped: list[Frame] = []

    def lossy(data: bytes) -> list[Frame]:
        frames = real(data)
        dropped.extend(frame for frame in frames if frame.kind is Kind.STDOUT)
        return [frame for frame in frames if frame.kind is not Kind.STDOUT]

    rig.agent._decoder.feed = lossy  # type: ignore[method-assign]
    command.send_input(b"\n")
    end = events_until_end(command)[-1]
    assert dropped
    assert isinstance(end, Lost)
    assert "lost" in end.reason


def test_an_agent_that_goes(rig: Rig) -> None:
    """Its commands are told so at once, and those that come later too."""
    command = Command(rig.agent, request(["sleep", "60"]))
    rig.process.kill()
    assert events_until_end(command) == [Lost("the line has ended")]
    with pytest.raises(CommandLostError, match="the line has ended"):
        run(rig, "true")


def test_too_much(rig: Rig) -> None:
    """Output without end is an error of its own, a command longer than a frame is refused before it is sent."""
    with pytest.raises(GuestError, match="more than 1 MiB"):
        run_to_end(rig.agent, request(["yes"]), timeout=30, most=1 << 20)
    with pytest.raises(UsageError, match="longer than"):
        request(["echo", "x" * (1 << 20)])
