"""hostbuild.qemu.lines: what a guest wrote is read to its end, however slowly we come to read it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostbuild.board import MachineType
from hostbuild.errors import WorldError
from hostbuild.qemu.lines import Line, Listener, SerialLines
from hostbuild.qemu.machine import Machine

EARLY = 100_000  # bytes of a console that come, one at a time, before anybody reads


class Qemu:
    """QEMU's side of the lines: opens FIFOs as chardev/char-pipe.c does, for reading and writing."""

    def __init__(self, argv: list[str]) -> None:
        paths = [word.partition("path=")[2] for word in argv if word.startswith("pipe,")]
        ways = [f"{path.replace(',,', ',')}.{way}" for path in paths for way in ("out", "in")]
        self.descriptors = [os.open(way, os.O_RDWR | os.O_NONBLOCK) for way in ways]

    def write(self, line: Line, data: bytes) -> int:
        """Write to a line as QEMU's UART does, a byte at a time; gives how many it took."""
        for at in range(len(data)):
            try:
                os.write(self.descriptors[2 * line.value], data[at : at + 1])
            except BlockingIOError:
                return at
        return len(data)

    def read(self, line: Line) -> bytes:
        """Give what was typed."""
        return os.read(self.descriptors[2 * line.value + 1], 1000)

    def end(self) -> None:
        """Close everything, as an end does."""
        while self.descriptors:
            os.close(self.descriptors.pop())


Started = tuple[SerialLines, Qemu]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Make lines in a directory with a comma in its name, and QEMU's side of them."""
    made: list[Started] = []

    def make(kind: MachineType = MachineType.Q35, **listeners: Listener) -> Started:
        directory = tmp_path / "a,b"
        directory.mkdir()
        lines = SerialLines({Line[name.upper()]: listener for name, listener in listeners.items()})
        made.append((lines, Qemu(lines.open(directory, Machine(type=kind).board))))
        return made[0]

    yield make
    for lines, qemu in made:
        qemu.end()
        lines.close()


def begin(lines: SerialLines, on_failure: Callable[[], None] = lambda: None) -> None:
    lines.start(limit_s=60, on_limit=lambda: None, on_failure=on_failure, on_end=lambda: None)


def test_a_line_holds_what_comes_while_nobody_reads(start: Callable[..., Started]) -> None:
    """Single bytes by the hundred thousand find room, although our reader has not begun: no guest waits for us.

    A kernel's console waits 10 ms for its UART and then drops characters.
    """
    lines, qemu = start()
    # where the machine grants a user no larger pipes, a line has the usual 64 KiB
    room = min(EARLY, os.pathconf("/", "PC_PIPE_BUF") * 16)
    text = b"0123456789abcde\n" * (EARLY // 16)
    taken = qemu.write(Line.CONSOLE, text)
    assert taken >= room
    begin(lines)
    qemu.end()
    assert lines.wait(lambda: lines.ended, 20)
    assert lines.console.encode() == text[:taken]


def test_what_came_just_before_the_end_is_read(start: Callable[..., Started]) -> None:
    """Records that lie in the line when QEMU has gone already are read, also by a reader that is slow."""
    lines, qemu = start(channel=lambda _data: time.sleep(0.01))
    begin(lines)
    records = [f'{{"type":"walk","t_us":{number},"message":"{"x" * 200}"}}\n' for number in range(200)]
    for record in records:
        assert qemu.write(Line.CHANNEL, record.encode()) == len(record)
    qemu.write(Line.CHANNEL, b'{"type":"exit","t_us":300,"status":5}\n')
    qemu.end()
    assert lines.wait(lambda: lines.ended, 20)
    assert [record["t_us"] for record in lines.ledger] == [*range(200), 300]
    assert len(lines.arrivals) == 201
    assert lines.skipped.count == 0


def test_what_is_typed_reaches_the_guest_and_stops_nobody_when_it_is_gone(
    start: Callable[..., Started],
) -> None:
    """Typing arrives on its line; a guest that has gone hears nothing, and the sender goes on."""
    lines, qemu = start()
    begin(lines)
    lines.send(Line.CONSOLE, b"date\n")
    assert qemu.read(Line.CONSOLE) == b"date\n"
    qemu.end()
    assert lines.wait(lambda: lines.ended, 20)
    lines.send(Line.CONSOLE, b"x" * 1_000_000)


def test_a_machine_of_one_line(start: Callable[..., Started]) -> None:
    """Lines that a machine does not have are no obstacle to its end, and what is sent to them is dropped."""
    lines, qemu = start(MachineType.MICROVM)
    begin(lines)
    lines.send(Line.AGENT, b"nobody")
    qemu.write(Line.CONSOLE, b"alone\n")
    qemu.end()
    assert lines.wait(lambda: lines.ended, 20)
    assert lines.console == "alone\n"


def test_no_place_for_the_lines(tmp_path: Path) -> None:
    """A directory in which no FIFO can be made is an error that names it."""
    with pytest.raises(WorldError, match=r"cannot make a FIFO in .*nowhere: No such file"):
        SerialLines({}).open(tmp_path / "nowhere", Machine(type=MachineType.Q35).board)


def test_a_listener_that_fails_ends_the_machine_and_not_the_reader(start: Callable[..., Started]) -> None:
    """What a listener raises is kept for whoever waits; the machine is ended once, the lines are read to their end."""
    heard: list[bytes] = []
    failures: list[None] = []
    failed = threading.Event()
    error = WorldError("cannot write to standard output: No space left on device")

    def show(data: bytes) -> None:
        heard.append(data)
        raise error

    def kill() -> None:
        failures.append(None)
        failed.set()

    lines, qemu = start(console=show)
    begin(lines, kill)
    qemu.write(Line.CONSOLE, b"Linux version 6.1\n")
    assert failed.wait(10)
    qemu.write(Line.CONSOLE, b"more\n")
    qemu.write(Line.CHANNEL, b'{"type":"exit","status":0}\n')
    qemu.end()
    assert lines.wait(lambda: lines.ended, 10)
    assert lines.failure is error
    assert (len(heard), len(failures)) == (1, 1)
    assert lines.console == "Linux version 6.1\nmore\n"
    assert lines.ledger == [{"type": "exit", "status": 0}]


def test_a_channel_without_a_newline_is_bounded(start: Callable[..., Started]) -> None:
    """Three megabytes in one line are one skipped line; the record behind it is read."""
    lines, qemu = start()
    begin(lines)
    data = b"x" * (3 << 20) + b'\n{"type":"exit","status":5}\n'
    while data:  # QEMU's end does not wait for ours either
        try:
            data = data[os.write(qemu.descriptors[2 * Line.CHANNEL.value], data[: 1 << 16]) :]
        except BlockingIOError:
            time.sleep(0.01)
    qemu.end()
    assert lines.wait(lambda: lines.ended, 20)
    assert [record["type"] for record in lines.ledger] == ["exit"]
    assert lines.skipped.count == 1
    assert "line 1: it is longer than 1048576 bytes" in str(lines.skipped)
