"""`make demo`'s main job, from the image to the tree."""

from pathlib import Path

import pytest

from hostbuild.demo import PLUGS, run_demo
from hostbuild.qemu.accel import Accel
from hostbuild.ui import Silent
from modaliasd.core.ledger.text_tree import render_tree
from tests.support.schema import check_records

pytestmark = pytest.mark.vm


def test_the_demo_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    """Twenty devices of eight kinds and more are driven, the plugged ones too; the tree tells of each."""
    said: list[str] = []
    told = run_demo(tmp_path / "demo.img", Accel.TCG, Silent(), said.append)
    assert told.complaints == []
    driven = [device for device in told.history.devices.values() if device.driver]
    assert len(driven) >= 20
    assert len({device.subsystem for device in driven}) >= 8
    tree = render_tree(told.history)
    for plug in PLUGS:
        assert any(line.startswith(f"plugged in the {plug.name}: loaded ") for line in said), said
    for text in ("usb_storage loaded in", "driver nvme", "e1000e loaded in", "gone at"):
        assert text in tree
    check_records(told.records)
