"""What changed between two boots: hostbuild.ledger.diff and the command."""

import json
from pathlib import Path
from typing import Any

import pytest

from hostbuild.ledger.diff import compare, keyed
from hostbuild.main import status_of
from modaliasd.core.ledger.history import history_of
from tests.support.ledgers import Maker, q35_records, small_boot

NIC = "/devices/pci0000:00/0000:00:03.0"


def write(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="ascii")
    return str(path)


def test_a_boot_does_not_differ_from_itself() -> None:
    """Nothing changed, no regression."""
    diff = compare(history_of(q35_records()), history_of(q35_records()))
    assert not diff.regression
    assert (diff.bound, diff.drivers, diff.gone, diff.come, diff.modules_gone, diff.times) == ((),) * 6


def test_the_kernels_numbering_is_no_difference() -> None:
    """Hosts, buses, disks and interfaces that come in another order are the same devices."""

    def boot(first: int, second: int) -> Maker:
        maker = Maker()
        for card, host in (("01.0", first), ("02.0", second)):
            path = f"/devices/pci0000:00/0000:00:{card}"
            maker.device(path, subsystem="pci", driver="hba")
            disk = f"{path}/virtio{host}/host{host}/target{host}:0:0/{host}:0:0:0"
            maker.device(disk, subsystem="scsi", driver="sd")
            maker.device(f"{disk}/block/sd{'ab'[host]}", subsystem="block", devname="sd" + "ab"[host])
            maker.device(f"{path}/usb{host + 1}/{host + 1}-1/{host + 1}-1:1.0", subsystem="usb", driver="hub")
        return maker

    diff = compare(history_of(boot(0, 1).records), history_of(boot(1, 0).records))
    assert not diff.regression
    assert (diff.bound, diff.gone, diff.come) == ((), (), ())


def test_keys_are_unique() -> None:
    """No two devices of a real boot are taken for one."""
    history = history_of(q35_records())
    assert len(keyed(history.devices.values())) == sum(device.present for device in history.devices.values())


@pytest.mark.parametrize("how", ["unbind", "absent"])
def test_a_device_that_lost_its_driver_is_a_regression(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unbound or not there at all: exit status 1, and the device with its former driver is named."""
    after = small_boot()
    if how == "unbind":
        after.device(NIC, "unbind", subsystem="pci")
    else:
        after.device(NIC, "remove", subsystem="pci")
    a, b = write(tmp_path / "a", small_boot().records), write(tmp_path / "b", after.records)
    assert status_of(["diff", a, b]) == 1
    out = capsys.readouterr().out
    assert "devices that lost their driver (1):" in out
    assert f"{NIC}: nic-driver -> " in out
    assert status_of(["diff", b, a]) == 0
    assert "devices that got a driver (1):" in capsys.readouterr().out


def test_another_driver_is_no_regression() -> None:
    """It is told of, and no more."""
    after = small_boot()
    after.device(NIC, "bind", subsystem="pci", driver="better-driver", module="better")
    diff = compare(history_of(small_boot().records), history_of(after.records))
    assert not diff.regression
    assert [(change.what, change.before, change.after) for change in diff.drivers] == [
        (NIC, "nic-driver", "better-driver")
    ]


def test_modules_outcomes_and_times() -> None:
    """A module more, a load that works now, a load that takes ten times as long."""
    before, after = small_boot(), small_boot()
    cause = {"request": "modaliasd load"}
    before.load("slow", cause, start_us=before.t_us - 50_000, ms=50.0)
    after.load("slow", cause, start_us=after.t_us - 500_000, ms=500.0)
    after.load("sensor", cause)
    after.load("fresh", cause)
    diff = compare(history_of(before.records), history_of(after.records))
    assert diff.modules_come == ("fresh", "sensor")
    assert [(c.what, c.before, c.after) for c in diff.outcomes] == [("sensor", "failed", "inserted")]
    assert [(c.what, c.before, c.after) for c in diff.times] == [("slow", "50.0", "500.0")]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: the verdict and every list."""
    a = write(tmp_path / "a", small_boot().records)
    assert status_of(["diff", "--json", a, a]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["regression"] is False
    assert answer["settle"]["before"] == answer["settle"]["after"] == "11.0"
