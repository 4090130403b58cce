"""Watching a boot as it happens: hostbuild.ledger.watch and the command."""

import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hostbuild.commands.watch import follow
from hostbuild.errors import InputError
from hostbuild.ledger.watch import ChannelWatch, Watch
from hostbuild.main import status_of
from modaliasd.core.ledger.history import history_of
from modaliasd.core.ledger.text import duration
from tests.support.ledgers import q35_records, small_boot


def shown(watch: Watch) -> str:
    """What the screen says."""
    console = Console(width=110, record=True, file=StringIO())
    console.print(watch.screen())
    return console.export_text()


def test_midway_the_screen_says_what_is_awaited() -> None:
    """Before its load ends a module stands under what was asked for, with who asked."""
    watch = Watch()
    for record in small_boot().records:
        if record.get("module") == "nic" and record["type"] == "load":
            break
        watch.hear(record)
    text = shown(watch)
    assert "nic  for pci 0000:00:03.0" in text
    assert "dog denied: blacklisted" in text


def test_before_the_daemon_the_kernel_boots() -> None:
    """Seconds pass before the ledger's first record: the screen says what is waited for."""
    assert "the kernel boots" in shown(Watch())


def test_at_the_end_nothing_is_awaited() -> None:
    """After a real boot the counts are the settle's own, and the slowest load leads."""
    watch = Watch()
    records = q35_records()
    for record in records:
        watch.hear(record)
    text = shown(watch)
    assert "nothing: settled" in text
    assert f"{records[-1]['matched']} matched" in text
    slowest = max(history_of(records).loads, key=lambda load: load.own_us)
    assert f"{duration(slowest.own_us)}  {slowest.module}" in text


def test_the_channels_bytes_may_come_in_any_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    """The screen of `run --watch` is drawn from the serial line's bytes, cut anywhere."""
    data = small_boot().text().encode()
    with ChannelWatch() as screen:
        for at in range(0, len(data), 7):
            screen.feed(data[at : at + 7])
    assert "3 matched, 1 bound, 4 loads" in capsys.readouterr().out


@pytest.mark.slow
def test_the_file_may_come_later_and_grow(tmp_path: Path) -> None:
    """The follower waits for the file, and gives each record as its line is finished."""
    path = tmp_path / "l.jsonl"
    lines = small_boot().text().splitlines(keepends=True)

    def write() -> None:
        time.sleep(0.15)
        with path.open("w", encoding="ascii") as file:
            for line in lines:
                file.write(line[:9])
                file.flush()
                file.write(line[9:])
                file.flush()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    seen = list(follow(path, timeout=1.0))
    writer.join(20)
    assert [record["type"] for record in seen] == [record["type"] for record in small_boot().records]


def test_into_a_pipe_it_prints_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal: a line a record, up to the settle."""
    path = tmp_path / "l.jsonl"
    maker = small_boot()
    count = len(maker.records)
    maker.device("/devices/later", "add", subsystem="pci")
    path.write_text(maker.text(), encoding="ascii")
    assert status_of(["watch", str(path), "--until-settled"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == count
    assert "settled" in lines[-1]


def test_no_ledger_in_time_is_an_error(tmp_path: Path) -> None:
    """With a limit, a file that does not come is named."""
    with pytest.raises(InputError, match=r"there is no ledger .*nothing"):
        list(follow(tmp_path / "nothing", timeout=0.1))


def test_a_ledger_that_is_cut_is_followed(tmp_path: Path) -> None:
    """A daemon's shorter file in its place: what follows the last line comes, once; and a new boot, from its start."""
    path = tmp_path / "l.jsonl"
    lines = small_boot().text().splitlines(keepends=True)
    trimmed = '{"type":"trimmed","t_us":9,"from_us":1,"at_us":9,"lines":3,"types":{"device":3}}\n'
    path.write_text("".join(lines[:5]), encoding="ascii")
    records = follow(path, timeout=20)
    seen = [next(records) for _ in range(5)]
    _replace(path, [lines[0], trimmed, *lines[3:]])
    seen += [next(records) for _ in lines[5:]]
    assert seen == small_boot().records
    _replace(path, [lines[0], trimmed, lines[1]])  # the last line that was read has gone
    assert [next(records)["type"] for _ in range(2)] == ["trimmed", small_boot().records[1]["type"]]
    path.write_text(lines[0], encoding="ascii")  # by another boot, in place
    assert next(records)["type"] == "start"
    records.close()


def _replace(path: Path, lines: list[str]) -> None:
    new = path.with_suffix(".new")
    new.write_text("".join(lines), encoding="ascii")
    new.replace(path)


def test_another_boot_begins_anew() -> None:
    """Devices and loads of the boot before are not counted; a daemon that starts again in one boot changes nothing."""
    watch = Watch()
    records = small_boot().records
    for record in records:
        watch.hear(record)
    once = shown(watch)
    for record in records:
        watch.hear(record)
    assert shown(watch) == once
    watch.hear({**records[0], "t_us": 99_000_000})
    assert shown(watch).partition("\n")[0].split(",")[:3] == once.partition("\n")[0].split(",")[:3]
