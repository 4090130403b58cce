"""Following the ledger: the command `ledger`."""

import json
from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands.ledger import lines_of
from modaliasd.core.ledger.text_line import record_line
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
    assert [next(follower), next(follower)] == [line, line]


def test_the_line_of_a_failure_says_why() -> None:
    """A failed load's line has the module, the outcome, the device and the message."""
    record = next(r for r in small_boot().records if r.get("module") == "sensor")
    text = record_line(json.loads(json.dumps(record)))
    assert "sensor failed, for /devices/pci0000:00/0000:00:05.0: it is not in this image" in text


def test_what_is_no_ledger_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of something else ends with 111, the file named."""
    path = tmp_path / "x"
    path.write_text("hello\n")
    assert main(["ledger", "--ledger", str(path)]) == 111
    assert f"{path} is not a ledger" in capsys.readouterr().err
