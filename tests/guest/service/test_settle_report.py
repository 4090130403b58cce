"""What is told at a settle besides the counts: service/settle_report.py."""

import json
from pathlib import Path

from modaliasd.linux.kmsg import KernelLog
from modaliasd.linux.ledger import Ledger
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.settle_report import Waiting
from modaliasd.service.writer import LedgerWriter
from tests.support.schema import check_records


def test_what_drivers_wait_for(tmp_path: Path) -> None:
    """Missing firmware and probes put off are each told once, however often the daemon settles."""
    (tmp_path / "sys/kernel/debug").mkdir(parents=True)
    (tmp_path / "sys/kernel/debug/devices_deferred").write_text(
        "1c20000.clock\tplatform: no regulator\nlone\n"
    )
    kmsg = tmp_path / "kmsg"
    kmsg.touch()
    ledger = Ledger(str(tmp_path / "ledger.jsonl"))
    waiting = Waiting(
        sysfs=Sysfs(str(tmp_path / "sys")),
        kernel_log=KernelLog(str(kmsg)),
        writer=LedgerWriter(ledger=ledger, clock=lambda: 0),
    )
    with kmsg.open("ab") as file:
        file.write(b"4,9,9,-;e100 0000:00:05.0: Direct firmware load for e100/x.bin failed with error -2\n")
    for _ in range(2):
        waiting.report()
    ledger.flush()
    records = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    check_records(records)
    assert [(record["what"], record["message"]) for record in records] == [
        ("firmware", "e100/x.bin is missing: e100 0000:00:05.0 asked for it"),
        ("deferred probe", "1c20000.clock waits: platform: no regulator"),
        ("deferred probe", "lone waits: the kernel does not say what for"),
    ]
