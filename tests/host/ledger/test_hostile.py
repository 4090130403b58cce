"""Ledgers of an attacker's: every command that reads one, of both halves, ends as a command should."""

import json
import random
import re
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from hostbuild.commands.prove import _print as print_proof
from hostbuild.errors import InputError
from hostbuild.formats.initramfs.newc import Member, Writer
from hostbuild.ledger.stream import LedgerReader
from hostbuild.ledger.watch import Watch
from hostbuild.main import status_of
from hostbuild.predict.prediction import Target
from hostbuild.predict.prove import prove
from hostbuild.qemu.exit_status import clock_rate, complaints, exit_status
from modaliasd import cli, failure
from modaliasd.core.errors import FormatError, ModaliasdError
from modaliasd.core.ledger.history import history_of
from tests.support.fuzzing import examples
from tests.support.hostile import (
    EVIL,
    Mutator,
    evil_records,
    guest_commands,
    host_commands,
    q35_target,
    run_foresight,
)
from tests.support.ledgers import parse_ledger, small_boot

CASES = [
    b'{"type":"device","t_us":2,"action":"add"}',
    b'{"type":"device","t_us":3,"action":"add","devpath":""}',
    b'{"type":"device","t_us":3,"action":"add","devpath":"/"}',
    b'{"type":"device","t_us":3,"action":"add","devpath":"/devices/a\x1eb"}',
    b'{"type":"device","t_us":3,"action":"add","devpath":"/devices/\\ud800","driver":["x"],"modalias":[1]}',
    b'{"type":"device","t_us":3,"action":"move","devpath":"/devices/a/b","from":"/devices/a"}',
    b'{"type":"load","t_us":1e400,"module":"x","outcome":"failed"}',
    b'{"type":"load","t_us":' + b"9" * 400 + b',"module":"x","outcome":"failed"}',
    b'{"type":"load","t_us":' + b"9" * 5000 + b',"module":"x","outcome":"failed"}',
    b'{"type":"settled","ms":NaN}',
    b'{"type":"x","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"[" * 1_000_000,
]


@pytest.fixture(autouse=True)
def bugs_are_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest makes a line of any exception; here one that is no ModaliasdError fails the test."""
    usual = failure.report

    def report(command: str, error: Exception) -> int:
        if not isinstance(error, ModaliasdError):
            raise error
        return usual(command, error)

    monkeypatch.setattr(failure, "report", report)


@pytest.fixture(scope="module")
def target() -> Target:
    """A kernel with the real boot's modules."""
    return q35_target()


def run_all(
    path: Path, folder: Path, target: Target, names: list[str], rng: random.Random | None = None
) -> None:
    """All commands and readers; with `rng`, six commands of each half. names: what the guest is asked about."""
    other = folder / "small.jsonl"
    other.write_text(small_boot().text(), encoding="ascii")
    guests, hosts = guest_commands(path, names), host_commands(path, other, folder)
    if rng is not None:
        guests, hosts = rng.sample(guests, 6), rng.sample(hosts, 6)
    for words in guests:
        assert cli.main(words) in (0, 1, 100, 111), words
    for words in hosts:
        assert status_of(words) in (0, 1, 100), words
    run_readers(path.read_bytes(), target)


def run_readers(data: bytes, target: Target) -> None:
    """What reads a ledger without being a command of its own: run's, prove's, predict's and make-image's parts."""
    reader, watch = LedgerReader(), Watch()
    for record in (records := reader.feed(data)):
        watch.hear(record)
    reader.finish()
    screen = StringIO()
    Console(width=110, file=screen, force_terminal=False).print(watch.screen())
    sys.stdout.write(screen.getvalue())
    exit_status(records)
    clock_rate(records, [0.0] * len(records))
    sys.stdout.write("\n".join(complaints(records)))
    with suppress(FormatError, InputError):
        history, before = history_of(parse_ledger(data)), history_of(small_boot().records)
        for words in run_foresight(history, before, target):
            sys.stdout.write(words)
        print_proof(prove(history, before))
        print_proof(prove(before, history))


NAMES = ["virtio_blk", "nic", "/dev/vda", EVIL]


@pytest.mark.slow
@given(rng=st.randoms(use_true_random=False))
@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_mutant_of_a_real_ledger_ends_a_command_badly(
    rng: random.Random, tmp_path: Path, target: Target
) -> None:
    """Values of other types, bytes in between, lines lost, deep nesting: no traceback from any command, and an end."""
    path = tmp_path / "mutant.jsonl"
    own = random.Random(rng.getrandbits(64))
    path.write_bytes(Mutator(own).text())
    run_all(path, tmp_path, target, NAMES, own)


