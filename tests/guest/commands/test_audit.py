"""The audit's comparison of libudev with the ledger: commands/audit.py."""

import json
import sys
from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands import audit
from modaliasd.commands.audit import Seen, compare
from modaliasd.core.ledger.history import history_of
from tests.support.ledgers import q35_records, small_boot


def seen_of(records: list[dict[str, object]]) -> list[Seen]:
    """What libudev would enumerate if the ledger were right; it reads a modalias up to a newline."""
    devices = history_of(records).devices.values()
    return [Seen(d.devpath, d.modalias.rstrip("\n"), d.driver) for d in devices if d.present]


def test_a_real_ledger_agrees_with_itself() -> None:
    """The newline at the end of an HD audio codec's modalias is no disagreement."""
    records = q35_records()
    assert any(device.modalias.endswith("\n") for device in history_of(records).devices.values())
    assert compare(seen_of(records), history_of(records)).disagreements == ()


def test_agreement_and_counts() -> None:
    """The same devices on both sides: no disagreement, and the counts by outcome."""
    records = small_boot().records
    result = compare(seen_of(records), history_of(records))
    assert result.disagreements == ()
    assert (result.devices, result.with_modalias, result.matched) == (4, 3, 3)
    assert (result.loaded, result.failed, result.denied, result.unbound) == (1, 1, 1, 2)


def test_a_device_that_the_ledger_missed_is_a_disagreement() -> None:
    """libudev has one more."""
    records = small_boot().records
    result = compare([*seen_of(records), Seen("/devices/new", "pci:n", "")], history_of(records))
    assert result.disagreements == ("libudev has /devices/new, the ledger does not have it",)


def test_a_device_that_is_gone_and_another_modalias_are_disagreements() -> None:
    """The ledger has one more; one has another modalias."""
    records = q35_records()
    devices = [d for d in seen_of(records) if not d.devpath.endswith("0000:00:0d.0")]
    changed = devices[0]._replace(modalias="pci:other")
    result = compare([changed, *devices[1:]], history_of(records))
    assert "the ledger has /devices/pci0000:00/0000:00:0d.0, libudev does not" in result.disagreements
    assert any("libudev has modalias 'pci:other'" in line for line in result.disagreements)
    assert len(result.disagreements) == 2


def test_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts and disagreements, as JSON."""
    ledger = tmp_path / "l.jsonl"
    ledger.write_text(small_boot().text(), encoding="ascii")
    monkeypatch.setattr(audit, "enumerate_devices", lambda: seen_of(small_boot().records))
    assert main(["audit", "--json", "--ledger", str(ledger)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["devices"], said["disagreements"]) == (4, [])


def test_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, then twenty disagreements and how many more; no control character of a device's path; the status is 1."""
    ledger = tmp_path / "l.jsonl"
    ledger.write_text(small_boot().text(), encoding="ascii")
    more = [Seen(f"/devices/new\x1b{number:02}", "pci:n", "") for number in range(23)]
    monkeypatch.setattr(audit, "enumerate_devices", lambda: [*seen_of(small_boot().records), *more])
    assert main(["audit", "--ledger", str(ledger)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["devices", "27"]
    told = lines[lines.index("23 disagreements:") + 1 :]
    assert len(told) == 21
    assert told[-1] == "  and 3 more"
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("lacks", ["pyudev", "libudev"])
def test_what_the_audit_needs_is_named(
    lacks: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image without pyudev, or without the library: how to add it, and not an unexpected error.

    pyudev's own loader runs; it is given a name that no library has.
    """
    finder = pytest.importorskip("ctypes.util")
    monkeypatch.setattr(finder, "find_library", finder.find_library)  # put back afterwards
    if lacks == "pyudev":
        monkeypatch.setitem(sys.modules, "pyudev", None)
    else:
        utils = pytest.importorskip("pyudev._ctypeslib.utils")
        monkeypatch.setattr(utils, "find_library", lambda name: f"lib{name}-of-nobody.so.1")
    assert main(["audit"]) == 111
    said = capsys.readouterr().err
    assert said.startswith("modaliasd: cannot audit: ")
    assert lacks in said
    assert "--with audit" in said
