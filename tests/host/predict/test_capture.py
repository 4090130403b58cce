"""Captures: the JSON form, umockdev's recordings, ledgers, and this very machine by two ways."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hostbuild.errors import InputError
from hostbuild.main import status_of
from hostbuild.predict.capture import (
    Captured,
    CaptureKind,
    capture_of_history,
    make_capture,
    parse_capture,
    parse_umockdev,
    render_capture,
)
from hostbuild.predict.file import read_capture
from hostbuild.predict.machine import capture_machine, capture_root
from modaliasd.core.device import Device
from modaliasd.core.ledger.history import history_of
from tests.support.ledgers import Q35, Maker
from tests.support.schema import SCHEMA

VALIDATOR = Draft202012Validator(
    json.loads(SCHEMA.with_name("capture.schema.json").read_text(encoding="utf-8"))
)
# Two devices of a virtual machine, recorded by umockdev-record 0.17.16; some attributes are left out.
RECORDING = r"""P: /devices/LNXSYSTM:00/LNXSYBUS:00/PNP0303:00
E: MODALIAS=acpi:PNP0303:
E: SUBSYSTEM=acpi
A: hid=PNP0303\n
A: modalias=acpi:PNP0303:\n
L: physical_node=../../../pnp0/00:00

P: /devices/pci0000:00/0000:00:03.0
E: DRIVER=virtio-pci
E: MODALIAS=pci:v00001AF4d00001041sv00001AF4sd00000041bc02sc00i00
E: PCI_SLOT_NAME=0000:00:03.0
E: SUBSYSTEM=pci
A: class=0x020000\n
H: config=F41A411006041000010000020000000004001000400000000000000000000000
L: driver=../../../bus/pci/drivers/virtio-pci

P: /devices/pci0000:00/0000:00:03.0/virtio2/net/eth0
E: IFINDEX=2
E: INTERFACE=eth0
E: SUBSYSTEM=net

