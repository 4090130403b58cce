"""A ledger to which somebody else does something while it is written, and one whose daemon has no time to sleep."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modaliasd.core.device import Device
from modaliasd.core.ledger.write import line
from modaliasd.linux.ledger import LATEST_US, MOST_BYTES, Ledger
from modaliasd.service.ledger_care import LedgerCare
from modaliasd.service.writer import LedgerWriter
from tests.support.fakeworld import Fakes
from tests.support.soak import KINDS

ROOT = Path(__file__).resolve().parents[3]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text(encoding="ascii").splitlines()]


def care_of(ledger: Ledger, fakes: Fakes) -> LedgerCare:
    """What tends the ledger, with the fakes' clock."""
    clock = lambda: fakes.now_us  # noqa: E731
    return LedgerCare(ledger=ledger, writer=LedgerWriter(ledger=ledger, clock=clock), clock=clock)


def cut(path: Path) -> None:
    os.truncate(path, 40)  # within the second line


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.write_text('{"type":"walk","t_us":7}\n{"torn', encoding="ascii")


def delete_all(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()


def write_into(path: Path) -> None:
    with path.open("a", encoding="ascii") as file:
        file.write("hello")


@pytest.mark.parametrize(
    ("happens", "told", "left"),
    [
        (cut, "was cut from 75 to 40 bytes", [0]),
        (empty, "was cut from 75 to 0 bytes", []),
        (Path.unlink, "was deleted", []),
        (delete_all, "was deleted", []),
        (replace, "was replaced", [7]),
    ],
)
def test_what_befalls_the_file_is_told_and_it_goes_on(
    happens: Callable[[Path], None], told: str, left: list[int], tmp_path: Path
) -> None:
    """Cut, emptied, deleted, with its directory, replaced: the lines that come go where the path leads, and a warning
    says what happened. Nothing is torn, and no hole of zeros is left."""
    path = tmp_path / "run" / "ledger.jsonl"
    fakes, ledger = Fakes(), Ledger(str(path))
    care = care_of(ledger, fakes)
    for number in range(3):
        ledger.append(line("walk", number, {}))
    care.tend(idle=True)
    happens(path)
    for number in (8, 9):
        ledger.append(line("walk", number, {}))
        care.tend(idle=True)
    found = records(path)
    assert [record["t_us"] for record in found if record["type"] == "walk"] == [*left, 8, 9]
    [warning] = [record for record in found if record["type"] == "warning"]
    assert warning["what"] == "ledger"
    assert told in warning["message"]
    assert ledger.size == path.stat().st_size


def test_what_somebody_else_has_written_stays(tmp_path: Path) -> None:
    """It costs nobody's line but its own."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(str(path))
    for number in range(2):
        ledger.append(line("walk", number, {}))
        ledger.flush()
        write_into(path)
    ledger.append(line("walk", 2, {}))
    ledger.flush()
    assert path.read_text().splitlines() == [
        line("walk", 0, {}).rstrip(),
        "hello",
        line("walk", 1, {}).rstrip(),
        "hello",
        line("walk", 2, {}).rstrip(),
    ]
    assert len(ledger.take_mishaps()) == 2


def test_without_a_place_lines_wait_until_there_is_one(tmp_path: Path) -> None:
    """A file that cannot be opened again is as good as a full device: the lines come once there is room."""
    path = tmp_path / "run" / "ledger.jsonl"
    ledger = Ledger(str(path))
    ledger.append(line("walk", 0, {}))
    ledger.flush()
    delete_all(path)
    path.parent.touch()  # a file where the directory was
    for number in (1, 2):
        ledger.append(line("walk", number, {}))
        ledger.flush()
    assert ledger.take_mishaps() == [], "nothing is told before there is room"
    path.parent.unlink()
    ledger.flush()
    assert [record["t_us"] for record in records(path)] == [1, 2]
    assert len(ledger.take_mishaps()) == 1


@pytest.mark.parametrize("happens", [empty, Path.unlink])
def test_the_channel_goes_on(happens: Callable[[Path], None], tmp_path: Path) -> None:
    """Whatever happens to the file, a slow host gets whole lines, those that come afterwards among them."""
    path, fifo = tmp_path / "ledger.jsonl", tmp_path / "channel"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ledger = Ledger(str(path), channel=str(fifo))
    for number in range(5000):
        ledger.append(line("walk", number, {"message": "y" * 50}))
    ledger.flush()
    assert ledger.channel_fileno() >= 0
    happens(path)
    ledger.append(line("walk", 5000, {}))
    got = b""
    while not got.endswith(b'"t_us":5000}\n'):
        ledger.flush()
        got += os.read(reader, 3000)
    os.close(reader)
    lines = [text for text in got.split(b"\n")[:-1] if text]
    torn = [text for text in lines if not text.endswith(b"}")]
    assert len(torn) <= (1 if happens is empty else 0)
    assert happens is empty or [json.loads(text)["t_us"] for text in lines] == list(range(5001))


def test_lines_do_not_wait_for_the_daemon_to_sleep(tmp_path: Path) -> None:
    """Half a second, or a quarter of a megabyte: then they are written though there is something else to do."""
    path = tmp_path / "ledger.jsonl"
    fakes, ledger = Fakes(), Ledger(str(path))
    care = care_of(ledger, fakes)
    ledger.append(line("walk", 1, {}))
    for fakes.now_us, written in ((0, 0), (LATEST_US - 1, 0), (LATEST_US, 1), (LATEST_US * 5, 1)):
        care.tend(idle=False)
        assert len(records(path)) == written
    ledger.append(line("walk", 2, {"message": "x" * MOST_BYTES}))
    care.tend(idle=False)
    assert len(records(path)) == 2


def test_a_boot_is_written_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the walk to the wait for the first modprobe nothing is written: the hot path has no write for its ledger."""
    fakes = Fakes(ledger=Ledger(str(tmp_path / "ledger.jsonl")))  # type: ignore[arg-type]
    fakes.sysfs.devices = [Device(f"/devices/{number}", "pci", f"pci:v{number}") for number in range(400)]
    written: list[int] = []
    pwrite = os.pwrite

    def count(file: int, data: bytes, at: int) -> int:
        written.append(len(data))
        return pwrite(file, data, at)

    monkeypatch.setattr("posix.pwrite", count)
    assert fakes.service().run(once=True) == 0
    assert len(written) == 2  # the start, and all the rest at the settle
    assert len(records(tmp_path / "ledger.jsonl")) == 404


STORM = """
import sys, time
from modaliasd.linux.ledger import Ledger
from tests.support.fakeworld import Fakes, FakeUevents
class Storm(FakeUevents):
    number = 0
    def receive(self):
        self.number += 1
        self.event(f"/devices/{self.number % 99}", self.number, "change")
        return self.script.popleft()
clock = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
fakes = Fakes(uevents=Storm(), ledger=Ledger(sys.argv[1]), clock=clock)
fakes.uevents.ring()
fakes.service().run()
"""


@pytest.mark.slow
def test_a_storm_that_ends_in_a_kill_costs_a_second_at_most(tmp_path: Path) -> None:
    """A daemon that never gets to sleep is killed: what is missing is younger than a second."""
    path = tmp_path / "ledger.jsonl"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'daemon'}:{ROOT}"}
    with subprocess.Popen([sys.executable, "-c", STORM, str(path)], env=environment) as storm:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (path.exists() and path.stat().st_size > 2_000_000):
            time.sleep(0.05)
        time.sleep(1)
        killed_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        storm.send_signal(signal.SIGKILL)
    *whole, torn = path.read_bytes().split(b"\n")
    assert torn == b""
    assert len(whole) > 10_000
    assert killed_us - json.loads(whole[-1])["t_us"] < 1_000_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_long_life_is_bounded(kind: str, tmp_path: Path) -> None:
    """20,000 times plugged and pulled out: less than a megabyte of memory more, and the ledger within its limit."""
    limit = 256 << 10
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'daemon'}:{ROOT}"}
    path = tmp_path / "ledger.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.soak", kind, "20000", str(path), str(limit)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["grew"] < 1 << 20
    assert result["largest"] <= limit + (64 << 10)  # one turn's lines are written before they are trimmed
    found = records(path)
    assert found[0]["type"] == "start"
    [trimmed] = [record for record in found if record["type"] == "trimmed"]
    assert trimmed["lines"] > 60_000
