"""core/ledger/trim.py, and Ledger.trim: what goes from a ledger that is too long, and what readers still know."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.ledger.history import History, history_of
from modaliasd.core.ledger.trim import Trim, plan_trim
from modaliasd.core.ledger.write import line
from modaliasd.linux.ledger import Ledger
from modaliasd.linux.ledger_file import LEAST_LIMIT, MOST_LIMIT, default_limit
from tests.support.schema import check_records

PATHS = ("/devices/a", "/devices/a/b", "/devices/a/b/c", '/devices/od"d\\', "/devices/\udcff")
MODULES = ("m", "n")


def encode(records: list[dict[str, Any]]) -> list[bytes]:
    """The records as the daemon writes them."""
    return [
        line(r["type"], r["t_us"], {k: v for k, v in r.items() if k not in {"type", "t_us"}}).encode("ascii")
        for r in records
    ]


def apply(lines: list[bytes], cut: Trim | None) -> list[dict[str, Any]]:
    """The ledger's records once it has been trimmed."""
    data = b"".join(lines)
    if cut is not None:
        assert data[: cut.head].endswith(b"\n")
        assert data[: cut.tail].endswith(b"\n")
        data = data[: cut.head] + cut.middle + data[cut.tail :]
    return [json.loads(text) for text in data.splitlines()]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A boot, and what came after it, such as the kernel and the daemon can bring it about."""
    records: list[dict[str, Any]] = [{"type": "start", "format": 1, "version": "1", "kernel": "k", "pid": 1}]
    there: set[str] = set()
    live: set[str] = set()
    settle_at = draw(st.integers(0, 6))
    for number in range(draw(st.integers(8, 60))):
        if number == settle_at:
            records.append({"type": "settled", "seqnum": 1})
            records.append({"type": "boot", "init_us": 5})
        path, module = draw(st.sampled_from(PATHS)), draw(st.sampled_from(MODULES))
        below = [other for other in there if other == path or other.startswith(path + "/")]
        what = draw(
            st.sampled_from(("add", "change", "bind", "unbind", "remove", "move", "load", "rmmod", "slow"))
        )
        if what == "load":
            failed = draw(st.booleans())
            outcome = "failed" if failed else "live" if module in live else "inserted"
            live.update(() if failed else (module,))
            causes = [{"devpath": path, "modalias": "x:y"}]
            times = {"queued_us": number * 1000, "end_us": number * 1000}
            records.append({"type": "load", "module": module, "outcome": outcome, "causes": causes} | times)
        elif what == "rmmod":
            live.discard(module)
            records.append({"type": "module", "action": "remove", "module": module, "seqnum": number})
        elif what == "slow":
            records.append({"type": "slow", "module": module, "causes": [{"request": "r"}], "running_ms": 1})
        elif what == "add":
            there.add(path)
            fields: dict[str, Any] = {"action": "add", "devpath": path, "subsystem": "usb", "modalias": "x:y"}
            matches = [{"alias": "x:*", "line": number, "module": module}]
            records.append({"type": "device"} | fields | {"matches": matches})
        elif what == "move" and below:
            to = f"{path}-{number}"
            there -= set(below)
            there |= {to + other[len(path) :] for other in below}
            records.append({"type": "device", "action": "move", "devpath": to, "from": path, "ifname": to})
        elif path in there:
            there -= {path} if what == "remove" else set()
            driver = {"driver": "d"} if what in {"bind", "unbind"} else {}
            node = {"devname": f"node{number}"} if what == "change" else {}
            records.append(
                {"type": "device", "action": what, "devpath": path, "subsystem": "usb"} | driver | node
            )
    return [{"type": r["type"], "t_us": at * 1000} | r for at, r in enumerate(records)]


def facts(history: History) -> tuple[Any, ...]:
    """What a reader knows of how things are at the end."""
    devices = {
        path: (
            d.driver,
            d.former,
            d.module,
            d.modalias,
            d.matches,
            d.devname,
            d.ifname,
            d.hotplugged,
            d.bound_us,
        )
        for path, d in history.devices.items()
        if d.present
    }
    loads = {m: load.outcome for m in MODULES if (load := history.load_of(m)) is not None and load.succeeded}
    gone = {m for m in MODULES if (one := history.appearance_of(m)) is not None and not one.came}
    loaded = {m: outcome for m, outcome in loads.items() if m not in gone}
    return devices, loaded, history.boot.get("init_us")


@given(histories(), st.integers(300, 4000))
def test_a_trimmed_ledger_tells_how_things_are(records: list[dict[str, Any]], limit: int) -> None:
    """Devices, drivers, matches and loaded modules are those of the whole ledger, and it is a ledger of the format."""
    lines = encode(records)
    size = sum(map(len, lines))
    cut = plan_trim(lines, size, limit, 10**9) if size > limit else None
    left = apply(lines, cut)
    check_records(record for record in left if record["type"] == "trimmed")
    assert facts(history_of(left)) == facts(history_of(records))
    times = [record["t_us"] for record in left]
    assert times == sorted(times)
    if cut is not None:
        [trimmed] = [record for record in left if record["type"] == "trimmed"]
        assert len(left) - 1 + trimmed["lines"] == len(records)


@given(histories(), st.integers(300, 2000))
def test_trims_add_up(records: list[dict[str, Any]], limit: int) -> None:
    """However often it was trimmed, one line says what went, and how things are is known."""
    lines: list[bytes] = []
    for text in encode(records):
        lines.append(text)
        size = sum(map(len, lines))
        cut = plan_trim(lines, size, limit, 10**9) if size > limit else None
        if cut is not None and len(cut.middle) < cut.tail - cut.head:
            lines = encode(apply(lines, cut))
    left = [json.loads(text) for text in lines]
    trimmed = [record for record in left if record["type"] == "trimmed"]
    assert len(trimmed) <= 1
    assert len(left) - len(trimmed) + sum(record["lines"] for record in trimmed) == len(records)
    assert facts(history_of(left)) == facts(history_of(records))


def plug(number: int) -> str:
    """A device that comes."""
    fields: dict[str, Any] = {
        "action": "add",
        "devpath": "/devices/usb",
        "subsystem": "usb",
        "seqnum": number,
    }
    return line("device", number, fields)


def filled(path: Path, limit: int, channel: str = "") -> Ledger:
    """A ledger with a boot and so much afterwards that it is beyond its limit."""
    ledger = Ledger(str(path), channel=channel, limit=limit)
    ledger.append(line("start", 0, {"format": 1}))
    ledger.append(line("settled", 1, {"seqnum": 1}))
    number = 2
    while ledger.size <= limit:
        for _ in range(100):
            ledger.append(plug(number))
            number += 1
        ledger.flush()
    return ledger


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize("in_place", [False, True])
def test_the_boot_and_the_latest_stay(
    in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of the rest goes, also where there is no inode left for a second file; then the ledger goes on."""
    path = tmp_path / "ledger"
    ledger = filled(path, 100_000)
    whole = records(path)

    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    if in_place:
        monkeypatch.setattr(ledger._file, "_rewrite_anew", refuse)
    ledger.trim(5_000_000)
    ledger.append(line("exit", 9_000_000, {"status": 0}))
    ledger.flush()
    left = records(path)
    assert [record["type"] for record in left[:5]] == ["start", "settled", "device", "device", "trimmed"]
    assert left[4]["from_us"] == 2
    assert left[4]["t_us"] == left[5]["t_us"] - 1
    assert left[4]["at_us"] == 5_000_000
    assert left[5:-1] == whole[-len(left[5:-1]) :]
    assert left[-1]["type"] == "exit"
    assert ledger.size == path.stat().st_size < 80_000
    assert os.listdir(tmp_path) == ["ledger"]
    assert ledger.take_mishaps() == []


