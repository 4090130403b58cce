"""Following the ledger: the command `ledger`."""

import json
from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands.ledger import lines_of
from modaliasd.core.ledger.read import LINE_LIMIT
from modaliasd.core.ledger.text_line import record_line
from modaliasd.core.ledger.write import line as write_line
from modaliasd.linux.ledger import Ledger
from tests.support.ledgers import Q35, q35_records, small_boot


def test_json_is_the_file_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the lines come out byte for byte."""
    assert main(["ledger", "--json", "--ledger", str(Q35)]) == 0
    assert capsys.readouterr().out == Q35.read_text(encoding="ascii")


def test_every_record_becomes_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a record, without control characters."""
    assert main(["ledger", "--ledger", str(Q35)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(q35_records())
    assert all(line.isprintable() for line in lines)
    assert any(
        "for /devices/pci0000:00/0000:00:0d.0" in line and "e1000 inserted in" in line for line in lines
    )


def test_a_follower_sees_lines_as_they_are_finished(tmp_path: Path) -> None:
    """A line that is written in two halves is given once, when its newline has come."""
    path = tmp_path / "ledger.jsonl"
    line = small_boot().text().splitlines(keepends=True)[0]
    path.write_text(line + line[:20], encoding="ascii")

    def finish_the_line() -> None:
        with path.open("a", encoding="ascii") as file:
            file.write(line[20:])

    follower = lines_of(str(path), finish_the_line)
    assert [next(follower)[0], next(follower)[0]] == [line.strip().encode()] * 2


def test_the_line_of_the_kernels_boot() -> None:
    """It says when init was run, and what took long before."""
    record = {
        "type": "boot",
        "t_us": 2_000_000,
        "init_us": 1_951_008,
        "initcalls": [{"name": "acpi_init", "ms": 210.3}],
    }
    assert record_line(record).endswith("the kernel ran init at 1.951 s; slowest initcalls: acpi_init 210 ms")


def test_the_line_of_a_failure_says_why() -> None:
    """A failed load's line has the module, the outcome, the device and the message."""
    record = next(r for r in small_boot().records if r.get("module") == "sensor")
    text = record_line(json.loads(json.dumps(record)))
    assert "sensor failed, for /devices/pci0000:00/0000:00:05.0: it is not in this image" in text


@pytest.mark.parametrize("odd", [[], {}, [["x"]], None, 1.5])
def test_fields_of_a_type_that_nobody_knows_may_be_anything(odd: object) -> None:
    """A later daemon's record: its fields are not checked at the door, whatever their names, and shown as they are."""
    text = record_line(
        {"type": "later", "t_us": 1, "outcome": odd, "verdict": odd, "module": odd, "devpath": odd}
    )
    assert "later" in text


def test_what_is_no_ledger_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of something else ends with 111, the file named."""
    path = tmp_path / "x"
    path.write_text("hello\n")
    assert main(["ledger", "--ledger", str(path)]) == 111
    assert f"{path} is not a ledger" in capsys.readouterr().err


NO_RECORDS = [
    b"hello",
    b'{"type":',
    b'["type"]',
    b'{"type":7}',
    b"\xff",
    b'{"type":"walk","t_us":"x"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("bad", NO_RECORDS)
def test_a_bad_line_costs_that_line(bad: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are printed, and how many were skipped, which, and what was wrong with them, is said on stderr."""
    path = tmp_path / "ledger.jsonl"
    lines = Q35.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:9], bad + b"\n", *lines[9:], bad + b"\n"]))
    assert main(["ledger", "--json", "--ledger", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out.encode() == b"".join(lines)
    assert "2 lines were skipped: line 10: it" in said.err
    for command in ("tree", "why-not"):
        words = ["e1000"] if command == "why-not" else []
        main([command, *words, "--ledger", str(path)])
        said = capsys.readouterr()
        main([command, *words, "--ledger", str(Q35)])
        assert said.out == capsys.readouterr().out
        assert "2 lines were skipped: line 10: it" in said.err


def test_a_line_without_end_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is longer than any line of the daemon's is not held in memory, and the line behind it counts."""
    path = tmp_path / "ledger.jsonl"
    line = small_boot().text().splitlines(keepends=True)[0]
    path.write_text("x" * (2 * LINE_LIMIT + 5) + "\n" + line, encoding="ascii")
    assert main(["ledger", "--json", "--ledger", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == line
    assert f"1 line was skipped: line 1: it is longer than {LINE_LIMIT} bytes" in said.err


def test_a_follower_goes_on_over_a_trim(tmp_path: Path) -> None:
    """The daemon puts a shorter file in the place of the one that is followed: no line comes twice, none is missed."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(str(path), limit=20_000)
    ledger.append(write_line("settled", 0, {"seqnum": 1}))
    number = 0

    def grow() -> None:
        nonlocal number
        for _ in range(20):
            number += 1
            ledger.append(write_line("walk", number, {"walk": number, "reason": "request"}))
        ledger.flush()
        ledger.trim(number)

    follower = lines_of(str(path), grow)
    seen = [next(follower)[1] for _ in range(2000)]
    assert [record["t_us"] for record in seen] == list(range(2000))
    assert path.stat().st_size <= 22_000


def test_a_follower_goes_on_when_the_file_is_cut(tmp_path: Path) -> None:
    """What comes into a file that somebody has emptied is given."""
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"type":"one"}\nx\n{"type":"two"}\n{"type":', encoding="ascii")

    def start_over() -> None:
        path.write_text('{"type":"new"}\n', encoding="ascii")

    follower = lines_of(str(path), start_over)
    assert [next(follower)[1]["type"] for _ in range(3)] == ["one", "two", "new"]


def test_a_follower_names_bad_lines_once_over_a_replacement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that was skipped before the file was replaced is not counted again; a new one has its new number."""
    path, other = tmp_path / "ledger.jsonl", tmp_path / "other.jsonl"
    path.write_text('{"type":"one"}\n{"type":"two"}\nx\n', encoding="ascii")

    def replace() -> None:
        other.write_text('{"type":"two"}\nx\ny\n{"type":"three"}\n', encoding="ascii")
        other.replace(path)

    follower = lines_of(str(path), replace)
    assert [next(follower)[1]["type"] for _ in range(3)] == ["one", "two", "three"]
    replace()
    with path.open("a", encoding="ascii") as file:
        file.write('{"type":"four"}\n')
    assert next(follower)[1]["type"] == "four"
    said = capsys.readouterr().err
    assert "1 line was skipped: line 3: it is not JSON" in said
    assert (
        "2 lines were skipped: line 3: it is not JSON: Expecting value at character 1; line 3: it is not JSON"
        in said
    )


def test_why_says_what_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for what is not in the ledger any more learns that it was trimmed, and of which time."""
    path = tmp_path / "ledger.jsonl"
    boot = small_boot()
    boot.add("trimmed", from_us=2_000_000, at_us=9_000_000, lines=7, types={"device": 5, "load": 2})
    path.write_text(boot.text(), encoding="ascii")
    assert main(["why", "gone", "--ledger", str(path)]) == 1
    said = capsys.readouterr().err
    assert "7 lines of 2.000 s to " in said
    assert "went when the ledger was full (5 device, 2 load)" in said
