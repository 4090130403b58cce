"""ledger.py: whole lines only, whatever happens to the file, the device that holds it, or who reads the channel."""

import json
import os
import resource
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modaliasd.core.ledger.write import line
from modaliasd.linux.ledger import BACKLOG_LIMIT, ERROR, Ledger


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in path.read_text(encoding="ascii").splitlines()]


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow beyond 100 bytes: writing fails as on a full device (setrlimit(2)).

    No fixture: that would hold when pytest writes its own output, which may be a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_appended_stays(tmp_path: Path) -> None:
    """A second life of the daemon goes on behind the lines of the first."""
    path = tmp_path / "deep" / "down" / "ledger"
    for life in range(2):
        ledger = Ledger(str(path))
        ledger.append(line("start", life, {}))
        ledger.flush()
        assert ledger.torn_bytes == 0
    assert [record["t_us"] for record in records(path)] == [0, 1]


@pytest.mark.parametrize("torn", ['{"type":"sett', "x", '{"type":"a","t_us":1}'])
def test_a_torn_line_is_cut_off(tmp_path: Path, torn: str) -> None:
    """What a killed daemon left behind the last newline goes, and its bytes are counted."""
    path = tmp_path / "ledger"
    path.write_text('{"type":"walk","t_us":1}\n' + torn, encoding="ascii")
    ledger = Ledger(str(path))
    assert ledger.torn_bytes == len(torn)
    ledger.append(line("start", 2, {}))
    ledger.flush()
    assert [record["type"] for record in records(path)] == ["walk", "start"]


def test_a_full_device_tears_no_line_and_loses_none(tmp_path: Path) -> None:
    """Lines that do not fit wait in memory; when there is room again they come, in their order."""
    path = tmp_path / "ledger"
    with no_room():
        ledger = Ledger(str(path))
        for number in range(10):
            ledger.append(line("walk", number, {}))
            ledger.flush()
        assert 0 < len(records(path)) < 10
    ledger.flush()
    assert [record["t_us"] for record in records(path)] == list(range(10))
    assert ledger.lost_lines == 0


def test_a_device_that_stays_full_costs_bounded_memory(tmp_path: Path) -> None:
    """Beyond the limit lines are counted as lost, and those that waited are still whole."""
    path = tmp_path / "ledger"
    with no_room():
        ledger = Ledger(str(path))
        for number in range(2000):
            ledger.append(line("walk", number, {"message": "x" * 1000}))
        ledger.flush()
    ledger.flush()
    assert len(records(path)) + ledger.lost_lines == 2000
    assert path.stat().st_size <= BACKLOG_LIMIT + 2000


def test_a_slow_reader_gets_everything(tmp_path: Path) -> None:
    """The channel takes what it can, again and again; in the end the host has what the file has."""
    path = tmp_path / "ledger"
    fifo = tmp_path / "channel"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ledger = Ledger(str(path), channel=str(fifo))
    for number in range(5000):
        ledger.append(line("walk", number, {"message": "y" * 50}))
    ledger.flush()
    assert ledger.channel_fileno() >= 0
    got = b""
    while ledger.channel_fileno() >= 0 or len(got) < path.stat().st_size:
        got += os.read(reader, 3000)
        ledger.flush()
    os.close(reader)
    assert got == path.read_bytes()


def test_a_second_life_ends_the_torn_line_on_the_channel(tmp_path: Path) -> None:
    """The host may have half a line of the daemon that was killed: the next begins with a newline."""
    path = tmp_path / "ledger"
    path.write_text('{"type":"walk","t_us":1}\n', encoding="ascii")
    fifo = tmp_path / "channel"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ledger = Ledger(str(path), channel=str(fifo))
    ledger.append(line("start", 2, {}))
    ledger.flush()
    assert os.read(reader, 1000) == b'\n{"type":"start","t_us":2}\n'
    os.close(reader)


def test_a_channel_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    """When nobody reads any more, the file goes on."""
    path = tmp_path / "ledger"
    fifo = tmp_path / "channel"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ledger = Ledger(str(path), channel=str(fifo))
    os.close(reader)
    for number in range(3):
        ledger.append(line("walk", number, {}))
        ledger.flush()
    assert len(records(path)) == 3
    assert ledger.channel_fileno() == -1


def open_pty() -> tuple[int, str]:
    """A terminal with the settings that a serial line has at its start; our end, and the other's path."""
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)
    os.close(theirs)
    return ours, path


def read_lines(descriptor: int, count: int) -> bytes:
    """Read so many lines: a terminal hands its bytes on a moment after they were written. Fails after 20 s."""
    got = b""
    while got.count(b"\n") < count:
        assert select.select([descriptor], [], [], 20)[0], got
        got += os.read(descriptor, 4096)
    return got


def test_a_serial_line_carries_the_lines_as_they_are(tmp_path: Path) -> None:
    """No carriage return comes before a newline: the host has the same bytes as the file."""
    path = tmp_path / "ledger"
    ours, line_path = open_pty()
    ledger = Ledger(str(path), channel=line_path)
    ledger.append(line("start", 1, {}))
    ledger.flush()
    assert read_lines(ours, 1) == path.read_bytes() == b'{"type":"start","t_us":1}\n'
    ledger.end()
    os.close(ours)


def test_nothing_follows_the_end_on_the_channel(tmp_path: Path) -> None:
    """After the end the host hears no more, and the file goes on."""
    path = tmp_path / "ledger"
    ours, line_path = open_pty()
    ledger = Ledger(str(path), channel=line_path)
    ledger.append(line("exit", 1, {"status": 5}))
    ledger.end()
    ledger.append(line("device", 2, {}))
    ledger.flush()
    ledger.end()
    assert ledger.channel_fileno() == -1
    assert read_lines(ours, 1) == b'{"type":"exit","t_us":1,"status":5}\n'
    with pytest.raises(OSError, match="Input/output error"):  # nobody has the line open any more
        os.read(ours, 1)
    assert [record["type"] for record in records(path)] == ["exit", "device"]
    os.close(ours)


def test_the_end_is_heard_although_the_device_is_full(tmp_path: Path) -> None:
    """Lines that found no room in the file reach the host with the end."""
    ours, line_path = open_pty()
    with no_room():
        ledger = Ledger(str(tmp_path / "ledger"), channel=line_path)
        for number in range(8):
            ledger.append(line("walk", number, {}))
        ledger.append(line("exit", 9, {"status": 5}))
        ledger.end()
    got = [json.loads(text)["t_us"] for text in read_lines(ours, 9).splitlines()]
    assert got == [*range(8), 9]
    os.close(ours)


def test_errors_stand_out_in_the_kernels_log(tmp_path: Path) -> None:
    """What is said as an error has an error's priority, for which also a quiet console is not too quiet."""
    log = tmp_path / "kmsg"
    log.touch()
    ledger = Ledger(str(tmp_path / "ledger"), kmsg=str(log))
    ledger.say("fine")
    ledger.say("not fine", ERROR)
    ledger.flush()
    assert log.read_bytes() == b"<6>modaliasd: fine\n<3>modaliasd: not fine\n"
