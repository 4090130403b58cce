"""Ledgers read on the host: a bad line costs that line, and a long ledger no more memory than what it tells."""

import json
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hostbuild.errors import InputError
from hostbuild.ledger.file import read_history
from modaliasd.commands.ledger import run as print_ledger
from modaliasd.core.ledger.write import line
from tests.support.commandline import hostbuild_argv
from tests.support.ledgers import Q35, q35_records, read_ledger

if TYPE_CHECKING:
    from modaliasd.core.ledger.write import Json

SIZE = 10_000_000


@pytest.fixture(scope="module")
def long_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A boot, and a keyboard that is plugged in and pulled out again and again."""
    path = tmp_path_factory.mktemp("long") / "ledger.jsonl"
    fields: dict[str, Json] = {
        "devpath": "/devices/usb1/1-4",
        "subsystem": "usb",
        "modalias": "usb:v1234p5678",
    }
    matches: list[Json] = [{"alias": "usb:v1234*", "line": 7, "module": "usbhid"}]
    settled: dict[str, Json] = {
        "seqnum": 1,
        "devices": 100,
        "with_modalias": 70,
        "matched": 50,
        "bound": 40,
        "loads": 3,
        "failed": 0,
    }
    counts: dict[str, Json] = {"ms": 12.5, "lost": 0, "recovered": 0, "dropped": 0}
    with path.open("wb") as file:
        file.write(Q35.read_bytes())
        t_us = q35_records()[-1]["t_us"]
        while file.tell() < SIZE:
            for action, more in (("add", {"matches": matches}), ("bind", {"driver": "d"}), ("remove", {})):
                t_us += 1000
                file.write(line("device", t_us, {"action": action, **fields, **more}).encode())
            file.write(line("settled", t_us, settled | counts).encode())
    return path


def peak(work: Callable[[], object]) -> int:
    """Bytes that the work has allocated at most at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_long_ledger_is_not_held_in_memory(long_ledger: Path) -> None:
    """The story of a life of plugging takes a quarter of the ledger at most; nothing holds its text or its records."""
    assert peak(lambda: read_history(long_ledger)) < SIZE // 4


@pytest.mark.slow
def test_printing_a_long_ledger_takes_no_memory(long_ledger: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """However long it is: a line at a time."""
    with (
        capfd.disabled(),
        Path("/dev/null").open("w", encoding="ascii") as nowhere,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("sys.stdout", nowhere)
        assert peak(lambda: print_ledger(["--ledger", str(long_ledger)])) < 2_000_000


@pytest.mark.parametrize("command", [["tree"], ["report", "--format", "text"], ["diff", str(Q35)]])
def test_a_bad_line_costs_that_line(command: list[str], tmp_path: Path) -> None:
    """Every command shows what the other lines tell, and says how many it has skipped, and why the first of them."""
    path = tmp_path / "boot.jsonl"
    lines = Q35.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b'{"torn\n', *lines[4:], b"\xff\n"]))
    good, bad = (
        subprocess.run(hostbuild_argv(*command, file), capture_output=True, encoding="utf-8", check=True)
        for file in (Q35, path)
    )
    assert bad.stdout == good.stdout
    assert "2 lines were skipped: line 5: it is not JSON" in bad.stderr
    assert read_ledger(path) == [json.loads(text) for text in lines]


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("hello\n", "is not a ledger: line 1: it is not JSON")]
)
def test_what_has_no_record_is_no_ledger(text: str, said: str, tmp_path: Path) -> None:
    """An empty file and a file of something else are refused."""
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_history(path)