@pytest.mark.parametrize("line", CASES, ids=range(len(CASES)))
def test_a_hostile_line_costs_that_line(
    line: bytes, tmp_path: Path, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command goes on behind it; the rest of the boot is told."""
    path = tmp_path / "l.jsonl"
    first, *rest = small_boot().text().encode().splitlines()
    path.write_bytes(b"\n".join([first, line, *rest, b""]))
    run_all(path, tmp_path, target, NAMES, random.Random(1))
    capsys.readouterr()
    assert status_of(["tree", str(path)]) == 0
    assert "driver nic-driver" in capsys.readouterr().out


def test_skipped_lines_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both halves say on stderr how many lines were skipped, which, and why."""
    path = tmp_path / "l.jsonl"
    first, *rest = small_boot().text().encode().splitlines()
    path.write_bytes(b"\n".join([first, CASES[0], b"x", *rest, b""]))
    words = "2 lines were skipped: line 2: it has no devpath; line 3: it is not JSON"
    for arguments in (["tree", str(path)], ["watch", str(path), "--timeout=0"]):
        assert status_of(arguments) == 0
        assert words in capsys.readouterr().err
    for command in ("tree", "ledger"):
        assert cli.main([command, f"--ledger={path}"]) == 0
        assert words in capsys.readouterr().err


SGR = re.compile(r"\x1b\[[0-9;]*m")


def raw(output: str) -> set[str]:
    """The characters of an output that do more to a terminal than to be shown, but for the colours that are ours."""
    return {char for char in SGR.sub("", output.replace(EVIL, "EVIL IS RAW\0")) if not char.isprintable()} - {
        "\n",
        "\t",
    }


@pytest.mark.parametrize("choices", [False, True])
def test_no_field_reaches_a_terminal_raw(
    choices: bool, tmp_path: Path, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    """ESC, C1, DEL and bidirectional overrides in every field of every type: no command lets one of them out."""
    path = tmp_path / "evil.jsonl"
    records = list(evil_records(choices))
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="ascii")
    assert len(parse_ledger(path.read_bytes())) == len(records)
    names = ["module", "softdep", "message"]
    run_all(
        path,
        tmp_path,
        target,
        [*(EVIL + name for name in names), f"/devices/{EVIL}/devpath", f"/devices/{EVIL}/2"],
    )
    said = capsys.readouterr()
    assert said.out.count("onerror") > 100  # it was all there, and is shown
    assert raw(said.out) == set()
    assert raw(said.err) == set()
    for file in ("r.html", "r.svg", "r.dot"):
        assert raw((tmp_path / file).read_text(encoding="utf-8")) == set()
    ElementTree.parse(tmp_path / "r.svg")
    assert "<img" not in (tmp_path / "r.svg").read_text(encoding="utf-8")


def test_colours_of_others_do_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a colour of its own is escaped, while our colours stay."""
    path = tmp_path / "l.jsonl"
    records = [
        {"type": "start", "t_us": 1},
        {"type": "load", "t_us": 2, "module": "\x1b[35mx", "outcome": "failed", "end_us": 2},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="ascii")
    assert status_of(["tree", "--by=module", "--color", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[35mx" in out
    assert "\x1b[35m" not in out.replace("\x1b[35mnot settled", "")


def test_names_in_an_image_and_of_files_are_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """inspect's tables and JSON, and the errors that name a file, let no control character out."""
    image = tmp_path / "a\x1b[31m\x9b.img"
    evil = EVIL.replace("/", "")
    with image.open("wb") as file:
        writer = Writer(file.write)
        writer.add(Member(name=f"lib/modules/{evil}/kernel/{evil}.ko", mode=0o100644), b"x")
        writer.close()
    for words in ([], ["--files"], ["--json"]):
        assert status_of(["inspect", str(image), *words]) == 0
    for name in ("no\x1b]0;x\x07\u202e.img", "two\nlines\x9b"):
        assert status_of(["inspect", str(tmp_path / name)]) == 100
        assert status_of(["tree", str(tmp_path / name)]) == 100
        assert status_of([name]) == 100
        assert status_of(["tree", f"--{name}", "x"]) == 100
    said = capsys.readouterr()
    assert "onerror" in said.out
    assert raw(said.out) == raw(said.err) == set()