P: /devices/virtual/mem/null
N: null
E: DEVMODE=0666
E: DEVNAME=/dev/null
E: SUBSYSTEM=mem
"""

words = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12)
devices = st.builds(
    lambda path, rest, module: Captured(Device(f"/devices/{path}", *rest), module if rest[2] else ""),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
    st.tuples(words, words, words, words, words, words),
    st.sampled_from(["", "e1000", "virtio_pci"]),
)


@given(
    st.sampled_from(CaptureKind),
    st.lists(devices, max_size=5, unique_by=lambda one: one.devpath),
    st.none() | st.frozensets(st.sampled_from(["e1000", "snd_pcm"])),
)
def test_a_capture_is_read_back_as_it_was(
    source: CaptureKind, found: list[Captured], modules: frozenset[str] | None
) -> None:
    """Whatever the strings hold, also bytes that are no UTF-8: ASCII, valid by the schema, and the same again."""
    capture = make_capture(source, "6.1.0-test", found, modules, ["kvm_intel"])
    text = render_capture(capture)
    assert text.isascii()
    assert VALIDATOR.is_valid(json.loads(text)), list(VALIDATOR.iter_errors(json.loads(text)))
    assert parse_capture(text) == capture


@given(st.text() | st.sampled_from(['{"type":"capture"', '{"type":"capture","format":1,"devices":[{}]}']))
def test_what_is_no_capture_is_refused(text: str) -> None:
    """Any other text is an InputError and nothing else."""
    with pytest.raises(InputError):
        parse_capture(text)


def test_a_later_format_is_refused() -> None:
    """A capture of another format is not guessed at."""
    with pytest.raises(InputError, match="format 2"):
        parse_capture('{"type": "capture", "format": 2, "source": "udev", "devices": []}')


def test_a_recording_of_umockdev_is_read() -> None:
    """Paths, modaliases, drivers, nodes and interfaces of a real recording; what it cannot know stays unknown."""
    capture = parse_umockdev(RECORDING)
    assert capture.modules is None
    assert capture.source is CaptureKind.UMOCKDEV
    acpi, pci, net, null = (one.device for one in capture.devices)
    assert (acpi.subsystem, acpi.modalias, acpi.driver) == ("acpi", "acpi:PNP0303:", "")
    assert (pci.subsystem, pci.driver) == ("pci", "virtio-pci")
    assert net.ifname == "eth0"
    assert null.devname == "null"


@given(st.text())
def test_no_recording_breaks_the_reader(text: str) -> None:
    """Any text gives a capture, and each of its devices stands where a P: line says."""
    for one in parse_umockdev(text).devices:
        assert one.devpath
        assert f"P: {one.devpath}" in text.replace("P:  ", "P: ") or one.devpath in text


def test_every_form_is_known_by_its_content(tmp_path: Path) -> None:
    """A ledger, a capture and a recording are told apart without a name; anything else is refused."""
    recording = tmp_path / "a"
    recording.write_text(RECORDING, encoding="utf-8")
    assert read_capture(recording).source is CaptureKind.UMOCKDEV
    assert read_capture(Q35).source is CaptureKind.LEDGER
    capture = tmp_path / "b"
    capture.write_text(render_capture(read_capture(Q35)), encoding="ascii")
    assert read_capture(capture) == read_capture(Q35)
    (tmp_path / "c").write_text("PATH=/bin\n", encoding="ascii")
    with pytest.raises(InputError, match="not a capture, a ledger or a umockdev"):
        read_capture(tmp_path / "c")
    with pytest.raises(InputError, match="No such file"):
        read_capture(tmp_path / "d")


def test_a_ledgers_machine_has_the_modules_that_stayed() -> None:
    """Modules that left are not among a capture's, those that the kernel had come are, a codec's driver has its own."""
    maker = Maker()
    card = "/devices/pci0000:00/0000:00:03.0"
    maker.device(card, subsystem="pci", modalias="pci:v1", matches=[("pci:v1*", "card")])
    maker.load("card", {"devpath": card, "modalias": "pci:v1", "alias": "pci:v1*", "line": 1})
    maker.load("kvm", {"request": "modaliasd.load="}, outcome="nodevice")
    maker.load("gone", {"request": "modaliasd.load="})
    maker.add("module", action="remove", module="gone", seqnum=9)
    maker.add("module", action="add", module="codec", seqnum=10)
    maker.device(card, "bind", subsystem="pci", modalias="pci:v1", driver="card-driver", module="card")
    maker.device(f"{card}/sound/card0", "add", subsystem="sound")
    maker.device(f"{card}/sound/card0", "remove", subsystem="sound")
    capture = capture_of_history(history_of(maker.records))
    assert sorted(capture.modules or ()) == ["card", "codec"]
    assert capture.left == {"kvm"}
    assert [(one.devpath, one.device.driver, one.module) for one in capture.devices] == [
        (card, "card-driver", "card")
    ]


def test_libudev_and_a_walk_see_the_same_machine() -> None:
    """This machine's devices: pyudev's enumeration and the plain walk over /sys agree in path, modalias, driver."""
    by_udev, by_walk = capture_machine(), capture_root(Path("/"))
    assert len(by_udev.devices) > 20
    assert by_udev.kernel == by_walk.kernel == os.uname().release
    assert by_udev.modules == by_walk.modules

    def facts(devices: tuple[Captured, ...]) -> dict[str, tuple[str, str, str]]:
        return {one.devpath: (one.device.modalias, one.device.driver, one.module) for one in devices}

    assert facts(by_udev.devices) == facts(by_walk.devices)


def test_a_copy_of_sys_is_recorded(tmp_path: Path) -> None:
    """A tree with links, a `modalias` file that `uevent` does not name, and initialised modules."""
    card = tmp_path / "sys/devices/pci0000:00/0000:00:03.0"
    driver = tmp_path / "sys/bus/pci/drivers/e1000"
    module = tmp_path / "sys/module/e1000"
    for directory in (card, driver, module):
        directory.mkdir(parents=True)
    (card / "uevent").write_text("DRIVER=e1000\nPCI_CLASS=20000\n", encoding="ascii")
    (card / "modalias").write_text("pci:v00008086d0000100E\n", encoding="ascii")
    (card / "subsystem").symlink_to("../../../bus/pci")
    (card / "driver").symlink_to("../../../bus/pci/drivers/e1000")
    (driver / "module").symlink_to("../../../../module/e1000")
    (module / "initstate").write_text("live\n", encoding="ascii")
    capture = capture_root(tmp_path)
    assert sorted(capture.modules or ()) == ["e1000"]
    assert capture.devices == (
        Captured(
            Device("/devices/pci0000:00/0000:00:03.0", "pci", "pci:v00008086d0000100E", "e1000"), "e1000"
        ),
    )


def test_the_command_writes_a_valid_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hostbuild capture -o` writes what the schema describes; -o into nowhere is an error that leaves nothing."""
    out = tmp_path / "me.json"
    assert status_of(["capture", "-o", str(out)]) == 0
    VALIDATOR.validate(json.loads(out.read_text(encoding="ascii")))
    assert "with a modalias" in capsys.readouterr().out
    assert status_of(["capture", "-o", str(tmp_path / "no/where.json")]) == 100
    assert status_of(["capture", "--root", str(tmp_path)]) == 100
    assert [path.name for path in tmp_path.iterdir()] == ["me.json"]
    assert status_of(["capture", "--from", str(Q35)]) == 0
    VALIDATOR.validate(json.loads(capsys.readouterr().out))