@pytest.mark.parametrize("sent", [0, 50, 20_000, 99_990, 10**9])
def test_the_channel_gets_whole_lines_over_a_trim(sent: int, tmp_path: Path) -> None:
    """Wherever a slow host was, it gets whole lines, in order, up to the latest one, and is told if it missed some."""
    fifo = tmp_path / "channel"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ledger = Ledger(str(tmp_path / "ledger"), channel=str(fifo), limit=100_000)
    got = b""
    number = 0
    ledger.append(line("settled", 0, {"seqnum": 1}))
    while ledger.size <= 100_000:
        number += 1
        ledger.append(plug(number))
        ledger.flush()
        while len(got) < sent and (piece := _read(reader, min(3000, sent - len(got)))):
            got += piece
            ledger.flush()
    ledger.trim(1)
    ledger.append(plug(number + 1))
    while ledger.channel_fileno() >= 0 or ledger.is_due(1) or b'"seqnum":%d}' % (number + 1) not in got:
        ledger.flush()
        got += _read(reader, 3000)
    os.close(reader)
    heard = [json.loads(text) for text in got.splitlines()]
    times = [record["t_us"] for record in heard]
    assert times == sorted(times)
    assert times[-1] == number + 1
    missed = set(range(number + 2)) - set(times)
    assert bool(missed) == (sum(r["type"] == "trimmed" for r in heard) > 0 and sent < 50_000)


def _read(reader: int, size: int) -> bytes:
    try:
        return os.read(reader, size)
    except BlockingIOError:
        return b""


def test_what_has_to_stay_does_not_make_every_write_a_trim(tmp_path: Path) -> None:
    """Where nothing can go, the next trim comes when there is a quarter of the limit more."""
    path = tmp_path / "ledger"
    ledger = Ledger(str(path), limit=70_000)
    ledger.append(line("settled", 1, {"seqnum": 1}))
    for number in range(1200):
        ledger.append(line("device", number + 2, {"action": "add", "devpath": f"/devices/{number}"}))
    ledger.flush()
    size = ledger.size
    ledger.trim(1)
    assert ledger.trim_beyond >= max(ledger.size, size - 20_000) + 17_000


def test_the_default_is_an_eighth_of_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within bounds; a ramfs says that it has no blocks."""

    class Found:
        f_frsize = 4096
        f_blocks = 0

    monkeypatch.setattr("posix.statvfs", lambda _path: Found)
    for blocks, limit in ((0, MOST_LIMIT), (100, LEAST_LIMIT), (4096, 2 << 20), (10**9, MOST_LIMIT)):
        monkeypatch.setattr(Found, "f_blocks", blocks)
        assert default_limit(str(tmp_path)) == limit
